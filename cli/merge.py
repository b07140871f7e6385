"""`atlas merge`: atlases and exported runs into one file, shards of a run joined."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas.counted import counted

from .info import shards_of
from .render import DEFAULT_DB, Format, emit, emit_json, format_option, note, note_next, quiet
from .selections import note_default

if TYPE_CHECKING:
    from atlas.merging.merge import Merged
    from atlas.queries.info import RunSummary


@click.command(
    epilog="""\b
Examples:
  atlas merge shard-*.duckdb --to atlas.duckdb
  atlas merge bert.duckdb smollm2.duckdb run-parquet/ --to both.duckdb

Sources are atlases, and directories that `atlas export run` wrote; they are only
read. Runs of one model, dataset and settings are joined, and knowledge neurons
selected anew where a run has grown; other runs are added beside. The file that is
merged into may be there: what it holds stays. Merging the same again changes
nothing, and a merge that is stopped leaves it as it was."""
)
@click.argument(
    "sources", metavar="SOURCE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--to",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT_DB,
    show_default=True,
    metavar="FILE",
    help="The atlas to merge into, new or old.",
)
@format_option
def merge(sources: tuple[Path, ...], target: Path, format_: Format) -> None:
    """Merge atlases, shards and exported runs into one atlas."""
    from atlas.merging.merge import merge as merge_atlases

    found = merge_atlases(sources, target, progress=not quiet())
    if format_ == "json":
        emit_json(found)
    else:
        emit(found.sources, format_, title=None if format_ == "csv" else f"Merged into {target}")
    note_runs(found, target)
    note_next(target, "atlas query --hubs", "atlas info")


def note_runs(found: "Merged", db: Path) -> None:
    """How far each run of the sources has come, and what questions are about."""
    for run in found.runs:
        note(f"Run {run.run_id} of {run.model} in {db}: {_said(run)}")
    if found.default is not None:
        note_default(found.default, db)


def _said(run: "RunSummary") -> str:
    parts = "" if run.shards is None else f", {shards_of(run)}"
    null = "" if run.null_of is None else f", the null of run {run.null_of}"
    return f"{counted(run.measured, 'prompt')} measured{null}, {run.status}{parts}."
