"""`atlas edit train`: the network that edits by method hypernetwork need."""

from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.counted import counted
from atlas.edits.network.report import NetworkPart, TrainedNetwork
from atlas.edits.network.settings import TrainingSettings
from atlas.selection.chosen import labelled

from ..render import (
    Format,
    db_option,
    emit,
    emit_json,
    format_option,
    note,
    note_next,
    quiet,
)
from .model import model_options


@click.command(
    epilog="""\b
Examples:
  atlas edit train
  atlas edit train --edits 500 --steps 200 --seed 1

A small network learns to tell how far an edit must go: from the fact's
hidden state and from what raises the old and the new object, over edits
sampled from the atlas's facts. It is written beside the atlas, as
NAME.hypernetwork.safetensors, and is of this model alone.

A fifth of the facts and of the objects choose which network of the way is
kept, and another fifth is never seen: what it does there is in the table."""
)
@click.option(
    "--layer",
    "layers",
    type=click.IntRange(min=0),
    multiple=True,
    help="A layer to edit in; may be given several times.  [default: by model and position]",
)
@click.option(
    "--edits",
    type=click.IntRange(min=1),
    default=TrainingSettings.edits,
    show_default=True,
    help="How many sampled edits to learn from.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=TrainingSettings.steps,
    show_default=True,
    help="Of the training.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn.")
@click.option("--selection", metavar="NAME", help="Whose run to learn from: name or id.")
@model_options
@format_option
@db_option
def train(
    layers: tuple[int, ...],
    edits: int,
    steps: int,
    seed: int,
    selection: str | None,
    model: str | None,
    device: str,
    format_: Format,
    db: Path,
) -> None:
    """Train the network for edits by method hypernetwork."""
    made = open_atlas(db).edit_train(
        layers=layers,
        edits=edits,
        steps=steps,
        seed=seed,
        selection=selection,
        lm=model,
        device=device,
        progress=not quiet(),
    )
    if format_ == "json":
        emit_json(made)
        return
    _show(made, format_)
    note_next(db, "atlas edit update FACT --to OBJECT --method hypernetwork")


def _show(made: TrainedNetwork, format_: Format) -> None:
    emit(
        made.parts,
        "csv" if format_ == "csv" else "table",
        kind=NetworkPart,
        title=f"{made.file}: new object on top, by what the network has seen",
        headers={"success": "new on top", "held_out_success": "held-out prompts"},
    )
    note(
        f"Learnt from {counted(made.edits, 'edit')} in {counted(made.steps, 'step')} with seed "
        f"{made.seed}, of which step {made.kept_step} is kept; {made.seconds:.0f} s, "
        f"{made.cpu_seconds:.0f} s of them CPU time."
    )
    chosen = f", selection {labelled(made.selection)}" if made.selection is not None else ""
    note(
        f"For layer {', '.join(map(str, made.layers))} of {made.model} at the {made.position}, "
        f"run {made.run_id}{chosen}."
    )
