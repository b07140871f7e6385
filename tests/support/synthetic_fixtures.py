"""Fixtures of the query and selection tests: an atlas known by heart (see synthetic.py)."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from synthetic import (
    MODEL,
    Synthetic,
    build,
    synthetic_dataset,
    synthetic_results,
    synthetic_run,
)

from atlas.atlas import Atlas, open_atlas
from atlas.indexing import records
from atlas.selection.chosen import (
    ChosenSelection,
    choose_run,
    choose_selection,
)
from atlas.selection.select import Thresholds, select

Connection = duckdb.DuckDBPyConnection


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """An atlas for tests that only read."""
    return build(tmp_path_factory.mktemp("queries") / "atlas.duckdb")


@pytest.fixture
def con(synthetic: Synthetic) -> Iterator[Connection]:
    with synthetic.atlas.reading() as con:
        yield con


@pytest.fixture
def selection(con: Connection) -> ChosenSelection:
    return choose_selection(con)


@pytest.fixture
def begun(tmp_path: Path) -> Atlas:
    """An atlas whose run goes on: two relations known, none measured or selected."""
    atlas = open_atlas(tmp_path / "atlas.duckdb", create=True)
    dataset = synthetic_dataset()
    with atlas.writing() as con:
        records.record_dataset(con, dataset)
        records.record_model(con, MODEL)
        records.record_run(con, synthetic_run(dataset))
    return atlas


@pytest.fixture
def half_indexed(begun: Atlas) -> Atlas:
    """The same with its first relation measured and selected."""
    with begun.writing() as con:
        run_id = choose_run(con)
        records.record_results(con, run_id, synthetic_results(synthetic_dataset(), 0))
        select(con, run_id, Thresholds())
    return begun
