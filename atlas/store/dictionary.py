"""The data dictionary: what every table, view and column is, from the schema itself."""

import itertools
from dataclasses import dataclass

import duckdb

from atlas.store.rows import fetch


@dataclass(frozen=True)
class DescribedColumn:
    """A column of a table or view."""

    kind: str  # view | table
    name: str  # of the table or view
    column: str
    type: str
    description: str | None  # the schema's comment


@dataclass(frozen=True)
class DescribedTable:
    """A table or view with its columns, in their order."""

    kind: str  # view | table
    name: str
    description: str | None  # the schema's comment
    columns: tuple[DescribedColumn, ...]


def data_dictionary(connection: duckdb.DuckDBPyConnection) -> list[DescribedTable]:
    """Views first, then tables, by name."""
    columns = fetch(
        connection,
        DescribedColumn,
        """
        SELECT CASE WHEN v.view_name IS NULL THEN 'table' ELSE 'view' END AS kind,
               c.table_name AS name,
               c.column_name AS column,
               c.data_type AS type,
               c.comment AS description
        FROM duckdb_columns() AS c
        LEFT JOIN duckdb_views() AS v
          ON v.view_name = c.table_name
         AND NOT v.internal
        WHERE NOT c.internal
          AND c.database_name = current_database()
          AND c.table_name <> 'alembic_version'
        ORDER BY kind DESC, c.table_name, c.column_index
        """,
    )
    described = dict(
        connection.execute(
            """
            SELECT table_name, comment
            FROM duckdb_tables()
            WHERE NOT internal
            UNION ALL
            SELECT view_name, comment
            FROM duckdb_views()
            WHERE NOT internal
            """
        ).fetchall()
    )
    return [
        DescribedTable(kind, name, described[name], tuple(own))
        for (kind, name), own in itertools.groupby(columns, lambda c: (c.kind, c.name))
    ]
