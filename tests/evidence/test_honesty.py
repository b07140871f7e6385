"""Experiments show no effect where there is none: shuffled value vectors, and random neurons."""

from functools import cache
from pathlib import Path

import pytest
import torch

from atlas import jobs
from atlas.atlas import Atlas, open_atlas
from atlas.evidence.experiments.experiment import Claim, Measuring, Rows, Setting
from atlas.evidence.experiments.table import EXPERIMENTS
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model

RELATIONS = ["P17", "P30", "P36", "P103"]

# Claims that the facts' neurons matter, and the rows of random ones. An update writes what
# it wants into whatever is active, and methods choose anew, so that these do not need the value
# vectors that were there: they have random neurons alone.
NEURONS_MATTER = {"suppress": "suppressed, random", "erase": "erased, random"}
BY_RANDOM = [
    ("suppress", "suppressed", "random"),
    ("erase", "perplexity", "its own prompts, random neurons"),
    ("relation-neurons", "loss", "random"),
    ("update", "success", "random"),
    ("update", "P(new) gained", "random"),
    ("methods", "loss", "random"),
]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load_model("mini-bert", device="cpu")


@pytest.fixture(scope="module")
def shuffled() -> LanguageModel:
    """The model with value vectors that belong to other neurons of their layer."""
    lm = load_model("mini-bert", device="cpu")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in range(lm.layers):
            vectors = lm.value_vectors(layer)
            vectors.copy_(vectors[torch.randperm(len(vectors), generator=generator)])
    return lm


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory, lm: LanguageModel) -> Atlas:
    path: Path = tmp_path_factory.mktemp("honesty") / "atlas.duckdb"
    jobs.index(path, lm, relations=RELATIONS, limit=5, rule="riemann-right", points=4)
    return open_atlas(path)


@cache  # the models are equal only to themselves
def on_model(db: Atlas, lm: LanguageModel, name: str) -> tuple[Rows, dict[str, Claim]]:
    """An experiment's rows and claims on a model, with the neurons that the atlas has."""
    experiment = EXPERIMENTS[name].load()
    with db._opened(None, None) as (connection, chosen):
        setting = Setting(chosen, limit=1 if name == "methods" else 2)
        items = experiment.items(connection, setting)
    found = Rows(experiment.measure(Measuring(db, setting, lambda: lm), items), 0)
    return found, {claim.name: claim for claim in experiment.claims(found)}


@pytest.mark.parametrize("name", NEURONS_MATTER)
def test_shuffled_value_vectors_show_no_effect(
    db: Atlas, lm: LanguageModel, shuffled: LanguageModel, name: str
) -> None:
    claim = NEURONS_MATTER[name]
    right, wrong = (on_model(db, model, name)[1][claim] for model in (lm, shuffled))
    assert right.verdict == "holds"
    assert wrong.verdict != "holds"


@pytest.mark.parametrize(("name", "measure", "series"), BY_RANDOM)
def test_random_neurons_show_no_effect(
    db: Atlas, lm: LanguageModel, name: str, measure: str, series: str
) -> None:
    found, _ = on_model(db, lm, name)
    effect = found.mean(measure, series)
    assert effect.n > 1
    assert effect.value == pytest.approx(0, abs=0.02)
