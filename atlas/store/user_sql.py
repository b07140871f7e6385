"""SQL that a user typed: it reads this one file, and nothing else of the machine."""

import math
import re
import time
from collections.abc import Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from atlas.answers import Answer, plain
from atlas.errors import BadQuery
from atlas.store.connection import SANDBOX, reading

if TYPE_CHECKING:
    import pyarrow

_READING = {"SELECT", "EXPLAIN", "PRAGMA", "CALL", "MULTI"}  # MULTI is what PIVOT becomes
# Seconds between two looks for Ctrl-C: the system may hand it to another thread of the process, and
# this one, asleep in a lock, would not hear of it.
_LOOK = 0.2
_KIND = re.compile(r"^[A-Z][A-Za-z ]*Error: ")
_EXCERPT = re.compile(r"\n\s*LINE \d+:.*", re.DOTALL)


@dataclass(frozen=True)
class QueryResult(Answer):
    """A query's answer: column names, and one tuple per row in the query's order."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    cut: bool = False  # there are more rows, which a limit kept back

    def to_arrow(self, part: str | None = None) -> "pyarrow.Table":
        """The rows as an Arrow table; `part` is for answers of several tables."""
        import pyarrow

        values = zip(*self.rows, strict=True) if self.rows else ([] for _ in self.columns)
        return pyarrow.Table.from_arrays(
            [pyarrow.array(list(column)) for column in values], list(self.columns)
        )

    def to_json(self) -> dict[str, Any]:
        """The one shape of all answers; rows are objects, `_1`, … behind a name that returns."""
        names = _distinct(self.columns)
        records = [dict(zip(names, row, strict=True)) for row in self.rows]
        return {**super().to_json(), "rows": plain(records)}

    def _cells(self) -> tuple[list[str], list[list[Any]]]:
        return list(self.columns), [list(row) for row in self.rows]


def run_sql(
    path: Path | str,
    sql: str,
    wait: float = 10.0,
    *,
    limit: int | None = None,
    seconds: float | None = None,
) -> QueryResult:
    """Run one statement that reads; BadQuery for anything else, and for SQL that is wrong.

    limit: rows that are answered at most. BadQuery likewise for what takes longer than `seconds`.
    """
    with reading(path, wait, SANDBOX) as connection:
        try:
            return _run(connection, sql, limit, seconds)
        except (duckdb.IOException, duckdb.FatalException, duckdb.InternalException):
            raise
        except duckdb.Error as e:
            raise BadQuery(_hint(str(e))) from e


def _run(
    connection: duckdb.DuckDBPyConnection, sql: str, limit: int | None, seconds: float | None
) -> QueryResult:
    if not sql.isascii() and any("\ud800" <= character <= "\udfff" for character in sql):
        raise BadQuery("the SQL statement is not text in UTF-8: save or type it as such")
    statements = connection.extract_statements(sql)
    if not statements:
        raise BadQuery("there is no SQL statement: try `SELECT * FROM neuron_degrees LIMIT 10`")
    if len(statements) > 1:
        raise BadQuery(f"there are {len(statements)} SQL statements: run them one at a time")
    kind = statements[0].type.name
    if kind not in _READING:
        raise BadQuery(f"{kind} statements are refused, SQL only reads the atlas: use SELECT")
    # In a thread of its own, for DuckDB has long operations in which it notices no Ctrl-C.
    end = math.inf if seconds is None else time.monotonic() + seconds
    with futures.ThreadPoolExecutor(1) as worker:
        try:
            answer = worker.submit(_answer, connection, statements[0], limit)
            while not answer.done() and (left := end - time.monotonic()) > 0:
                futures.wait([answer], min(left, _LOOK))
        except KeyboardInterrupt:
            connection.interrupt()
            raise
        if not answer.done():
            connection.interrupt()
            raise BadQuery(
                f"the query took longer than {seconds:g} s: ask for less, or use the command line, "
                "which waits"
            )
        return answer.result()


def _answer(
    connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement, limit: int | None
) -> QueryResult:
    answer = connection.execute(statement)
    columns = tuple(column[0] for column in answer.description)
    if limit is None:
        return QueryResult(columns, answer.fetchall())
    rows = answer.fetchmany(limit + 1)
    return QueryResult(columns, rows[:limit], len(rows) > limit)


def _hint(text: str) -> str:
    """DuckDB's complaint without its kind and its drawing of the place, on one line."""
    if "file system operations are disabled" in text or "xtension" in text:
        return "SQL reads the atlas alone: files, extensions and other databases are out of reach"
    if "'pytz'" in text:
        return "times with a zone cannot be shown: cast them, for example now()::TIMESTAMP"
    return " ".join(_KIND.sub("", _EXCERPT.sub("", text)).split())


def _distinct(columns: Sequence[str]) -> list[str]:
    """Column names, none twice, so that no value of a JSON row is lost."""
    names: list[str] = []
    for column in columns:
        name, again = column, 0
        while name in names:
            again += 1
            name = f"{column}_{again}"
        names.append(name)
    return names
