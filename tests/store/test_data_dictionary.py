"""The data dictionary's migrations say nothing of what is not there."""

import importlib.util

import duckdb
import pytest

from atlas.paths import MIGRATIONS
from atlas.store import migrate


@pytest.mark.parametrize("migration", ["0004_dictionary", "0005_named_selections"])
def test_every_entry_of_the_dictionary_is_about_something_that_exists(migration: str) -> None:
    path = MIGRATIONS / "versions" / f"{migration}.py"
    spec = importlib.util.spec_from_file_location("dictionary", path)
    assert spec is not None
    assert spec.loader is not None
    dictionary = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dictionary)
    with duckdb.connect() as connection:
        migrate.upgrade(connection)
        columns = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
    names = {table for table, _ in columns}
    known = {column for _, column in columns} | {f"{t}.{c}" for t, c in columns}
    tables = [line.split(": ")[0] for line in dictionary.TABLES.split("\n") if line]
    entries = [line.split(": ")[0] for line in dictionary.COLUMNS.split("\n") if line]
    assert set(tables) <= names
    assert set(entries) <= known
    assert len(set(tables)) == len(tables)
    assert len(set(entries)) == len(entries)
