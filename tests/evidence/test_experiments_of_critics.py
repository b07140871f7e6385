"""Relations' neurons, unknown facts and templates' neurons on trial, on planted ones."""

from pathlib import Path

import pytest
from planted import LAYER, planted_dataset, save_planted
from tiny_index import CHEAP, indexed, on

from atlas.atlas import Atlas, open_atlas
from atlas.errors import NotFound
from atlas.evidence.experiments.experiment import Measuring, Rows, Setting
from atlas.evidence.experiments.losses import mean_losses
from atlas.evidence.experiments.relation_neurons import shares_of, specific
from atlas.evidence.experiments.table import EXPERIMENTS
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_planted(tmp_path_factory.mktemp("planted") / "model")


@pytest.fixture(scope="module")
def lm(model: Path) -> LanguageModel:
    return load_model(str(model), device="cpu")


@pytest.fixture
def atlas(tmp_path: Path, model: Path) -> Atlas:
    path = tmp_path / "atlas.duckdb"
    indexed(path, on(model, integration=CHEAP), planted_dataset())
    return open_atlas(path)


def test_what_is_a_relations_own_by_hand() -> None:
    first, second = (0, 1), (0, 2)
    shares = {
        "R": shares_of([(first, second), (first,), (first, second), ()]),
        "S": shares_of([(second,), (second,)]),
    }
    assert shares["R"] == {first: 0.75, second: 0.5}
    assert specific("R", shares) == (first,)
    assert specific("S", shares) == (second,)


def test_a_relations_neurons_are_tried_on_facts_that_did_not_choose_them(
    atlas: Atlas, lm: LanguageModel
) -> None:
    report = atlas.reproduce("relation-neurons", lm=lm)
    claims = {claim.claim: claim for claim in report.claims}
    assert {claim.n for claim in claims.values()} == {2}
    experiment = EXPERIMENTS["relation-neurons"].load()
    with atlas._opened(None, None) as (connection, chosen):
        setting = Setting(chosen, limit=5)
        items = experiment.items(connection, setting)
        rows = Rows(experiment.measure(Measuring(atlas, setting, lambda: lm), items), 0)
    capital = next(item.task for item in items if item.name == "capital")
    assert (LAYER, 3) in capital.neurons[:2]  # the planted one of the relation
    found = mean_losses(lm, {0: (capital.prompts, capital.neurons[:1])})
    assert rows.by_item("loss", "its neurons", 1)["capital"] == pytest.approx(found[0], abs=1e-5)
    assert claims["relation's neurons"].ours == pytest.approx(
        rows.mean("loss", "its neurons", 20).value, abs=1e-5
    )


def test_known_facts_alone_have_nothing_to_be_held_against(atlas: Atlas, lm: LanguageModel) -> None:
    with pytest.raises(NotFound, match="both known and unknown facts"):
        atlas.reproduce("knowledge", lm=lm)
    with atlas.writing() as connection:
        connection.execute(
            """
            UPDATE prompt_results
            SET answer_rank = 2
            WHERE prompt_id IN (
                SELECT prompt_id
                FROM prompts
                JOIN facts USING (fact_id)
                WHERE subject IN ('Ireland', 'Peru')
            )
            """
        )
    report = atlas.reproduce("knowledge", lm=lm)
    claims = {claim.claim: claim for claim in report.claims}
    assert claims["unknown have fewer"].n == 2
    loses = claims["unknown lose, too"]
    assert loses.ours is not None
    assert loses.control is not None
    assert loses.ours > loses.control  # the model knows them all the same
    assert claims["near 0 are less stable"].verdict == "not measured"


def test_a_selection_without_templates_neurons_is_needed(atlas: Atlas, lm: LanguageModel) -> None:
    with pytest.raises(NotFound, match="select once more against them"):
        atlas.reproduce("negatives", lm=lm)
    with atlas.reading() as connection:
        (sharing,) = connection.execute("SELECT sharing FROM selections").fetchall()[0]
    default = atlas.info().selections[0]
    atlas.select(preset="paper", known_only=False, against="template", make_default=False)
    report = atlas.reproduce("negatives", lm=lm)
    assert {claim.claim for claim in report.claims} == {
        "its relation loses less",
        "more the fact's own",
    }
    less = report.claims[0]
    assert less.ours is not None
    assert less.control is not None
    assert less.ours < less.control  # the relation's planted neuron is left out
    assert (sharing, default.name) != (None, None)
