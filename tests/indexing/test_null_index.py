"""`atlas index --null` on the tiny BERT: beside the real run, once, and continued."""

from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
from invocation import run
from tiny_index import CHEAP, indexed, on, rows, tables, tiny_dataset, write_jsonl

import atlas
from atlas.atlas import open_atlas
from atlas.errors import NotFound, SettingsError
from atlas.indexing.indexer import indexing_on, measure
from atlas.indexing.null_facts import shuffled

CHEAPLY: dict[str, Any] = {
    "rule": CHEAP.rule,
    "points": CHEAP.points,
    "device": "cpu",
    "memory_budget": 0.25,
}
DATASET = tiny_dataset(facts=4, templates=4)


@pytest.fixture(scope="module")
def real(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two relations with four facts each, two facts are measured."""
    path = tmp_path_factory.mktemp("real") / "atlas.duckdb"
    atlas.index(path, saved_bert, DATASET, limit=2, **CHEAPLY)
    return path


@pytest.fixture
def db(real: Path, tmp_path: Path) -> Path:
    return Path(copyfile(real, tmp_path / "atlas.duckdb"))


def test_the_null_measures_the_facts_that_the_real_run_has_measured(
    db: Path, saved_bert: Path
) -> None:
    before = tables(db)
    report = atlas.index(db, saved_bert, DATASET, null=True, **CHEAPLY)
    (real_run,) = [r.run_id for r in open_atlas(db).info().runs if r.null_of is None]
    assert (report.run.null_of, report.run.seed) == (real_run, 0)
    assert report.run.status == "finished"
    assert report.computed == 2 * 2 * 4
    null = {f.null_of: f.object for r in shuffled(DATASET, 0).dataset.relations for f in r.facts}
    measured = rows(db, "SELECT null_of, object FROM facts WHERE null_of IS NOT NULL ORDER BY ALL")
    limited = [f.fact_id for r in DATASET.relations for f in r.facts[:2]]
    assert measured == sorted((fact_id, null[fact_id]) for fact_id in limited)
    # nothing of the real run has changed
    after = tables(db)
    for name, kept in before.items():
        assert set(map(str, kept)) <= set(map(str, after[name])), name
    assert report.selection is not None
    assert report.selection.null_of == report.default.now.selection_id
    assert report.default.previous is None


def test_a_null_that_is_measured_is_not_measured_again(db: Path, saved_bert: Path) -> None:
    data = write_jsonl(db.parent / "tiny.jsonl", DATASET)
    asked = ("--model", str(saved_bert), "--pararel", str(data), "--db", str(db))
    cheap = ("--rule", CHEAP.rule, "--points", str(CHEAP.points), "--memory-budget", "0.25")
    index = ("index", *asked, *cheap, "--device", "cpu")
    first = run(*index, "--null")
    assert first.exit_code == 0, first.stderr
    assert "is the null of run" in first.stderr
    before = tables(db, clocks=True)
    again = run(*index, "--null")
    assert again.exit_code == 0
    last = again.stderr.splitlines()[-1]
    assert last.startswith("The null of run ")
    assert "is measured already (run " in last
    assert tables(db, clocks=True) == before
    # more real facts, then more null facts
    assert run(*index, "--limit", "3").exit_code == 0
    more = atlas.index(db, saved_bert, DATASET, null=True, **CHEAPLY)
    assert more.computed == 2 * 1 * 4


def test_an_interrupted_null_is_continued_and_ends_like_another(
    db: Path, saved_bert: Path, tmp_path: Path
) -> None:
    whole = Path(copyfile(db, tmp_path / "whole.duckdb"))
    atlas.index(whole, saved_bert, DATASET, null=True, **CHEAPLY)
    settings = on(saved_bert, integration=CHEAP)
    with indexing_on(db, settings) as (file, lm, _):
        events = measure(file, lm, DATASET, DATASET, settings, null=shuffled(DATASET, 0))
        for event in events:
            if event.computed:
                break
        events.close()
    assert "interrupted" in {run.status for run in open_atlas(db).info().runs}
    atlas.index(db, saved_bert, DATASET, null=True, **CHEAPLY)
    found, expected = tables(db), tables(whole)
    for name in ("facts", "prompts", "selection_relations", "runs"):
        assert len(found[name]) == len(expected[name])
    assert found["knowledge_neurons"] == expected["knowledge_neurons"]


def test_without_its_real_run_there_is_no_null(saved_bert: Path, tmp_path: Path) -> None:
    path = tmp_path / "atlas.duckdb"
    with pytest.raises(NotFound, match=r"there is no atlas .* without the null first"):
        atlas.index(path, saved_bert, DATASET, null=True, **CHEAPLY)
    assert not path.exists()
    indexed(path, on(saved_bert, integration=CHEAP), tiny_dataset(relations=1, facts=2))
    with pytest.raises(NotFound, match="index them without the null first"):
        atlas.index(path, saved_bert, DATASET, null=True, **CHEAPLY)
    with pytest.raises(SettingsError, match="leave out the null or the interactions"):
        atlas.index(path, saved_bert, DATASET, null=True, interactions=True, **CHEAPLY)


def test_a_null_of_both_positions_stands_beside_both_runs_or_none(
    db: Path, saved_bert: Path
) -> None:
    before = tables(db)
    with pytest.raises(NotFound, match="none at the subject with this model"):
        atlas.index(db, saved_bert, DATASET, null=True, position="both", **CHEAPLY)
    assert tables(db) == before  # not even that at the answer, whose run is there
    atlas.index(db, saved_bert, DATASET, limit=2, position="subject", **CHEAPLY)
    data = write_jsonl(db.parent / "tiny.jsonl", DATASET)
    asked = ("--model", str(saved_bert), "--pararel", str(data), "--db", str(db))
    cheap = ("--rule", CHEAP.rule, "--points", str(CHEAP.points), "--device", "cpu")
    null = ("index", *asked, *cheap, "--null", "--at", "both")
    first = run(*null)
    assert first.exit_code == 0, first.stderr
    assert ", at the answer: " in first.stderr
    assert ", at the subject: " in first.stderr
    runs = {r.run_id: r for r in open_atlas(db).info().runs}
    nulls = [r for r in runs.values() if r.null_of is not None]
    assert {r.position for r in nulls} == {"answer", "subject"}
    assert all(r.position == runs[str(r.null_of)].position for r in nulls)
    at = {s.selection_id: s for s in open_atlas(db).selections().rows}
    assert sum(s.null_of is not None for s in at.values()) == 2
    measured = tables(db, clocks=True)
    again = run(*null)
    assert (again.exit_code, len(again.stderr.splitlines()[-2:])) == (0, 2)
    for line, position in zip(again.stderr.splitlines()[-2:], ("answer", "subject"), strict=True):
        assert f", at the {position}, is measured already (run " in line
    assert tables(db, clocks=True) == measured
    alone = run(*null[:-1], "subject")
    assert alone.stderr.splitlines()[-1].count("is measured already") == 1


def test_a_run_without_a_selection_has_nothing_to_look_at_a_null_with(
    db: Path, saved_bert: Path
) -> None:
    with open_atlas(db).writing() as connection:
        for table in ("selections", "selection_relations", "knowledge_neurons"):
            connection.execute(f"DELETE FROM {table}")
    with pytest.raises(NotFound, match="let its index complete a relation first"):
        atlas.index(db, saved_bert, DATASET, null=True, **CHEAPLY)


def test_a_null_of_one_object_is_refused_in_one_line(saved_bert: Path, tmp_path: Path) -> None:
    path, one = tmp_path / "atlas.duckdb", tiny_dataset(relations=1, facts=1, templates=3)
    indexed(path, on(saved_bert, integration=CHEAP), one)
    with pytest.raises(SettingsError, match="no shuffling of the objects of P36 makes every fact"):
        atlas.index(
            path, saved_bert, one, null=True, rule=CHEAP.rule, points=CHEAP.points, device="cpu"
        )
