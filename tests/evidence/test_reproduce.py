"""Claims on trial: planted neurons, numbers asked one by one, interruptions, and broken models."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import LAYER, planted_dataset, save_planted
from tiny_index import CHEAP, indexed, on, rows, tables

from atlas.atlas import Atlas, open_atlas
from atlas.engine.probe import probe
from atlas.errors import NotFound, SettingsError
from atlas.evidence import reproduce
from atlas.evidence.experiments.experiment import (
    Claim,
    Contrast,
    Estimate,
    Row,
    Rows,
    Setting,
)
from atlas.evidence.experiments.suppress import EXPERIMENT, OWN, RANDOM
from atlas.evidence.experiments.table import EXPERIMENTS, named_experiments
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = ("neurons", "sharing", "suppress")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_planted(tmp_path_factory.mktemp("planted") / "model")


@pytest.fixture(scope="module")
def lm(model: Path) -> LanguageModel:
    return load_model(str(model), device="cpu")


def build(path: Path, model: Path) -> Atlas:
    indexed(path, on(model, integration=CHEAP), planted_dataset())
    return open_atlas(path)


@pytest.fixture
def atlas(tmp_path: Path, model: Path) -> Atlas:
    return build(tmp_path / "atlas.duckdb", model)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, model: Path, lm: LanguageModel) -> Atlas:
    """An atlas for tests that only read."""
    db = build(tmp_path_factory.mktemp("reproduce") / "atlas.duckdb", model)
    db.reproduce(*FEW, lm=lm, limit=None)
    return db


def of_facts(db: Atlas, measure: str, series: str) -> dict[str, float]:
    return dict(
        rows(
            db.path,
            f"""
            SELECT item, avg(value)
            FROM experiment_rows
            WHERE measure = '{measure}'
              AND series = '{series}'
            GROUP BY item
            """,
        )
    )


def test_every_experiment_is_listed_with_its_file() -> None:
    for listed in EXPERIMENTS.values():
        experiment = listed.load()
        assert all(
            callable(getattr(experiment, part)) for part in ("items", "measure", "claims", "charts")
        )


def test_unknown_names_are_refused_and_known_ones_come_in_the_tables_order() -> None:
    assert named_experiments(()) == list(EXPERIMENTS)
    assert named_experiments(["suppress", "neurons"]) == ["neurons", "suppress"]
    with pytest.raises(SettingsError, match="there is no experiment 'supress': choose neurons, "):
        named_experiments(["neurons", "supress"])


def estimate(value: float | None, low: float | None, high: float | None) -> Estimate:
    return Estimate(value, low, high, 3)


@pytest.mark.parametrize(
    ("difference", "expected", "verdict"),
    [
        ((0.3, 0.1, 0.5), "higher", "holds"),
        ((0.3, 0.1, 0.5), "lower", "does not hold"),
        ((-0.3, -0.5, -0.1), "lower", "holds"),
        ((-0.3, -0.5, -0.1), "higher", "does not hold"),
        ((0.1, -0.1, 0.3), "higher", "undecided"),
        ((0.0, 0.0, 0.0), "lower", "undecided"),
        ((0.3, None, None), "higher", "undecided"),
        ((None, None, None), "higher", "not measured"),
    ],
)
def test_a_verdict_follows_from_the_differences_interval(
    difference: tuple[float | None, ...], expected: str, verdict: str
) -> None:
    some = estimate(1.0, 0.9, 1.1)
    contrast = Contrast(some, some, estimate(*difference))
    claim = Claim("c", "s", "o", "u", None, None, contrast, "a", expected)  # type: ignore[arg-type]
    assert claim.verdict == verdict


def test_rows_are_paired_by_item_and_draws_are_averaged() -> None:
    found = Rows(
        [
            Row("a", "loss", "own", None, 3.0),
            Row("b", "loss", "own", None, 5.0),
            Row("c", "loss", "own", None, 100.0),  # nobody to compare with
            Row("a", "loss", "random", 0, 1.0),
            Row("a", "loss", "random", 1, 2.0),
            Row("b", "loss", "random", 0, 0.5),
        ],
        seed=0,
    )
    contrast = found.contrast("loss", "own", "random")
    assert (contrast.ours.value, contrast.control.value) == (4.0, 1.0)
    assert contrast.difference.value == 3.0
    assert (contrast.ours.n, found.mean("loss", "own").n) == (2, 3)
    assert found.xs("loss", "random") == [0, 1]
    assert found.series("loss") == ["own", "random"]
    beside = found.beside("loss", "random", 1.0)
    assert beside.control == Estimate(1.0, None, None, 2)
    assert beside.difference.value == 0.0


def test_planted_neurons_hold_their_facts(measured: Atlas) -> None:
    report = measured.reproduce(*FEW, limit=None)
    claims = {claim.claim: claim for claim in report.claims}
    assert claims["suppressed, random"].verdict == "holds"
    assert claims["in the upper layers"].verdict == "holds"  # the second of two
    assert claims["suppressed"].published == -0.2903
    assert [one.experiment for one in report.experiments] == list(FEW)
    assert {one.not_measured for one in report.experiments} == {None}
    stored = rows(measured.path, "SELECT claim, verdict, ours, n FROM experiment_claims")
    assert sorted(stored) == sorted((c.claim, c.verdict, c.ours, c.n) for c in report.claims)
    assert json.loads(json.dumps(report.to_json()))["rows"][0]["experiment"] == "neurons"


def test_suppression_is_that_of_asking_one_prompt_after_the_other(
    measured: Atlas, lm: LanguageModel
) -> None:
    with measured._opened(None, None) as (connection, chosen):
        items = EXPERIMENT.items(connection, Setting(chosen))
    plan = next(item.task for item in items if item.name == "capital-Ireland")
    found = []
    for prompt in plan.fact.prompts:
        targets = [lm.targets(prompt.text, prompt.object)]
        neurons = plan.chosen.neurons
        before = probe(lm, targets)
        for factor in (0.0, 2.0):
            after = probe(
                lm, targets, neurons=neurons, factors=torch.full((1, len(neurons)), factor)
            )
            found.append(np.expm1(after.log_p[0] - before.log_p[0]))
    for measure, changes in (("suppressed", found[::2]), ("amplified", found[1::2])):
        stored = of_facts(measured, measure, OWN)["capital-Ireland"]
        assert stored == pytest.approx(np.mean(changes), abs=2e-5)
    assert of_facts(measured, "suppressed", RANDOM).keys() == {item.name for item in items}
    loss = of_facts(measured, "harm when suppressed", "share of P lost")
    assert loss["capital-Ireland"] == pytest.approx(-np.mean(found[::2]), abs=2e-5)


def test_what_is_stored_is_not_measured_again(
    measured: Atlas, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tables(measured.path, clocks=True)
    monkeypatch.setattr(reproduce, "_measuring", lambda *_: 1 / 0)
    measured.reproduce(*FEW, limit=None)
    assert tables(measured.path, clocks=True) == before
    with pytest.raises(ZeroDivisionError):
        measured.reproduce("suppress", seed=1, limit=None, lm=lm)


def test_interrupted_and_resumed_equals_uninterrupted(
    atlas: Atlas, lm: LanguageModel, measured: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reproduce, "MOST", 2)

    def interrupt(event: object) -> None:
        if getattr(event, "what", None) == "reproduce suppress" and event.done >= 3:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atlas.reproduce(*FEW, lm=lm, limit=None, progress=interrupt)
    assert rows(atlas.path, "SELECT experiment FROM experiments ORDER BY ALL") == [
        ("neurons",),
        ("sharing",),
    ]
    atlas.reproduce(*FEW, lm=lm, limit=None)
    for table, order in (
        ("experiment_rows", "experiment, item, measure, series, x"),
        ("experiment_claims", "experiment, place"),
    ):
        wanted, found = (
            rows(db.path, f"FROM {table} ORDER BY {order}") for db in (measured, atlas)
        )
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert one == pytest.approx(other, abs=1e-5)


def test_a_fact_whose_neurons_change_is_measured_anew(atlas: Atlas, lm: LanguageModel) -> None:
    atlas.reproduce("suppress", lm=lm, limit=None)
    before = of_facts(atlas, "suppressed", OWN)
    with atlas.writing() as connection:
        connection.execute(
            f"""
            DELETE FROM knowledge_neurons
            WHERE fact_id = 'capital-Ireland'
              AND (layer, neuron) <> ({LAYER}, 0)
            """
        )
    events: list[object] = []
    atlas.reproduce("suppress", lm=lm, limit=None, progress=events.append)
    after = of_facts(atlas, "suppressed", OWN)
    assert {fact for fact in before if after[fact] != before[fact]} == {"capital-Ireland"}
    done = [event.done for event in events if hasattr(event, "done")]
    assert done[0] == 4  # its relation's, for its neurons are among those that are common there


def test_what_an_experiment_lacks_is_said(tmp_path: Path, model: Path, lm: LanguageModel) -> None:
    dataset = planted_dataset()
    one = type(dataset)("one", dataset.relations[:1])
    path = tmp_path / "one.duckdb"
    indexed(path, on(model, integration=CHEAP), one)
    db = open_atlas(path)
    with pytest.raises(NotFound, match="fewer than two relations"):
        db.reproduce("sharing", lm=lm)
    report = db.reproduce(lm=lm, limit=1)
    (sharing,) = [e for e in report.experiments if e.experiment == "sharing"]
    assert sharing.not_measured is not None
    assert "fewer than two relations" in sharing.not_measured
    with pytest.raises(SettingsError, match="limit is 0"):
        db.reproduce("suppress", limit=0)
