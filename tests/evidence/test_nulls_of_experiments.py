"""Claims beside the null: the same experiments with the neurons of false objects."""

from pathlib import Path

import numpy as np
import pytest
import torch
from planted import planted_dataset, save_planted
from tiny_index import CHEAP, rows, tables

from atlas import jobs
from atlas.atlas import Atlas, open_atlas
from atlas.engine.probe import probe
from atlas.errors import NotFound
from atlas.evidence import reproduce
from atlas.evidence.experiments.experiment import Claim, Contrast, Measuring, Rows, Setting
from atlas.evidence.experiments.table import EXPERIMENTS
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.selection.chosen import null_selection

pytestmark = pytest.mark.usefixtures("one_thread")
FACT = "capital-Ireland"
CHEAPLY = {"rule": CHEAP.rule, "points": CHEAP.points, "device": "cpu"}
WITH_NULL = sorted(name for name, listed in EXPERIMENTS.items() if listed.null)


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    model = save_planted(tmp_path_factory.mktemp("planted") / "model")
    return load_model(str(model), device="cpu")


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory, lm: LanguageModel) -> Atlas:
    path = tmp_path_factory.mktemp("null") / "atlas.duckdb"
    for null in (False, True):
        jobs.index(path, lm, planted_dataset(), null=null, **CHEAPLY)
    return open_atlas(path)


def settings(db: Atlas) -> tuple[Setting, Setting]:
    with db._opened(None, None) as (connection, chosen):
        null = null_selection(connection, chosen.selection_id)
    assert null is not None
    return Setting(chosen, limit=None), Setting(chosen, limit=None, null=null)


def test_a_null_is_measured_with_the_neurons_of_the_false_object(
    db: Atlas, lm: LanguageModel
) -> None:
    _, setting = settings(db)
    assert setting.null is not None
    experiment = EXPERIMENTS["suppress"].load()
    with db.reading() as connection:
        items = {item.name: item for item in experiment.items(connection, setting)}
    chosen = rows(
        db.path,
        f"""
        SELECT layer, neuron
        FROM knowledge_neurons AS k
        JOIN facts AS f USING (fact_id)
        WHERE k.selection_id = '{setting.null.selection_id}'
          AND f.null_of = '{FACT}'
        ORDER BY ALL
        """,
    )
    plan = items[FACT].task
    assert chosen
    assert list(plan.chosen.neurons) == chosen
    assert plan.fact.object == "Dublin" != plan.chosen.object
    found = Rows(experiment.measure(Measuring(db, setting, lambda: lm), [items[FACT]]), 0)
    changes = []
    for prompt in plan.fact.prompts:
        targets = [lm.targets(prompt.text, "Dublin")]
        before = probe(lm, targets)
        after = probe(lm, targets, neurons=chosen, factors=torch.zeros(1, len(chosen)))
        changes.append(np.expm1(after.log_p[0] - before.log_p[0]))
    own = found.by_item("suppressed", "knowledge neurons")
    assert own == {FACT: pytest.approx(np.mean(changes), abs=2e-5)}


@pytest.mark.parametrize("name", WITH_NULL)
def test_items_of_the_null_are_about_facts_that_the_real_ones_are_about(
    db: Atlas, name: str
) -> None:
    """Whatever has items of its own has them of the null, too, for the same facts or relations."""
    experiment = EXPERIMENTS[name].load()
    real, null = settings(db)
    with db.reading() as connection:
        try:
            own = {item.name for item in experiment.items(connection, real)}
        except NotFound:
            with pytest.raises(NotFound):
                experiment.items(connection, null)
            return
        found = {item.name for item in experiment.items(connection, null)}
        null_of = dict(
            connection.execute(
                "SELECT fact_id, null_of FROM facts WHERE null_of IS NOT NULL"
            ).fetchall()
        )
    assert found
    assert {null_of.get(item, item) for item in found} <= own


def test_claims_are_held_against_the_null_and_measured_once(
    tmp_path: Path, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "atlas.duckdb"
    jobs.index(path, lm, planted_dataset(), **CHEAPLY)
    atlas = open_atlas(path)
    few = ("neurons", "sharing", "suppress", "paraphrases")
    alone = atlas.reproduce(*few, lm=lm, limit=None)
    assert {one.null_items for one in alone.experiments} == {None}
    assert {(c.null_ours, c.null_n, c.null_verdict) for c in alone.claims} == {
        (None, 0, "not measured")
    }
    jobs.index(path, lm, planted_dataset(), null=True, **CHEAPLY)
    beside = atlas.reproduce(*few, lm=lm, limit=None)
    assert all(one.null_items for one in beside.experiments)
    claims = {claim.claim: claim for claim in beside.claims}
    for before in alone.claims:  # what was measured of the facts' own stays as it is
        after = claims[before.claim]
        assert (after.ours, after.control, after.verdict) == (
            before.ours,
            before.control,
            before.verdict,
        )
    suppressed = claims["suppressed, random"]
    assert suppressed.verdict == suppressed.null_verdict == "holds"
    assert suppressed.null_ours is not None
    assert suppressed.ours is not None
    assert suppressed.ours < suppressed.null_ours
    stored = rows(path, "SELECT claim, null_ours, beyond_null, null_verdict FROM experiment_claims")
    assert sorted(stored) == sorted(
        (c.claim, c.null_ours, c.beyond_null, c.null_verdict) for c in beside.claims
    )
    left = tables(path, clocks=True)
    monkeypatch.setattr(reproduce, "_measuring", lambda *_: 1 / 0)
    assert atlas.reproduce(*few, limit=None).claims == beside.claims
    assert tables(path, clocks=True) == left


def test_beyond_the_null_is_the_difference_of_differences_by_hand() -> None:
    own = Contrast(*[Rows([], 0).mean("", "")] * 3, {"a": 5.0, "b": 3.0, "only here": 90.0})
    null = Contrast(*[Rows([], 0).mean("", "")] * 3, {"a": 1.0, "b": 1.0, "only there": -90.0})
    beyond = own.beyond(null, 0)
    assert (beyond.value, beyond.n) == (3.0, 2)
    claim = Claim("c", "s", "o", "u", None, None, own, "a", "higher")
    assert claim.said_by(beyond) == "holds"
