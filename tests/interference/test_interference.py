"""Measured interference against probing fact by fact; how controls are matched."""

from pathlib import Path

import pytest
import torch
from tiny_index import CHEAP, indexed, on, rows, tables, tiny_dataset

from atlas.atlas import Atlas, open_atlas
from atlas.engine.probe import probe
from atlas.errors import NotFound, SettingsError
from atlas.interference.changes import predicted_changes
from atlas.interference.measure import (
    Measurement,
    Validation,
    drawn,
    matched,
    measure_interference,
    validation,
)
from atlas.interference.predicted import InterferenceReport, predicted_interference
from atlas.interference.stored import MeasuredFact
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.prompts import cloze, encode
from atlas.selection.chosen import choose_selection


def fact(fact_id: str, relation: str, p: float) -> MeasuredFact:
    return MeasuredFact(relation, relation, fact_id, "s", "o", p, [], [])


def measurement(role: str, predicted: float, change: float, delta: float) -> Measurement:
    return Measurement(role, "P1", "r", "f", "s", "o", predicted, change, 3, delta, 0, 0)


def test_a_control_is_of_the_same_relation_if_one_is_left_then_as_well_known() -> None:
    pool = [
        fact("near", "P1", 0.5),
        fact("far", "P1", 0.9),
        fact("other", "P2", 0.71),
        fact("last", "P3", 0.1),
    ]
    wanted = [fact("a", "P1", 0.55), fact("b", "P1", 0.5), fact("c", "P1", 0.7)]
    assert [f.fact_id for f in matched(wanted, pool)] == ["near", "far", "other"]
    assert [f.fact_id for f in matched(wanted, pool[:1])] == ["near"]
    assert matched(wanted, []) == []


def test_the_random_sample_depends_on_the_source_alone_and_grows_at_its_end() -> None:
    pool = [fact(f"f{i}", "P1", 0.5) for i in range(30)]
    first = drawn("a", pool, 5)
    assert drawn("a", pool[::-1], 5) == first
    assert drawn("a", pool, 9)[:5] == first
    assert drawn("b", pool, 5) != first
    assert len(drawn("a", pool[:3], 5)) == 3


def test_a_prediction_is_judged_with_its_sign_and_without() -> None:
    found = validation(
        [
            measurement("random", 0.5, -2.0, -3.0),
            measurement("random", 0.3, 1.0, 0.5),
            measurement("random", 0.1, -0.2, -0.4),
            measurement("random", 0.0, 0.0, 0.0),
        ]
    )
    assert (found.facts, found.touched, found.auc) == (4, 3, 1.0)
    assert found.spearman == pytest.approx(1.0)
    assert found.spearman_change == pytest.approx(1.0)
    assert validation([]) == Validation(0, 0, None, None, None)


@pytest.fixture(scope="module")
def lm(saved_bert: Path) -> LanguageModel:
    return load_model(str(saved_bert), device="cpu")


@pytest.fixture
def atlas(tmp_path: Path, saved_bert: Path) -> Atlas:
    path = tmp_path / "atlas.duckdb"
    indexed(path, on(saved_bert, integration=CHEAP, score_floor=0.2), tiny_dataset(3, 5))
    return open_atlas(path)


def test_what_is_stored_is_what_suppressing_one_by_one_does(
    atlas: Atlas, lm: LanguageModel
) -> None:
    with atlas.reading() as connection:
        selection = choose_selection(connection)
    found = measure_interference(atlas, lm, selection, "P36-0", count=4)
    assert found.neurons
    roles = [row.role for row in found.measurements]
    assert roles[0] == "self"
    assert roles == sorted(roles, key=["self", "predicted", "control", "random"].index)
    assert 1 <= roles.count("predicted") <= 4
    assert roles.count("random") == 8
    extremes = [row for row in found.measurements if row.role in ("predicted", "control")]
    assert found.extremes == validation(extremes)
    assert found.random == validation([r for r in found.measurements if r.role == "random"])
    once = {row.fact_id: row.prompts for row in found.measurements}
    assert found.prompts == sum(once.values())
    with atlas.reading() as connection:
        predicted = {
            row.fact_id: row.predicted
            for row in predicted_interference(
                connection, selection.run_id, found.neurons, zeros=True
            )
        }
    for row in found.measurements:
        assert row.predicted == predicted[row.fact_id]
        if row.role != "random":
            assert (row.predicted == 0) == (row.role == "control")
        texts = rows(
            atlas.path,
            f"""
            SELECT p.text
            FROM prompts AS p
            JOIN prompt_results AS m USING (prompt_id)
            WHERE p.fact_id = '{row.fact_id}'
              AND m.skipped_because IS NULL
            """,
        )
        encoded = [
            encode(cloze(text, row.object, "masked"), lm.tokenizer, "masked", lm.context)
            for (text,) in texts
        ]
        clean = probe(lm, encoded)
        without = probe(lm, encoded, neurons=found.neurons, factors=torch.tensor(0.0).item())
        assert row.prompts == len(texts)
        assert row.delta_log_p == pytest.approx(
            float((without.log_p - clean.log_p).mean()), abs=2e-5
        )
        flips = sum(a != b for a, b in zip(clean.predicted, without.predicted, strict=True))
        assert row.flips == flips
        lost = (clean.answer_rank == 1) & (without.answer_rank > 1)
        assert row.right_to_wrong == lost.sum()
    stored = rows(
        atlas.path,
        """
        SELECT fact_id, role, predicted_change, delta_log_p
        FROM interference_measurements
        ORDER BY ALL
        """,
    )
    assert stored == sorted(
        (r.fact_id, r.role, r.predicted_change, r.delta_log_p) for r in found.measurements
    )


def test_the_predicted_change_is_the_scores_that_are_lost_relative_to_p(atlas: Atlas) -> None:
    neurons = [(0, 1), (0, 2), (1, 3), (1, 3)]
    expected: dict[str, list[float]] = {}
    for fact_id, prompt_id, p in rows(
        atlas.path,
        """
        SELECT fact_id, prompt_id, p_answer
        FROM prompt_results
        JOIN prompts USING (prompt_id)
        WHERE skipped_because IS NULL
        """,
    ):
        scores = rows(
            atlas.path,
            f"""
            SELECT score
            FROM attributions
            WHERE prompt_id = {prompt_id}
              AND (layer, neuron) IN ((0, 1), (0, 2), (1, 3))
            """,
        )
        expected.setdefault(str(fact_id), []).append(-sum(s for (s,) in scores) / p)
    (run_id,) = rows(atlas.path, "SELECT run_id FROM runs")[0]
    with atlas.reading() as connection:
        found = predicted_changes(connection, run_id, neurons, list(expected))
        first = predicted_changes(connection, run_id, neurons, ["P36-0"])
    assert {f: sum(v) / len(v) for f, v in expected.items()} == pytest.approx(found)
    assert any(change > 0 for change in found.values())
    assert first == {"P36-0": found["P36-0"]}
    report = atlas.interference("P36-0")
    assert isinstance(report, InterferenceReport)
    with atlas.reading() as connection:
        by_name = predicted_changes(
            connection, run_id, report.neurons, [row.fact_id for row in report.affected]
        )
    assert {row.fact_id: row.predicted_change for row in report.affected} == by_name


def test_what_a_prediction_would_ignore_is_refused(atlas: Atlas) -> None:
    for ignored in ({"facts": 3}, {"device": "cpu"}, {"facts": 3, "measure": False}):
        (name, *_) = ignored
        with pytest.raises(SettingsError, match=f"^{name} goes with measuring") as caught:
            atlas.interference("P36-0", **ignored)
        assert caught.value.parameters == (name,)
    for measure in (None, True):
        with pytest.raises(SettingsError, match="limit is -1"):
            atlas.interference("P36-0", measure=measure, limit=-1)


def test_measuring_again_changes_no_row(atlas: Atlas, lm: LanguageModel) -> None:
    with atlas.reading() as connection:
        selection = choose_selection(connection)
    first = measure_interference(atlas, lm, selection, "P36-1", count=3)
    before = tables(atlas.path, clocks=True)
    second = measure_interference(atlas, lm, selection, "P36-1", count=3)
    assert tables(atlas.path, clocks=True) == before
    assert second.measurements == first.measurements


def test_a_fact_without_neurons_is_told(atlas: Atlas, lm: LanguageModel) -> None:
    with atlas.writing() as connection:
        connection.execute("DELETE FROM knowledge_neurons WHERE fact_id = 'P36-0'")
        selection = choose_selection(connection)
    with pytest.raises(NotFound, match="has no knowledge neuron"):
        measure_interference(atlas, lm, selection, "P36-0")
    assert rows(atlas.path, "SELECT count(*) FROM interference_measurements") == [(0,)]
