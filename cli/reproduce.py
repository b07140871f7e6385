"""`atlas reproduce`: published claims on trial."""

from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.evidence.experiments.table import EXPERIMENTS

from .edit.model import model_options
from .render import Format, db_option, format_option, note, quiet, resumable, selection_options
from .reproduce_tables import show

LISTED = "\n".join(f"  {name:<18}{listed.title}" for name, listed in EXPERIMENTS.items())


@click.command(
    epilog=f"""\b
Examples:
  atlas reproduce
  atlas reproduce suppress --limit 20
  atlas reproduce --report trial.html
  atlas reproduce --format json

\b
Experiments:
{LISTED}

Each experiment prints published figures beside what was measured here, with a
control and 95 % bootstrap intervals, and the same of neurons of false objects
where the run has a null (`atlas index --null`). A claim holds if the whole interval of the
difference to the control lies on its side, and does not if it lies on the other;
else it is undecided. Without names all experiments are carried out for which
there is what they need.

What is measured is stored; the same command again shows it, or goes on where
it was stopped. Rows are in the tables experiment_rows and experiment_claims.
CSV has one row per claim.
"""
)
@click.argument("experiments", nargs=-1, metavar="[EXPERIMENT]...")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Known facts per relation that the model is asked about.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of draws, partners and intervals."
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write a page of HTML, with tables, figures, and the rows as CSV beside it.",
)
@click.option("--force", is_flag=True, help="Replace an earlier report.")
@selection_options
@model_options
@format_option
@db_option
def reproduce(
    experiments: tuple[str, ...],
    limit: int,
    seed: int,
    report: Path | None,
    force: bool,
    selection: str | None,
    run: str | None,
    model: str | None,
    device: str,
    format_: Format,
    db: Path,
) -> None:
    """Put claims of the paper and its critics on trial, on this model."""
    with resumable(db):
        found = open_atlas(db).reproduce(
            *experiments,
            seed=seed,
            limit=limit,
            report=report,
            force=force,
            lm=model,
            device=device,
            selection=selection,
            run=run,
            progress=not quiet(),
        )
    show(found, format_)
    if report is not None:
        note(f"Report: {report}")
