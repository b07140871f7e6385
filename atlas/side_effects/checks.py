"""Checks of several edits, one after the other, with the limits that a script sets."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from atlas.distributed.workers import Workers
from atlas.edits.in_force import edits_in_force
from atlas.given_up import NotMeasured
from atlas.models.language_model import LanguageModel
from atlas.progress import Reporter
from atlas.reporting import reported
from atlas.selection.chosen import OfSelection, find_selection
from atlas.side_effects.check import check_prompts
from atlas.side_effects.foretold import Foretold, foretold
from atlas.side_effects.implied import implied_effects
from atlas.side_effects.implied_facts import ImpliedEffect, implied_facts
from atlas.side_effects.limits import Limits
from atlas.side_effects.report import GroupEffect, SideEffectReport, side_effect_report
from atlas.side_effects.scopes import Scope, checked_by, checked_scope
from atlas.store.atlas_file import AtlasFile


@dataclass(frozen=True)
class CheckedEdit:
    """What a check of one edit found in its scope, also what earlier checks measured of that.

    widened_because: why the scope is `all` and not the one asked for, in words; None where it is.
    held: the groups over all that is stored of the edit, where earlier checks looked also outside
        this scope; else empty. No limit is held against these.
    exceeded: a phrase for every limit that the edit is over in this scope.
    given_up: prompts of the scope that are not measured, for they took their workers with them.
    """

    scope: str  # that was looked at
    widened_because: str | None
    report: SideEffectReport
    held: tuple[GroupEffect, ...]
    implied: Sequence[ImpliedEffect]
    foretold: Foretold | None = None  # None: the atlas has no activations of the edit's layers
    exceeded: tuple[str, ...] = ()
    given_up: tuple[NotMeasured, ...] = ()


@dataclass(frozen=True)
class ChecksReport(OfSelection, rows="checks"):
    """What checks of edits found, in the order in which they were named.

    `selection` is the one that says which facts are neighbours, if it is the same for all edits.
    """

    checks: tuple[CheckedEdit, ...]
    model: str


def check_edits(
    atlas: AtlasFile,
    lm: LanguageModel,
    edits: Sequence[int],
    scope: Scope,
    limits: Limits | None,
    worst: int,
    report: Reporter,
    workers: Workers | None = None,
) -> ChecksReport:
    """Check each edit; what is measured is stored, also when the work is interrupted."""
    checks = tuple(
        _checked(atlas, lm, edit, scope, limits, worst, report, workers) for edit in edits
    )
    ids = {checked.report.selection_id for checked in checks}
    with atlas.reading() as connection:
        selection = find_selection(connection, ids.pop()) if len(ids) == 1 else None
    return ChecksReport(checks, lm.name, selection=selection)


def _checked(
    atlas: AtlasFile,
    lm: LanguageModel,
    edit_id: int,
    scope: Scope,
    limits: Limits | None,
    worst: int,
    report: Reporter,
    workers: Workers | None,
) -> CheckedEdit:
    with atlas.reading() as connection:
        (edit,) = edits_in_force(connection, [edit_id])
        by = checked_by(connection, edit_id)
        looked_at = checked_scope(connection, by, scope)
    # closing: if Ctrl-C comes while somebody draws, the check commits what it has
    work = check_prompts(atlas, lm, edit, looked_at.prompts, workers)
    with contextlib.closing(work) as events:
        last = reported(events, report)
    prompts = [prompt.prompt_id for prompt in looked_at.prompts]
    with atlas.reading() as connection:
        found = side_effect_report(connection, by, worst, prompts)
        everything = side_effect_report(connection, by, 0)
        predictions = foretold(connection, edit, by, prompts)
        implied = implied_facts(connection, edit_id)
    return CheckedEdit(
        scope=looked_at.scope.name,
        widened_because=looked_at.widened_because,
        report=found,
        held=everything.groups if everything.prompts > found.prompts else (),
        implied=implied_effects(lm, edit, implied),
        foretold=predictions,
        exceeded=() if limits is None else tuple(limits.exceeded(found.group("all but own"))),
        given_up=() if last is None else last.given_up,
    )
