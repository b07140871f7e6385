"""A run as Parquet files: its rows and what they refer to, one file a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from atlas.answers import Answer
from atlas.counted import counted
from atlas.durability import appearing_directory
from atlas.errors import SettingsError
from atlas.export.run_tables import EXPORTED, run_temporary_tables
from atlas.queries.info import RunSummary, run_summary
from atlas.selection.chosen import choose_run
from atlas.store.atlas_file import AtlasFile
from atlas.store.connection import mapped_errors
from atlas.store.migrate import revisions
from atlas.store.rows import fetch, fetch_one

README = "README.md"
REVISION = "atlas_schema_revision"  # in the metadata of every file


@dataclass(frozen=True)
class ExportedTable:
    """A Parquet file of an export."""

    table: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class RunExport(Answer, rows="tables"):
    """What an export wrote."""

    run_id: str
    directory: str
    tables: tuple[ExportedTable, ...]


@dataclass(frozen=True)
class _Column:
    table: str
    name: str
    type: str
    comment: str | None


def export_run(
    atlas: AtlasFile, run_id: str | None, directory: Path, *, force: bool = False
) -> RunExport:
    """Write a run (an unambiguous beginning of its id will do) into a new directory.

    The directory appears whole or not at all. With `force`, an earlier export (or an empty
    directory) is replaced. Raises NotFound, and SettingsError for a directory that is there.
    """
    _require_free(directory, force)
    with atlas.reading() as connection:
        run_id = choose_run(connection, run_id)
        run = run_summary(connection, run_id)
        with mapped_errors(directory), appearing_directory(directory) as unfinished:
            run_temporary_tables(connection, run_id)
            tables = tuple(_copy(connection, name, sql, unfinished) for name, sql in EXPORTED)
            columns = _columns(connection, [table.table for table in tables])
            nulls = _nulls(connection, run_id)
            text = _readme(run, _a_selection(connection, run_id), nulls, tables, columns)
            (unfinished / README).write_text(text, encoding="utf-8")
    return RunExport(run_id, str(directory), tables)


def _require_free(directory: Path, force: bool) -> None:
    with mapped_errors(directory):
        if not directory.exists():
            if not directory.absolute().parent.is_dir():
                raise SettingsError(
                    f"there is no directory {directory.absolute().parent}: make it first"
                )
            return
        if not directory.is_dir():
            raise SettingsError(
                f"{directory} is a file: name a new directory", parameters=["directory"]
            )
        names = [entry.name for entry in directory.iterdir()]
    if not force:
        raise SettingsError(
            f"{directory} exists: name a new directory, or have it replaced",
            parameters=["directory", "force"],
        )
    foreign = [name for name in names if name != README and not name.endswith(".parquet")]
    if foreign or (names and README not in names):
        raise SettingsError(
            f"{directory} is no earlier export ({foreign[0] if foreign else 'no README.md'}): "
            "only those are replaced, name another directory",
            parameters=["directory"],
        )


def _copy(
    connection: duckdb.DuckDBPyConnection, table: str, sql: str, directory: Path
) -> ExportedTable:
    file = directory / f"{table}.parquet"
    target = str(file).replace("'", "''")
    connection.execute(
        f"""
        COPY ({sql} ORDER BY ALL) TO '{target}' (
            FORMAT parquet,
            KV_METADATA {{{REVISION}: '{revisions()[-1]}'}}
        )
        """
    )
    (rows,) = fetch_one(connection, "SELECT count(*) FROM read_parquet(?)", [str(file)])
    return ExportedTable(table, rows, file.stat().st_size)


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def _columns(connection: duckdb.DuckDBPyConnection, tables: Sequence[str]) -> list[_Column]:
    return fetch(
        connection,
        _Column,
        """
        SELECT table_name AS "table",
               column_name AS name,
               data_type AS type,
               comment
        FROM duckdb_columns()
        WHERE NOT internal
          AND table_name IN $tables
        ORDER BY table_name, column_index
        """,
        {"tables": list(tables)},
    )


def _a_selection(connection: duckdb.DuckDBPyConnection, run_id: str) -> str:
    """The name of the run's selection that was the default last; `paper` if it has none."""
    found = connection.execute(
        """
        SELECT name
        FROM selections
        WHERE run_id = $run_id
        ORDER BY asked_at DESC NULLS LAST, created_at DESC, selection_id
        LIMIT 1
        """,
        {"run_id": run_id},
    ).fetchone()
    return "paper" if found is None else str(found[0])


def _nulls(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[str]:
    """Ids of the runs that measure this one's facts with shuffled objects."""
    rows = connection.execute(
        """
        SELECT run_id
        FROM runs
        WHERE null_of = $run_id
        ORDER BY run_id
        """,
        {"run_id": run_id},
    ).fetchall()
    return [str(null) for (null,) in rows]


def _readme(
    run: RunSummary,
    selection: str,
    nulls: Sequence[str],
    tables: Sequence[ExportedTable],
    columns: Sequence[_Column],
) -> str:
    settings = {
        "method": run.method,
        "rule": run.rule,
        "points": run.points,
        "tolerance": run.tolerance,
        "dtype": run.dtype,
        "score floor": run.score_floor,
        "dataset": f"{run.dataset} ({run.dataset_digest})",
        "status": run.status,
        "neurons attributed at": "the answer"
        if run.position == "answer"
        else "the subject's last token",
        "prompts measured": f"{run.measured:,}",
        "facts known": f"{run.known_facts:,} of {run.measured_facts:,} (the object is the top "
        "answer in at least half of the measured prompts)"
        if run.measured_facts
        else None,
        "null of": f"run {run.null_of}: its facts with shuffled objects, none of them true"
        if run.null_of is not None
        else None,
        "null": f"run {', '.join(nulls)}, the same facts with shuffled objects; exported by itself"
        if nulls
        else None,
        "atlas version": run.atlas_version,
    }
    lines = [
        f"# Run {run.run_id} of {run.model}",
        "",
        "Exported from a knowledge-neuron atlas: the run's rows and what they refer to, one",
        "Parquet file a table. A neuron is a layer and an index, both counted from 0.",
        "",
        *(f"- {name}: {value}" for name, value in settings.items() if value is not None),
        "",
        "Any Parquet reader will do. Rows of every selection lie side by side: name one. For",
        "instance, with DuckDB:",
        "",
        "    SELECT layer, neuron, count(*) AS facts",
        "    FROM 'knowledge_neurons.parquet'",
        "    JOIN 'selections.parquet' USING (selection_id)",
        f"    WHERE name = '{selection}'",
        "    GROUP BY layer, neuron",
        "    ORDER BY facts DESC",
        "    LIMIT 10",
        "",
        "## Tables",
    ]
    for table in tables:
        own = [column for column in columns if column.table == table.table]
        said = any(column.comment for column in own)
        rows = counted(table.rows, "row")
        lines += ["", f"### {table.table} ({rows})", ""]
        lines += ["| column | type |" + (" meaning |" if said else "")]
        lines += ["|---|---|" + ("---|" if said else "")]
        lines += [
            f"| {column.name} | {column.type} |" + (f" {_cell(column.comment)} |" if said else "")
            for column in own
        ]
    return "\n".join([*lines, ""])
