"""Moving many rows into DuckDB at once, through Arrow."""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import duckdb

OFFERED = "offered_rows"


@contextlib.contextmanager
def offered(
    connection: duckdb.DuckDBPyConnection, columns: Mapping[str, Sequence[Any]]
) -> Iterator[None]:
    """Let SQL inside the block read `columns` (lists or numpy arrays) as the table OFFERED."""
    # 0.1 s, which queries do not need to pay.
    import pyarrow

    connection.register(OFFERED, pyarrow.table(dict(columns)))
    try:
        yield
    finally:
        connection.unregister(OFFERED)


def insert(
    connection: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, Sequence[Any]]
) -> None:
    """Append the rows to `table`."""
    names = ", ".join(columns)
    with offered(connection, columns):
        connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {OFFERED}")


def insert_records(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Any]) -> None:
    """Append rows, dataclasses of one kind whose fields are columns of `table`."""
    if rows:
        names = [field.name for field in fields(rows[0])]
        values = [[getattr(row, name) for name in names] for row in rows]
        insert(connection, table, as_columns(names, values))


def insert_new(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    names: Sequence[str],
    rows: Collection[Sequence[Any]],
) -> None:
    """Append those rows whose first column is not in `table` yet."""
    if not rows:
        return
    with offered(connection, as_columns(names, rows)):
        connection.execute(
            f"""
            INSERT INTO {table} ({", ".join(names)})
            SELECT {", ".join(names)}
            FROM {OFFERED}
            ANTI JOIN {table} USING ({names[0]})
            """
        )


def as_columns(names: Sequence[str], rows: Collection[Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Rows turned into named columns; `rows` is not empty."""
    return dict(zip(names, zip(*rows, strict=True), strict=True))
