"""`atlas edit export`, `import`: edits as files that leave the atlas and come back."""

from pathlib import Path

import click

from atlas.edits.edit import Edit
from atlas.edits.in_force import (
    edits_in_force,
    interfering_edits,
    require_models,
    run_model,
)
from atlas.edits.stored import edit_summaries, read_edits, record_edit
from atlas.errors import EditError
from atlas.store.atlas_file import open_atlas

from ..render import db_option, note
from .ask import note_conflicts
from .model import edits_argument, load, model_options, show_working
from .tables import about


@click.command(
    epilog="""\b
Examples:
  atlas edit export 1 3 --to edited-model
  atlas edit export 1 3 --delta edits.safetensors

A model directory has the edits in its weights and loads with transformers'
from_pretrained. A delta file has the changes alone: `atlas edit import` reads
it into an atlas of the same model."""
)
@edits_argument
@click.option(
    "--to", "directory", metavar="DIR", type=click.Path(path_type=Path), help="A model directory."
)
@click.option(
    "--delta",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file with the changes alone, .safetensors.",
)
@click.option("--force", is_flag=True, help="Replace what is there.")
@model_options
@db_option
def export(
    edits: tuple[int, ...],
    directory: Path | None,
    delta: Path | None,
    force: bool,
    model: str | None,
    device: str,
    db: Path,
) -> None:
    """Write edits as a model directory or as a delta file."""
    if (directory is None) == (delta is None):
        raise click.UsageError("Say where to with either --to DIR or --delta FILE.")
    with open_atlas(db).reading() as con:
        found = edits_in_force(con, edits)
        interference = interfering_edits(con, found) if directory is not None else []
        wanted = run_model(con, found[0].model_id) if directory is not None else None
    if delta is not None:
        _write_delta(delta, found, force)
    if directory is not None and wanted is not None:
        if directory.exists() and not force:
            raise EditError(
                f"{directory} exists: name another directory, or have it replaced",
                parameters=["directory", "force"],
            )
        lm = load(wanted, model, device)
        note_conflicts(found, interference)
        with show_working(f"Writing {directory}"):
            from atlas.edits.model_export import export_model

            export_model(lm, found, directory, force=force)
        note(f"{_count(found)} in {directory}: a model that loads with from_pretrained.")


@click.command(
    name="import",
    epilog="""\b
Examples:
  atlas edit import edits.safetensors
  atlas edit import edits.safetensors --db other.duckdb

Edits get new numbers; one that the atlas holds already keeps its own.""",
)
@click.argument("file", type=click.Path(path_type=Path))
@db_option
def import_(file: Path, db: Path) -> None:
    """Read edits from a delta file."""
    from atlas.edits.delta_files import read_delta

    atlas = open_atlas(db)
    edits = read_delta(file)
    with atlas.writing() as con:
        require_models(con, edits)
        before = {edit.edit_id for edit in edit_summaries(con)}
        numbers = [record_edit(con, edit) for edit in edits]
        stored = read_edits(con, numbers)
    for edit in stored:
        known = " (was there already)" if edit.edit_id in before else ""
        note(f"Edit {edit.edit_id}: {edit.kind} by {edit.method}, {about(edit)}{known}")


def _write_delta(delta: Path, edits: list[Edit], force: bool) -> None:
    from atlas.edits.delta_files import write_delta

    write_delta(delta, edits, force=force)
    note(f"{_count(edits)} in {delta}; `atlas edit import {delta}` reads it into another atlas.")


def _count(edits: list[Edit]) -> str:
    return f"{len(edits)} edit{'' if len(edits) == 1 else 's'}"
