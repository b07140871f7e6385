"""Experiments that suppress neurons, on planted ones, against prompts asked one by one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import LAYER, planted_dataset, save_planted
from tiny_index import CHEAP, indexed, on

from atlas.atlas import Atlas, open_atlas
from atlas.engine.attribution import attribute_targets
from atlas.engine.probe import probe
from atlas.evidence.experiments import methods
from atlas.evidence.experiments.experiment import Item, Measuring, Row, Rows, Setting
from atlas.evidence.experiments.jaccard import jaccard
from atlas.evidence.experiments.losses import mean_losses
from atlas.evidence.experiments.table import EXPERIMENTS
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.specificity.controls import Neurons
from atlas.specificity.partners import AskedPrompt
from atlas.specificity.plan import FactPlan

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_planted(tmp_path_factory.mktemp("planted") / "model")


@pytest.fixture(scope="module")
def lm(model: Path) -> LanguageModel:
    return load_model(str(model), device="cpu")


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Atlas:
    path = tmp_path_factory.mktemp("suppressing") / "atlas.duckdb"
    indexed(path, on(model, integration=CHEAP), planted_dataset())
    return open_atlas(path)


def measured(atlas: Atlas, lm: LanguageModel, name: str) -> tuple[list[Item], list[Row]]:
    """All items of an experiment and their rows, measured at once."""
    experiment = EXPERIMENTS[name].load()
    with atlas._opened(None, None) as (connection, chosen):
        setting = Setting(chosen)
        items = experiment.items(connection, setting)
    return items, experiment.measure(Measuring(atlas, setting, lambda: lm), items)


def lost(lm: LanguageModel, prompts: Sequence[AskedPrompt], neurons: Neurons) -> float:
    """The mean share of P lost, prompt by prompt, by the model's plain passes."""
    shares = []
    for prompt in prompts:
        targets = [lm.targets(prompt.text, prompt.object, prompt.subject_end)]
        before = probe(lm, targets)
        after = probe(lm, targets, neurons=neurons, factors=torch.zeros(1, len(neurons)))
        shares.append(1 - float(after.p_answer[0]) / float(before.p_answer[0]))
    return float(np.mean(shares))


def test_losses_are_those_of_asking_one_by_one(lm: LanguageModel) -> None:
    prompts = [
        AskedPrompt("a", "The capital of Ireland is [Y]", "Dublin", None, 0),
        AskedPrompt("a", "Ireland and the capital is [Y]", "Dublin", None, 0),
    ]
    some: Neurons = ((LAYER, 0), (LAYER, 2))
    found = mean_losses(lm, {"both": (prompts, some), "one": (prompts[:1], some), "no": ([], some)})
    assert found == {
        "both": pytest.approx(lost(lm, prompts, some), abs=1e-5),
        "one": pytest.approx(lost(lm, prompts[:1], some), abs=1e-5),
    }
    before = probe(lm, [lm.targets(prompts[0].text, "Dublin", None)]).p_answer[0]
    absolute = mean_losses(lm, {0: (prompts[:1], some)}, relative=False)
    assert absolute[0] == pytest.approx(found["one"] * before, abs=1e-5)


def test_the_jaccard_index_by_hand() -> None:
    assert jaccard([1, 2, 3], [3, 4]) == 0.25
    assert jaccard([1], [1]) == 1
    assert jaccard([], []) == jaccard([], [1]) == 0


def test_the_best_neurons_by_hand() -> None:
    scores = np.array([[0, 3, -9], [5, 3, 1]], np.float32)
    assert methods.best(scores, 4) == ((1, 0), (0, 1), (1, 1), (1, 2))


def test_methods_rows_are_what_one_half_chooses_tried_on_the_other(
    atlas: Atlas, lm: LanguageModel
) -> None:
    items, found = measured(atlas, lm, "methods")
    item = next(item for item in items if item.name == "capital-Ireland")
    plan: FactPlan = item.task
    own = [p.prompt for p in plan.prompts if p.group == "own"]
    choosing, trying = ([p for p in own if p.half == half] for half in (0, 1))
    encoded = [lm.targets(p.text, p.object, p.subject_end) for p in choosing]
    scores = attribute_targets(lm, encoded, method="integrated-gradients", how=CHEAP).scores
    flat = scores.sum(axis=0).ravel()
    order = sorted(range(len(flat)), key=lambda place: (-flat[place], place))
    three: Neurons = tuple(divmod(place, scores.shape[2]) for place in order[:3])
    rows = Rows(found, 0)
    loss = rows.by_item("loss", "integrated-gradients", 3)["capital-Ireland"]
    assert loss == pytest.approx(lost(lm, trying, three), abs=1e-5)
    relation = [p.prompt for p in plan.prompts if p.group == "same_relation" and p.prompt.half == 1]
    of_relation = rows.by_item("loss of its relation", "integrated-gradients", 3)
    assert of_relation["capital-Ireland"] == pytest.approx(lost(lm, relation, three), abs=1e-5)
    beyond = rows.by_item("loss beyond its relation's", "integrated-gradients", 3)
    assert beyond["capital-Ireland"] == pytest.approx(loss - of_relation["capital-Ireland"])
    assert set(rows.xs("loss", "random")) == set(methods.BUDGETS)
    assert all(0 <= row.value <= 1 for row in found if row.measure == "overlap")


def test_single_effects_rank_by_what_each_neuron_alone_costs(lm: LanguageModel) -> None:
    prompts = [AskedPrompt("a", "The capital of Ireland is [Y]", "Dublin", None, 0)]
    candidates: Neurons = ((0, 5), (LAYER, 0), (LAYER, 1), (LAYER, 31))
    ranking = methods.by_single_effects(lm, prompts, candidates)
    assert set(ranking) == set(candidates)
    costs = [lost(lm, prompts, (neuron,)) for neuron in ranking]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > 0 == pytest.approx(costs[-1], abs=1e-6)


def test_methods_rows_do_not_depend_on_the_batch(atlas: Atlas, lm: LanguageModel) -> None:
    items, found = measured(atlas, lm, "methods")
    experiment = EXPERIMENTS["methods"].load()
    with atlas._opened(None, None) as (_, chosen):
        measuring = Measuring(atlas, Setting(chosen), lambda: lm)
    assert [row for item in items for row in experiment.measure(measuring, [item])] == found
    claims = experiment.claims(Rows(found, 0))
    assert {claim.measured.ours.n for claim in claims} == {len(items)}
    assert len({claim.name for claim in claims}) == len(claims)
    assert all(chart.points for chart in experiment.charts(Rows(found, 0)))
