"""`atlas edit forecast`: who will suffer from an edit, before anything is run."""

from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.counted import counted
from atlas.selection.chosen import labelled
from atlas.side_effects.forecast import ForecastFact, ForecastReport

from ..query.scope import say_cut
from ..render import (
    Format,
    db_option,
    emit,
    emit_json,
    format_option,
    note,
    note_next,
    quiet,
    resumable,
)
from .model import model_options


@click.command(
    epilog="""\b
Examples:
  atlas edit forecast 1
  atlas edit forecast 1 --limit 0 --format csv

Per prompt, the length of the change that the edit makes to the residual
stream, for every nat by which the model's top answer leads, as its stored P
says: -ln(1 - P). A fact has the mean of its prompts, and the largest. Compare
facts within an edit; the edit's own prompts say how large it is where the
answer is meant to change. `atlas edit check` measures what came true.

The activations of the edit's layers are measured once, which needs the model;
later forecasts in these layers need stored numbers alone."""
)
@click.argument("edit", type=click.IntRange(min=1))
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Facts to show; 0 shows all.",
)
@model_options
@format_option
@db_option
def forecast(
    edit: int, limit: int, model: str | None, device: str, format_: Format, db: Path
) -> None:
    """Tell who will suffer from an edit, from stored numbers."""
    with resumable(db):
        found = open_atlas(db).forecast(
            edit, limit=limit, lm=model, device=device, progress=not quiet()
        )
    if format_ == "json":
        emit_json(found)
        return
    _show(found, format_)
    note_next(db, f"atlas edit check {edit} --scope all")


def _show(found: ForecastReport, format_: Format) -> None:
    if not found.facts:
        note(f"The atlas has no other fact that edit {found.edit_id} could touch.")
    emit(
        found.affected,
        "csv" if format_ == "csv" else "table",
        kind=ForecastFact,
        title=f"Edit {found.edit_id}, {found.about}: who is forecast to suffer, of "
        f"{counted(found.facts, 'other fact')}",
        hide=("fact_id", "relation"),
        headers={"relation_id": "relation"},
    )
    own = "unknown, no activations of them are stored"
    if found.own_forecast is not None:
        own = f"{found.own_forecast:.3g} over {counted(found.own_prompts, 'prompt')}"
    note(f"On the edit's own prompts the forecast is {own}.")
    of = f" (of {found.of_prompts:,})" if found.prompts < found.of_prompts else ""
    chosen = f", selection {labelled(found.selection)}" if found.selection is not None else ""
    note(
        f"From activations of {counted(found.prompts, 'prompt')}{of} in "
        f"{counted(len(found.layers), 'layer')} of {found.model}, run {found.run_id}{chosen}."
    )
    say_cut(len(found.affected), found.facts, "fact")
