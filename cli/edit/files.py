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
  atlas edit export 1 3 --adapter edits-adapter
  atlas edit export 1 3 --delta edits.safetensors

A model directory has the edits in its weights and loads with transformers'
from_pretrained. An adapter leaves the weights as they are and loads beside
them, with peft's PeftModel.from_pretrained. A delta file has the changes
alone. `atlas edit import` reads adapter and delta file into an atlas of the
same model."""
)
@edits_argument
@click.option(
    "--to", "directory", metavar="DIR", type=click.Path(path_type=Path), help="A model directory."
)
@click.option(
    "--adapter",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="A directory with a PEFT LoRA adapter.",
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
    adapter: Path | None,
    delta: Path | None,
    force: bool,
    model: str | None,
    device: str,
    db: Path,
) -> None:
    """Write edits as a model directory, as a PEFT adapter or as a delta file.

    A delta file needs no model.
    """
    if [directory, adapter, delta].count(None) != 2:
        raise click.UsageError("Say where to with one of --to DIR, --adapter DIR and --delta FILE.")
    found = open_atlas(db).edit_export(
        *edits,
        to=directory,
        adapter=adapter,
        delta=delta,
        force=force,
        lm=model,
        device=device,
        progress=not quiet(),
    )
    note_conflicts(found)
    count = counted(len(edits), "edit")
    back = f"`atlas edit import {found.path}`"
    if delta is not None:
        note(f"{count} in {found.path}; {back} reads it into another atlas.")
    elif adapter is not None:
        note(
            f"{count} in {found.path}: an adapter that loads with PeftModel.from_pretrained; "
            f"{back} reads it back."
        )
    else:
        note(f"{count} in {found.path}: a model that loads with from_pretrained.")


@click.command(
    name="import",
    epilog="""\b
Examples:
  atlas edit import edits.safetensors
  atlas edit import edits-adapter
  atlas edit import edits.safetensors --db other.duckdb

Edits get new numbers; one that the atlas holds already keeps its own.""",
)
@click.argument("path", type=click.Path(path_type=Path))
@db_option
def import_(path: Path, db: Path) -> None:
    """Read edits from a delta file or from an adapter's directory."""
    for edit in open_atlas(db).edit_import(path).rows:
        known = _BEFORE[edit.before]
        note(f"Edit {edit.edit_id}: {edit.kind} by {edit.method}, {edit.about}{known}")
