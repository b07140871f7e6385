"""`atlas edit check`: what edits did to other facts, with a progress bar and limits for scripts."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas.edits.in_force import RunModel, edits_in_force, run_model
from atlas.side_effects.implied_facts import implied_facts
from atlas.side_effects.limits import Limits, parse_limits
from atlas.side_effects.report import side_effect_report
from atlas.side_effects.scopes import Scope, checked_by, parse_scope
from atlas.store.atlas_file import Atlas, open_atlas

from ..render import db_option, format_option, note
from .check_tables import CheckedEdit, show_checks
from .model import edits_argument, load, model_options
from .progress import show_check_progress

if TYPE_CHECKING:
    from atlas.models.language_model import LanguageModel

OVER_THE_LIMIT = 3  # exit code


@dataclass(frozen=True)
class _Task:
    atlas: Atlas
    model: RunModel
    scope: Scope


@click.command(
    epilog="""\b
Examples:
  atlas edit check 1
  atlas edit check 1 3 --scope all
  atlas edit check 1 --scope sample:500 --format json
  atlas edit check 1 --fail-over flips=3,ppl=5%

Scopes: own (the fact's own prompts), neighbours (facts of which an edited
neuron is a knowledge neuron), relation, others (other relations), all, or
sample:N prompts. All but a sample include the own prompts. The report covers
everything that was checked so far; what was measured is not measured again.

Limits hold for prompts that are not the edit's own: flips (top answers that
changed), broken (of those, right to wrong), ppl (rise of the perplexity).
Exit code 3: a limit is exceeded."""
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
    format_: str,
    db: Path,
) -> None:
    """Measure what edits did to the facts of the index."""
    limits = Limits() if fail_over is None else parse_limits(fail_over)
    chosen, atlas = parse_scope(scope, seed), open_atlas(db)
    with atlas.reading() as con:
        found = edits_in_force(con, edits)
        for edit in edits:
            checked_by(con, edit)  # refused before the model is loaded
        task = _Task(atlas, run_model(con, found[0].model_id), chosen)
    lm = load(task.model, model, device)
    try:
        checked = [_check(task, lm, edit, worst) for edit in edits]
    except KeyboardInterrupt as e:
        raise KeyboardInterrupt(
            f"Interrupted: what was measured is in {db}; the same command continues."
        ) from e
    show_checks(checked, show, format_)
    over = [(c.report.edit_id, what) for c in checked for what in limits.exceeded(c.report)]
    for edit, what in over:
        note(f"Edit {edit} is over the limit: {what}.")
    if over:
        ctx.exit(OVER_THE_LIMIT)


def _check(task: _Task, lm: "LanguageModel", edit_id: int, worst: int) -> CheckedEdit:
    from atlas.side_effects.check import check
    from atlas.side_effects.implied import implied_effects

    # closing: if Ctrl-C comes while we draw, the check commits what it has
    with contextlib.closing(check(task.atlas, lm, edit_id, task.scope)) as events:
        show_check_progress(events)
    with task.atlas.reading() as con:
        (edit,) = edits_in_force(con, [edit_id])
        report = side_effect_report(con, checked_by(con, edit_id), worst)
        implied = implied_facts(con, edit_id)
    return CheckedEdit(report, implied_effects(lm, edit, implied))
