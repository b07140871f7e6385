"""`atlas overlap`: how many knowledge neurons facts share."""

from pathlib import Path
from typing import Literal

import click

from atlas.queries.overlap import LayerOverlapReport

from .overlap_tables import show_groups, show_layers
from .query.scope import Scope
from .render import Format, db_option, format_option, selection_options

_SHOWN = 20


@click.command(
    epilog="""\b
Examples:
  atlas overlap
  atlas overlap --by layer
  atlas overlap --by object --limit 10
  atlas overlap --format csv

The figures are exact: over all pairs of facts with a measured prompt, from
the number of facts that each neuron serves, with nothing sampled. "within"
is over pairs of facts of the same relation (object, subject), "across" over
all other pairs. By layer, the parts of the layers add up to the whole.

The heatmap shows the relations whose own facts share most, or the objects or
subjects with most facts; its diagonal is what a group's own facts share. CSV
has one row per pair of groups (or layer), JSON everything."""
)
@click.option(
    "--by",
    type=click.Choice(["relation", "layer", "object", "subject"]),
    default="relation",
    show_default=True,
    help="How to group facts; by layer, facts are grouped by relation.",
)
@selection_options
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help="Groups to show at most; 0 for all. [default: 20, but all relations in JSON and CSV]",
)
@format_option
@db_option
def overlap(
    by: Literal["relation", "layer", "object", "subject"],
    selection: str | None,
    run: str | None,
    limit: int | None,
    format_: Format,
    db: Path,
) -> None:
    """How many knowledge neurons facts share, within relations and across them."""
    if limit is None:
        limit = _SHOWN if format_ == "table" or by in ("object", "subject") else 0
    scope = Scope(db, selection, run, format_, limit)
    report = scope.atlas.overlap(by=by, limit=scope.limit, **scope.of)
    if isinstance(report, LayerOverlapReport):
        show_layers(report, scope.told(report), format_)
    else:
        show_groups(report, scope.told(report), format_)
