"""Rows of a query as frozen dataclasses, matched by column name."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import duckdb

Row = TypeVar("Row")
Parameters = Sequence[Any] | Mapping[str, Any]


def fetch(
    connection: duckdb.DuckDBPyConnection, kind: type[Row], sql: str, parameters: Parameters = ()
) -> list[Row]:
    """Runs `sql`, whose column names must be exactly the fields of the dataclass `kind`."""
    answer = connection.execute(sql, parameters)
    columns = [column[0] for column in answer.description or ()]
    return [kind(**dict(zip(columns, row, strict=True))) for row in answer.fetchall()]


def fetch_one(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters = ()
) -> tuple[Any, ...]:
    """The single row of an aggregate query."""
    # fetchone would leave the result open, and DuckDB registers no table meanwhile
    rows = connection.execute(sql, parameters).fetchall()
    assert rows, "an aggregate without GROUP BY has exactly one row"
    return tuple(rows[0])
