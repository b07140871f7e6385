"""`atlas specificity`: what a fact's knowledge neurons are neurons of."""

from pathlib import Path

import click

from atlas.atlas import open_atlas

from .edit.model import model_options
from .query.scope import Scope
from .render import Format, db_option, format_option, quiet, resumable, selection_options
from .specificity_tables import show


@click.command(
    epilog="""\b
Examples:
  atlas specificity --limit 5
  atlas specificity --relation P36 --controls 20
  atlas specificity --format csv

Suppresses each known fact's knowledge neurons, chosen by one half of its
templates, on its own prompts of the other half and on prompts of other known
facts: of the same relation, answer, subject, or none of these. As many other
neurons, the controls, are suppressed likewise. Intervals are 95 % bootstrap
intervals over facts. Then each neuron is suppressed alone and labelled:
`atlas query --fact` shows the labels.

What is measured is stored; the same command again shows it, or goes on where
it was stopped. CSV has one row per relation, neurons and group, JSON everything.
"""
)
@click.option(
    "--relation",
    "relations",
    multiple=True,
    help="Id or label; may be given again.  [default: all]",
)
@click.option(
    "--controls", type=click.IntRange(min=1), default=10, show_default=True, help="Random draws."
)
@click.option("--limit", type=click.IntRange(min=1), help="Facts per relation.  [default: all]")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of partners, draws and intervals."
)
@selection_options
@model_options
@format_option
@db_option
def specificity(
    relations: tuple[str, ...],
    controls: int,
    limit: int | None,
    seed: int,
    selection: str | None,
    run: str | None,
    model: str | None,
    device: str,
    format_: Format,
    db: Path,
) -> None:
    """Measure whether facts' neurons are the facts' own, or their answers' or relations'."""
    with resumable(db):
        report = open_atlas(db).specificity(
            relations=relations,
            controls=controls,
            limit=limit,
            seed=seed,
            lm=model,
            device=device,
            selection=selection,
            run=run,
            progress=not quiet(),
        )
    show(report, Scope(db, selection, run, format_, None).told(report), format_)
