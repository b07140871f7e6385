"""What an atlas file holds, for tests that compare before and after."""

from pathlib import Path
from typing import Any

from atlas.store import migrate
from atlas.store.connection import reading

Rows = list[tuple[Any, ...]]


def rows(path: Path, sql: str) -> Rows:
    """The answer to a query."""
    with reading(path) as connection:
        return connection.execute(sql).fetchall()


def content(path: Path) -> dict[str, Rows]:
    """Every row of every table, sorted."""
    with reading(path) as connection:
        tables = connection.execute(
            "SELECT table_name FROM duckdb_tables() ORDER BY table_name"
        ).fetchall()
        return {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()
            for (table,) in tables
        }


def revision(path: Path) -> str | None:
    """The schema's revision."""
    with reading(path) as connection:
        return migrate.revision_of(connection)


def names(directory: Path) -> list[str]:
    """The names of the files in a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())
