"""Checks of several edits, one after the other, with the limits that a script sets."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from atlas.answers import Answer
from atlas.edits.in_force import edits_in_force
from atlas.models.language_model import LanguageModel
from atlas.progress import Advance, Reporter
from atlas.side_effects.check import CheckProgress, check
from atlas.side_effects.implied import implied_effects
from atlas.side_effects.implied_facts import ImpliedEffect, implied_facts
from atlas.side_effects.limits import Limits
from atlas.side_effects.report import SideEffectReport, side_effect_report
from atlas.side_effects.scopes import Scope, checked_by
from atlas.store.atlas_file import AtlasFile


@dataclass(frozen=True)
class CheckedEdit:
    """What a check of one edit found; `exceeded` has a phrase for every limit that it is over."""

    report: SideEffectReport
    implied: Sequence[ImpliedEffect]
    exceeded: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChecksReport(Answer, rows="checks"):
    """What checks of edits found, in the order in which they were named."""

    checks: tuple[CheckedEdit, ...]


def check_edits(
    atlas: AtlasFile,
    lm: LanguageModel,
    edits: Sequence[int],
    scope: Scope,
    limits: Limits | None,
    worst: int,
    report: Reporter,
) -> ChecksReport:
    """Check each edit; what is measured is stored, also when the work is interrupted."""
    return ChecksReport(
        tuple(_checked(atlas, lm, edit, scope, limits, worst, report) for edit in edits)
    )


def _checked(
    atlas: AtlasFile,
    lm: LanguageModel,
    edit_id: int,
    scope: Scope,
    limits: Limits | None,
    worst: int,
    report: Reporter,
) -> CheckedEdit:
    # closing: if Ctrl-C comes while somebody draws, the check commits what it has
    with contextlib.closing(check(atlas, lm, edit_id, scope)) as events:
        for event in events:
            report(_advance(event))
    with atlas.reading() as connection:
        (edit,) = edits_in_force(connection, [edit_id])
        found = side_effect_report(connection, checked_by(connection, edit_id), worst)
        implied = implied_facts(connection, edit_id)
    exceeded = () if limits is None else tuple(limits.exceeded(found))
    return CheckedEdit(found, implied_effects(lm, edit, implied), exceeded)


def _advance(event: CheckProgress) -> Advance:
    return Advance(
        f"edit {event.edit_id}",
        event.done,
        event.total,
        event.computed,
        event.seconds,
        complete=event.done == event.total,
    )
