"""`atlas edit export`, `import`: edits as files that leave the atlas and come back."""

from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.counted import counted

from ..render import db_option, note, quiet
from .ask import note_conflicts
from .model import edits_argument, model_options

_BEFORE = {
    "new": "",
    "stored": " (was there already)",
    "reverted": " (was there, reverted; it is back in force)",
}


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
    found = open_atlas(db).edit_export(
        *edits,
        to=directory,
        delta=delta,
        force=force,
        lm=model,
        device=device,
        progress=not quiet(),
    )
    note_conflicts(found)
    count = counted(len(edits), "edit")
    if delta is not None:
        back = f"`atlas edit import {found.path}`"
        note(f"{count} in {found.path}; {back} reads it into another atlas.")
    else:
        note(f"{count} in {found.path}: a model that loads with from_pretrained.")


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
    for edit in open_atlas(db).edit_import(file).rows:
        known = _BEFORE[edit.before]
        note(f"Edit {edit.edit_id}: {edit.kind} by {edit.method}, {edit.about}{known}")
