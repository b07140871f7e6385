"""The totals of an atlas, whole or half indexed."""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from synthetic import (
    SKIPPED_BECAUSE,
    Synthetic,
)

from atlas.atlas import Atlas, open_atlas
from atlas.queries.facts import fact_reports
from atlas.queries.info import atlas_info
from atlas.queries.neurons import hubs_report
from atlas.queries.relations import relation_report
from atlas.selection.chosen import (
    choose_selection,
)
from atlas.store.rows import fetch

Connection = duckdb.DuckDBPyConnection


def test_an_atlas_that_is_being_indexed_answers_with_what_it_has(half_indexed: Atlas) -> None:
    with half_indexed.reading() as connection:
        selection = choose_selection(connection)
        assert selection.run_status == "running"
        assert hubs_report(connection, selection).hubs[0].facts == 6
        reached, waiting = (relation_report(connection, selection, name) for name in ("P36", "P37"))
        (fact,) = fact_reports(connection, selection, "Realm 0")
        info = atlas_info(connection, half_indexed.path)
    assert reached.mean_neurons == 3.0
    assert (waiting.mean_neurons, waiting.sharing, waiting.facts) == (None, None, 0)
    assert (waiting.neurons, waiting.mean_p_answer) == ((), None)
    assert (fact.unmeasured, fact.prompts, fact.neurons) == (4, (), ())
    assert (info.runs[0].measured, info.runs[0].finished_at) == (18, None)


def test_info_counts_everything(connection: Connection, synthetic: Synthetic) -> None:
    path = synthetic.atlas.path
    info = atlas_info(connection, path)
    assert (info.totals.file, info.totals.bytes) == (str(path), path.stat().st_size)
    assert (info.totals.relations, info.totals.templates) == (2, 8)
    assert (info.totals.facts, info.totals.prompts) == (12, 48)
    assert [model.name for model in info.models] == ["synthetic"]
    (run,) = info.runs
    assert (run.status, run.measured, run.skipped, run.over_tolerance) == ("finished", 36, 12, 0)
    assert (run.attributions, run.settings) == (36 * 5, {"synthetic": True})
    assert [(s.run_id, s.reason, s.prompts) for s in info.skipped] == [
        (synthetic.run_id, SKIPPED_BECAUSE, 12)
    ]
    (selection,) = info.selections
    assert (selection.relations, selection.facts, selection.mean_neurons) == (2, 12, 3.0)
    assert selection.distinct_neurons == 15


def test_info_of_an_empty_atlas_counts_nothing(tmp_path: Path) -> None:
    atlas = open_atlas(tmp_path / "atlas.duckdb", create=True)
    with atlas.reading() as connection:
        info = atlas_info(connection, atlas.path)
    assert (info.models, info.runs, info.selections, info.skipped) == ((), (), (), ())
    assert info.totals.facts == 0


def test_a_query_whose_columns_are_not_the_dataclass_is_a_bug_that_shows() -> None:
    @dataclass(frozen=True)
    class Pair:
        a: int
        b: int

    with duckdb.connect() as connection:
        assert fetch(connection, Pair, "SELECT 2 AS b, 1 AS a") == [Pair(1, 2)]
        with pytest.raises(TypeError):
            fetch(connection, Pair, "SELECT 1 AS a, 2 AS c")
