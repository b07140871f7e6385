"""A selection made again from the stored scores, in a copy of the atlas, beside what is stored."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import duckdb

from atlas.selection.derived import discard
from atlas.selection.select import select
from atlas.selection.thresholds import Thresholds
from atlas.store.atlas_file import AtlasFile
from atlas.store.rows import fetch_one

# What selecting alone decides; all else that is derived needs the model.
TABLES = (
    "knowledge_neurons",
    "selection_relations",
    "relation_overlaps",
    "neuron_stability",
    "fact_stability",
)
DIGITS = 9  # to which numbers are compared: sums depend on the order of their terms


@dataclass(frozen=True)
class VerifiedTable:
    """A table's rows of the selection, stored and made again.

    only_stored, only_again: rows that the other side does not have; a row with another value is one
    of each.
    """

    table: str
    rows: int
    only_stored: int
    only_again: int


def reselected(atlas: AtlasFile, selection_id: str) -> list[VerifiedTable]:
    """Every table of the selection beside the same made again; the atlas stays as it is."""
    with tempfile.TemporaryDirectory(prefix="atlas-verify-") as directory:
        copy = Path(directory) / "copy.duckdb"
        with atlas.reading():  # nobody writes while it is copied
            shutil.copyfile(atlas.path, copy)
        with AtlasFile(copy).writing() as connection:
            return _both(connection, selection_id)


def _both(connection: duckdb.DuckDBPyConnection, selection_id: str) -> list[VerifiedTable]:
    run_id, settings = fetch_one(
        connection,
        """
        SELECT run_id, settings
        FROM selections
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    )
    for table in TABLES:
        connection.execute(
            f"""
            CREATE TEMPORARY TABLE stored_{table} AS
            SELECT *
            FROM {table}
            WHERE selection_id = ?
            """,
            [selection_id],
        )
    relations = [
        str(row[0])
        for row in connection.execute(
            "SELECT relation_id FROM stored_selection_relations ORDER BY relation_id"
        ).fetchall()
    ]
    discard(connection, selection_id)
    select(
        connection,
        run_id,
        Thresholds.from_settings(settings),
        relations or None,
        make_default=False,
    )
    return [_differences(connection, table, selection_id) for table in TABLES]


def _differences(
    connection: duckdb.DuckDBPyConnection, table: str, selection_id: str
) -> VerifiedTable:
    columns = connection.execute(
        """
        SELECT column_name, data_type
        FROM duckdb_columns()
        WHERE table_name = ?
          AND database_name = current_database()
        ORDER BY column_index
        """,
        [table],
    ).fetchall()
    shown = ", ".join(
        f"round({name}::DOUBLE, {DIGITS}) AS {name}" if kind in ("DOUBLE", "FLOAT") else name
        for name, kind in columns
    )
    stored = f"SELECT {shown} FROM stored_{table}"
    again = f"SELECT {shown} FROM {table} WHERE selection_id = $selection_id"
    rows, only_stored, only_again = fetch_one(
        connection,
        f"""
        SELECT (SELECT count(*) FROM stored_{table}),
               (SELECT count(*) FROM ({stored} EXCEPT ALL {again})),
               (SELECT count(*) FROM ({again} EXCEPT ALL {stored}))
        """,
        {"selection_id": selection_id},
    )
    return VerifiedTable(table, rows, only_stored, only_again)
