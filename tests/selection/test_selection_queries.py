"""Choosing a selection and its run, and what a selection holds."""

from pathlib import Path

import duckdb
import pytest
from synthetic import (
    Synthetic,
    build,
)

from atlas.atlas import Atlas, open_atlas
from atlas.errors import NotFound
from atlas.selection.chosen import choose_run, choose_selection
from atlas.selection.report import selection_report
from atlas.selection.select import Thresholds, select

Connection = duckdb.DuckDBPyConnection


def test_the_selection_asked_for_last_is_the_one_used(tmp_path: Path) -> None:
    synthetic = build(tmp_path / "atlas.duckdb")
    with synthetic.atlas.writing() as connection:
        other = select(connection, synthetic.run_id, Thresholds("fixed"))
        assert choose_selection(connection).selection_id == other
        select(connection, synthetic.run_id, Thresholds())
        assert choose_selection(connection).selection_id == synthetic.selection_id


def test_a_selection_is_found_by_the_beginning_of_its_id(
    connection: Connection, synthetic: Synthetic
) -> None:
    found = choose_selection(connection, synthetic.selection_id[:5], synthetic.run_id[:5])
    assert found.selection_id == synthetic.selection_id
    assert (found.model, found.layers, found.neurons_per_layer) == ("synthetic", 4, 64)


def test_an_unknown_selection_or_run_names_those_that_there_are(
    connection: Connection, synthetic: Synthetic
) -> None:
    with pytest.raises(NotFound, match=rf"'zz'; there are paper \({synthetic.selection_id}\)"):
        choose_selection(connection, "zz")
    with pytest.raises(NotFound, match=f"no run 'zz'; there are {synthetic.run_id}"):
        choose_selection(connection, run_id="zz")


def test_an_ambiguous_beginning_is_refused(tmp_path: Path) -> None:
    synthetic = build(tmp_path / "atlas.duckdb")
    with synthetic.atlas.writing() as connection:
        connection.execute("UPDATE selections SET selection_id = 'ab1'")
        connection.execute(
            "INSERT INTO selections SELECT * REPLACE ('ab2' AS selection_id) FROM selections"
        )
        with pytest.raises(NotFound, match="2 selections begin with 'ab': ab1, ab2"):
            choose_selection(connection, "ab")
        assert choose_selection(connection, "ab2").selection_id == "ab2"


def test_an_atlas_without_run_says_to_index(tmp_path: Path) -> None:
    atlas = open_atlas(tmp_path / "atlas.duckdb", create=True)
    with (
        atlas.reading() as connection,
        pytest.raises(NotFound, match="no run yet: run `atlas index`"),
    ):
        choose_selection(connection)


def test_an_atlas_without_selection_says_to_select(begun: Atlas) -> None:
    with begun.reading() as connection:
        with pytest.raises(NotFound, match=r"no selection yet.*`atlas select`"):
            choose_selection(connection)
        run_id = choose_run(connection)
        with pytest.raises(NotFound, match=f"run {run_id} has no selection yet"):
            choose_selection(connection, run_id=run_id)


def test_a_selection_report_counts_facts_and_neurons(
    connection: Connection, synthetic: Synthetic
) -> None:
    report = selection_report(connection, synthetic.selection_id)
    assert (report.facts, report.mean_neurons) == (12, 3.0)
    assert [(r.relation_id, r.facts, r.prompts) for r in report.relations] == [
        ("P36", 6, 18),
        ("P37", 6, 18),
    ]
