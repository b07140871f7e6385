"""`atlas plot`: figures of a selection or an edit."""

from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.export.plots import DRAWINGS

from .render import db_option, note, selection_options

_WIDTH = 2 + max(map(len, DRAWINGS))
_ABOUT = "\n".join(f"  {name:<{_WIDTH}}{drawing.about}" for name, drawing in DRAWINGS.items())


def _takers(name: str) -> str:
    """The figures that are drawn of one `name`, for help."""
    return " and ".join(what for what, drawing in DRAWINGS.items() if name in drawing.takes)


@click.command(
    name="plot",
    epilog=f"""\b
Examples:
  atlas plot layers --to layers.svg
  atlas plot layers --relation P36 --to capitals.pdf --size column
  atlas plot overlap --to overlap.pdf --title "What relations share"
  atlas plot hubs --to hubs.png --size 90x60mm
  atlas plot effects --edit 1 --to effects.svg
  atlas plot fact --fact France:P36 --to france.svg
  atlas plot edit --edit 1 --to edit.svg > caption.txt

\b
{_ABOUT}

The caption goes to standard output, the figure's data into a CSV file beside
it. effects shows what `atlas edit check` and measured interference stored.""",
)
@click.argument("what", metavar="WHAT", type=click.Choice(list(DRAWINGS)))
@click.option(
    "--to",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An .svg, .png or .pdf file; it and the CSV beside it replace an earlier figure.",
)
@click.option("--edit", type=int, metavar="EDIT", help=f"Of {_takers('edit_id')}: this edit.")
@click.option(
    "--fact", metavar="FACT", help=f"Of {_takers('fact')}: by id, subject or SUBJECT:P36."
)
@click.option(
    "--relation",
    metavar="RELATION",
    help=f"Of {_takers('relation')}: its facts alone; id or label.",
)
@click.option("--title", metavar="TEXT", help="Written over the figure.")
@click.option(
    "--size",
    metavar="SIZE",
    help="column, page, or WxH in inches or mm, e.g. 90x60mm. [default: as the figure needs]",
)
@selection_options
@db_option
def plot_(
    what: str,
    file: Path,
    edit: int | None,
    fact: str | None,
    relation: str | None,
    title: str | None,
    size: str | None,
    selection: str | None,
    run: str | None,
    db: Path,
) -> None:
    """Draw a figure, with its data and a caption to paste."""
    drawn = open_atlas(db).plot(
        what,
        file,
        selection=selection,
        run=run,
        edit=edit,
        fact=fact,
        relation=relation,
        title=title,
        size=size,
    )
    click.echo(drawn.caption)
    of = "" if drawn.selection_id is None else f" of selection {drawn.selection_id}"
    note(f"Drew {drawn.what}{of} into {drawn.file}, its data into {drawn.data_file}.")
