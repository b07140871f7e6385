"""Measured interference against probing fact by fact; how controls are matched."""

from pathlib import Path

import pytest
import torch
from tiny_index import CHEAP, indexed, on, rows, tables, tiny_dataset

from atlas.atlas import Atlas, open_atlas
from atlas.engine.probe import probe
from atlas.errors import NotFound
from atlas.interference.measure import matched, measure_interference
from atlas.interference.predicted import predicted_interference
from atlas.interference.stored import MeasuredFact
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.prompts import cloze, encode
from atlas.selection.chosen import choose_selection


def fact(fact_id: str, relation: str, p: float) -> MeasuredFact:
    return MeasuredFact(relation, relation, fact_id, "s", "o", p, [], [])


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
    assert roles == sorted(roles, key=["self", "predicted", "control"].index)
    assert 1 <= roles.count("predicted") <= 4
    with atlas.reading() as connection:
        predicted = {
            row.fact_id: row.predicted
            for row in predicted_interference(
                connection, selection.run_id, found.neurons, zeros=True
            )
        }
    for row in found.measurements:
        assert row.predicted == predicted[row.fact_id]
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
        "SELECT fact_id, role, delta_log_p FROM interference_measurements ORDER BY ALL",
    )
    assert stored == sorted((r.fact_id, r.role, r.delta_log_p) for r in found.measurements)


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
