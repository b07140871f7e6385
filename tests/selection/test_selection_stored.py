from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from atlas_content import content
from synthetic import build, neurons_of, synthetic_dataset, synthetic_results, synthetic_run

from atlas.atlas import Atlas, open_atlas
from atlas.errors import NotFound, SettingsError
from atlas.indexing import records
from atlas.selection.select import Thresholds, select

TABLES = ("selections", "selection_relations", "knowledge_neurons")


def latest(atlas: Atlas) -> str:
    with atlas.reading() as connection:
        ((selection_id,),) = connection.execute(
            "SELECT selection_id FROM latest_selection"
        ).fetchall()
    return str(selection_id)


def ask(atlas: Atlas, run_id: str, asked: Thresholds, **options: Any) -> str:
    with atlas.writing() as connection:
        return select(connection, run_id, asked, **options)


def test_the_synthetic_atlas_has_the_neurons_it_promises(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb", relations=3, facts=4)
    found = {row[1:4] for row in content(made.atlas.path)["knowledge_neurons"]}
    assert found == {
        (fact.fact_id, layer, neuron)
        for r, relation in enumerate(made.dataset.relations)
        for f, fact in enumerate(relation.facts)
        for layer, neuron in neurons_of(made.dataset, r, f)
    }
    assert [row[1:] for row in content(made.atlas.path)["selection_relations"]] == [
        (relation_id, 0.7, 0, 4, 12, 3.0, 4, 4, 3, True, None, None)
        for relation_id in ("P30", "P36", "P37")
    ]


def test_asking_for_the_latest_selection_again_changes_no_row(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    before = content(made.atlas.path)
    assert ask(made.atlas, made.run_id, Thresholds()) == made.selection_id
    assert content(made.atlas.path) == before


def test_the_latest_selection_is_the_one_asked_for_last(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    strict = ask(made.atlas, made.run_id, Thresholds(preset="fixed", ratio=0.9))
    assert latest(made.atlas) == strict != made.selection_id
    before = content(made.atlas.path)
    assert ask(made.atlas, made.run_id, Thresholds()) == made.selection_id
    assert latest(made.atlas) == made.selection_id
    after = content(made.atlas.path)
    assert after["knowledge_neurons"] == before["knowledge_neurons"]
    assert after["selection_relations"] == before["selection_relations"]
    changed = [row for row in after["selections"] if row not in before["selections"]]
    assert [row[0] for row in changed] == [made.selection_id]


def test_a_clock_that_was_set_back_does_not_change_what_is_latest(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    with made.atlas.writing() as connection:
        connection.execute("UPDATE selections SET asked_at = TIMESTAMP '2999-01-01 00:00:00'")
    strict = ask(made.atlas, made.run_id, Thresholds(preset="fixed"))
    assert latest(made.atlas) == strict


def test_new_results_are_taken_up_and_other_relations_left_alone(tmp_path: Path) -> None:
    atlas = open_atlas(tmp_path / "a.duckdb", create=True)
    dataset = synthetic_dataset()
    run = synthetic_run(dataset)
    with atlas.writing() as connection:
        records.record_dataset(connection, dataset)
        records.record_run(connection, run)
        records.record_results(connection, run.run_id, synthetic_results(dataset, 0))
    ask(atlas, run.run_id, Thresholds())
    first = content(atlas.path)
    assert [row[1] for row in first["selection_relations"]] == ["P36"]
    with atlas.writing() as connection:
        records.record_results(connection, run.run_id, synthetic_results(dataset, 1))
    ask(atlas, run.run_id, Thresholds())
    second = content(atlas.path)
    assert [row[1] for row in second["selection_relations"]] == ["P36", "P37"]
    assert set(first["knowledge_neurons"]) < set(second["knowledge_neurons"])
    assert second["selections"] == first["selections"]


def test_selecting_relation_by_relation_is_the_same_as_all_at_once(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb", relations=3)
    asked = Thresholds(preset="fixed", ratio=0.7)
    for relation_id in ("P37", "P36", "P30"):
        ask(made.atlas, made.run_id, asked, relations=[relation_id])
    piecemeal = content(made.atlas.path)
    with made.atlas.writing() as connection:
        for table in TABLES:
            connection.execute(f"DELETE FROM {table}")
    ask(made.atlas, made.run_id, asked)
    at_once = content(made.atlas.path)
    selection_id = asked.selection_id(made.run_id)
    for table in ("selection_relations", "knowledge_neurons"):
        assert at_once[table] == [row for row in piecemeal[table] if row[0] == selection_id]


def test_a_relation_measured_further_is_selected_anew(tmp_path: Path) -> None:
    atlas = open_atlas(tmp_path / "a.duckdb", create=True)
    dataset = synthetic_dataset(relations=1, facts=2, templates=5)
    run = synthetic_run(dataset)
    results = synthetic_results(dataset, 0)
    assert results.attributions is not None
    half = [p for p in results.prompts if p.skipped_because is None][:3]
    ids = np.array([p.prompt_id for p in half])
    kept = np.isin(results.attributions.prompt_id, ids)
    rows = {name: column[kept] for name, column in vars(results.attributions).items()}
    with atlas.writing() as connection:
        records.record_dataset(connection, dataset)
        records.record_run(connection, run)
        part = records.PromptResults(half, records.Attributions(**rows))
        records.record_results(connection, run.run_id, part)
    ask(atlas, run.run_id, Thresholds())
    assert {row[1] for row in content(atlas.path)["knowledge_neurons"]} == {"P36-0"}
    with atlas.writing() as connection:
        records.record_results(connection, run.run_id, results)
    ask(atlas, run.run_id, Thresholds())
    found = content(atlas.path)
    assert {row[1] for row in found["knowledge_neurons"]} == {"P36-0", "P36-1"}
    assert len(found["knowledge_neurons"]) == 6
    assert [row[1:] for row in found["selection_relations"]] == [
        ("P36", 0.7, 0, 2, 8, 3.0, 2, 2, 4, True, None, None)
    ]


def test_facts_without_neurons_are_counted_but_absent(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb", relations=1, facts=3)
    asked = Thresholds(preset="fixed", min_prompts=50)
    ask(made.atlas, made.run_id, asked)
    found = content(made.atlas.path)
    selection_id = asked.selection_id(made.run_id)
    assert [row for row in found["knowledge_neurons"] if row[0] == selection_id] == []
    assert [row[1:] for row in found["selection_relations"] if row[0] == selection_id] == [
        ("P36", 0.7, 0, 3, 9, 0.0, 3, 3, 3, None, None, None)
    ]


def test_runs_are_selected_apart(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    before = content(made.atlas.path)
    other = replace(made.run, tolerance=0.5)
    with made.atlas.writing() as connection:
        records.record_run(connection, other)
        records.record_results(connection, other.run_id, synthetic_results(made.dataset, 1))
    other_id = ask(made.atlas, other.run_id, Thresholds())
    found = content(made.atlas.path)
    assert [row for row in found["knowledge_neurons"] if row[0] != other_id] == before[
        "knowledge_neurons"
    ]
    assert [row[1] for row in found["selection_relations"] if row[0] == other_id] == ["P37"]


def test_a_ratio_below_what_was_stored_is_refused(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    before = content(made.atlas.path)
    with pytest.raises(SettingsError, match=r"stored only scores from 0\.05 .* use 0\.05") as e:
        ask(made.atlas, made.run_id, Thresholds(ratio=0.04))
    assert "\n" not in str(e.value)
    assert content(made.atlas.path) == before
    ask(made.atlas, made.run_id, Thresholds(ratio=0.05))


def test_an_unknown_run_is_refused(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    with pytest.raises(NotFound, match="no run 123: `atlas info` lists the runs"):
        ask(made.atlas, "123", Thresholds())
