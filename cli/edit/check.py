"""`atlas edit check`: what edits did to other facts, with a progress bar and limits for scripts."""

from pathlib import Path

import click

from atlas.atlas import open_atlas

from ..ray_options import note_given_up, ray_options
from ..render import Format, db_option, format_option, note, quiet, resumable
from .check_tables import show_checks
from .model import edits_argument, model_options

OVER_THE_LIMIT = 3  # exit code


@click.command(
    epilog="""\b
Examples:
  atlas edit check 1
  atlas edit check 1 3 --scope all
  atlas edit check 1 --scope sample:500 --format json
  atlas edit check 1 --fail-over flips=3,ppl=5%

Scopes: own (the fact's own prompts), neighbours (facts of which an edited
neuron is a knowledge neuron), relation, others (other relations), all, or
sample:N prompts. All but a sample include the own prompts. A scope that holds
no others is widened to all. The report and the limits are about this scope
alone; what was measured is not measured again.

Limits hold for prompts that are not the edit's own: flips (top answers that
changed), broken (of those, right to wrong), ppl (rise of the perplexity).
Exit code 3: a limit is exceeded, or nothing was there to judge it by.

Columns: broken (right to wrong), mended (wrong to right), flips (all top
answers that changed), ppl (perplexity before) and its rise."""
)
@edits_argument
@click.option(
    "--scope",
    default="neighbours",
    show_default=True,
    help="own, neighbours, relation, others, all or sample:N.",
)
@click.option("--seed", default=0, show_default=True, help="Which sample.")
@click.option(
    "--fail-over", metavar="LIMITS", help="Exit with 3 above these, e.g. flips=3,broken=0,ppl=5%."
)
@click.option(
    "--worst", type=click.IntRange(min=0), default=10, show_default=True, help="Facts to name."
)
@click.option(
    "--show",
    type=click.Choice(["groups", "worst", "implied"]),
    default="groups",
    show_default=True,
    help="With --format csv, which table; tables and JSON hold everything.",
)
@model_options
@ray_options
@format_option
@db_option
@click.pass_context
def check(
    ctx: click.Context,
    edits: tuple[int, ...],
    scope: str,
    seed: int,
    fail_over: str | None,
    worst: int,
    show: str,
    model: str | None,
    device: str,
    ray: str | None,
    workers: int | None,
    gpus_per_worker: float | None,
    format_: Format,
    db: Path,
) -> None:
    """Measure what edits did to the facts of the index."""
    with resumable(db):
        found = open_atlas(db).check(
            *edits,
            scope=scope,
            seed=seed,
            fail_over=fail_over,
            worst=worst,
            lm=model,
            device=device,
            ray=ray,
            workers=workers,
            gpus_per_worker=gpus_per_worker,
            progress=not quiet(),
        )
    show_checks(found, show, format_)
    over = [(c.report.edit_id, what) for c in found.checks for what in c.exceeded]
    for edit, what in over:
        note(f"Edit {edit} is over the limit: {what}.")
    if over:
        ctx.exit(OVER_THE_LIMIT)
    note_given_up([lost for checked in found.checks for lost in checked.given_up])
