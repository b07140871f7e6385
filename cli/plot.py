"""`atlas plot`: figures of a selection."""

from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.export.plots import DRAWINGS, plot
from atlas.selection.chosen import choose_selection, labelled

from .render import db_option, note


@click.command(
    name="plot",
    epilog="""\b
Examples:
  atlas plot layers --to layers.svg
  atlas plot overlap --to overlap.pdf
  atlas plot hubs --to hubs.png
  atlas plot effects --edit 1 --to effects.svg

\b
layers   in which layers facts are expressed, and by how many neurons
overlap  knowledge neurons that facts share, by pair of relations
hubs     neurons by the facts they serve and how these spread over relations
effects  measured change of log P against predicted interference, of what
         `atlas edit check` and `atlas query --interference --measure` stored""",
)
@click.argument("what", metavar="WHAT", type=click.Choice(list(DRAWINGS)))
@click.option(
    "--to",
    "file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="An .svg, .png or .pdf file; one of that name is replaced.",
)
@click.option("--edit", type=int, metavar="ID", help="With effects: of this edit alone.")
@click.option("--selection", metavar="NAME", help="The selection to draw: name or id.")
@click.option("--run", metavar="ID", help="Draw this run's selection.")
@db_option
def plot_(
    what: str, file: Path, edit: int | None, selection: str | None, run: str | None, db: Path
) -> None:
    """Draw layers, overlap, hubs or effects."""
    if edit is not None and what != "effects":
        raise click.UsageError("--edit goes with effects.")
    with open_atlas(db).reading() as con:
        chosen = choose_selection(con, selection, run)
        drawn = plot(con, chosen, what, file, edit_id=edit)
    note(f"Drew {drawn.what} of selection {labelled(chosen)} into {drawn.file}.")
