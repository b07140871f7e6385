"""`atlas export`: parts of an atlas as files that other tools read."""

from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.export.run_export import ExportedTable

from .groups import SuggestingGroup
from .render import Format, db_option, emit, emit_json, format_option, note


@click.group(
    cls=SuggestingGroup,
    epilog="""\b
Example:
  atlas export run df65c4eee138 --to run-parquet""",
)
def export() -> None:
    """Write parts of an atlas as files that other tools read."""


@export.command(
    epilog="""\b
Examples:
  atlas export run df65c4eee138 --to run-parquet
  atlas export run df65 --to run-parquet --force --format json"""
)
@click.argument("run", metavar="RUN")
@click.option(
    "--to",
    "directory",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A new directory; it appears whole or not at all.",
)
@click.option("--force", is_flag=True, help="Replace an earlier export.")
@format_option
@db_option
def run(run: str, directory: Path, force: bool, format_: Format, db: Path) -> None:
    """Write a run as Parquet, one file a table, with a README and the schema.

    RUN is the run's id or an unambiguous beginning of it; `atlas info` lists the runs.
    """
    exported = open_atlas(db).export_run(directory, run=run, force=force)
    if format_ == "json":
        emit_json(exported)
    else:
        emit(exported.tables, format_, kind=ExportedTable, title=f"Run {exported.run_id}")
    note(f"Written to {exported.directory}.")
