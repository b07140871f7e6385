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
def connection(synthetic: Synthetic) -> Iterator[Connection]:
    with synthetic.atlas.reading() as connection:
        yield connection


@pytest.fixture
def selection(connection: Connection) -> ChosenSelection:
    return choose_selection(connection)


@pytest.fixture
def begun(tmp_path: Path) -> Atlas:
    """An atlas whose run goes on: two relations known, none measured or selected."""
    atlas = open_atlas(tmp_path / "atlas.duckdb", create=True)
    dataset = synthetic_dataset()
    with atlas.writing() as connection:
        records.record_dataset(connection, dataset)
        records.record_model(connection, MODEL)
        records.record_run(connection, synthetic_run(dataset))
    return atlas


@pytest.fixture
def half_indexed(begun: Atlas) -> Atlas:
    """The same with its first relation measured and selected."""
    with begun.writing() as connection:
        run_id = choose_run(connection)
        records.record_results(connection, run_id, synthetic_results(synthetic_dataset(), 0))
        select(connection, run_id, Thresholds())
    return begun
