"""How the answer of `atlas specificity` looks."""

from collections.abc import Sequence

from atlas.counted import counted
from atlas.selection.chosen import ChosenSelection
from atlas.specificity.report import GroupEffect, LayerLabels, SpecificityReport

from .query.scope import which
from .render import Format, emit, emit_json, note
from .tables import draw_line, draw_table

_GROUPS = {
    "own": "own prompts",
    "same_relation_and_object": "same relation and object",
    "same_relation": "same relation, other object",
    "same_object": "other relation, same object",
    "same_subject": "same subject, other relation",
    "unrelated": "unrelated",
}
_SHORT = {
    "own": "own",
    "same_relation_and_object": "same both",
    "same_relation": "relation",
    "same_object": "object",
    "same_subject": "subject",
    "unrelated": "unrelated",
}
_CONTROLS = ("random", "matched", "strongest", "commonest")
_COLUMNS = ("prompts of", "facts", "prompts", "ΔP", "95 %", "Δ log P", "right → wrong", "of own")
_NOBODY = "none"


def show(report: SpecificityReport, selection: ChosenSelection, format_: Format) -> None:
    """The tables, JSON or CSV, and what is to be said of them."""
    if format_ == "json":
        emit_json(report)
    elif format_ == "csv":
        emit(report.effects, "csv", kind=GroupEffect)
    else:
        _over_all(report, selection)
        draw_line()
        _against_controls(report)
        draw_line()
        _by_relation(report)
        if report.labels:
            draw_line()
            _labels(report.labels)
    if report.empty:
        groups = "; ".join(_GROUPS[group] for group in report.empty)
        note(f"No known fact stands for: {groups}.")
    if report.without_half:
        note(
            f"{counted(report.without_half, 'fact')} not measured: no half of the templates chose "
            "neurons that the other half has a right prompt for."
        )


def _over_all(report: SpecificityReport, selection: ChosenSelection) -> None:
    of = {(e.neurons, e.partners): e for e in report.effects if e.relation_id is None}
    neurons = "" if report.neurons is None else f", {report.neurons:.1f} neurons at a time"
    draw_table(
        [*_COLUMNS, *_CONTROLS],
        [
            [
                _GROUPS[group],
                of["own", group].facts or _NOBODY,
                of["own", group].prompts or _NOBODY,
                _percent(of["own", group].relative_dp),
                _interval(of["own", group].relative_dp_low, of["own", group].relative_dp_high),
                of["own", group].delta_log_p,
                _flips(of["own", group]),
                _percent(of["own", group].of_own, sign=""),
                *(_percent(of[control, group].relative_dp) for control in _CONTROLS),
            ]
            for group in _GROUPS
        ],
        f"Neurons of {counted(report.facts, 'known fact')} suppressed at the "
        f"{'answer position' if report.position == 'answer' else 'end of the subject'}"
        f"{neurons} ({which(selection)} of {selection.model})",
        grouped=True,
    )


def _against_controls(report: SpecificityReport) -> None:
    rows = [d for d in report.against_controls if d.relation_id is None and d.partners == "own"]
    draw_table(
        ["control", "facts", "own minus control", "95 %"],
        [
            [
                row.control,
                row.facts or _NOBODY,
                _percent(row.relative_dp),
                _interval(row.relative_dp_low, row.relative_dp_high),
            ]
            for row in rows
        ],
        "ΔP on own prompts, own neurons against as many others "
        f"({counted(report.controls, 'random draw')})",
        grouped=True,
    )


def _by_relation(report: SpecificityReport) -> None:
    names = {e.relation_id: e.relation for e in report.effects if e.relation_id is not None}
    of = {(e.relation_id, e.partners): e for e in report.effects if e.neurons == "own"}
    draw_table(
        ["relation", "facts", *_SHORT.values()],
        [
            [
                f"{name} ({relation_id})",
                of[relation_id, "own"].facts,
                *(_percent(of[relation_id, group].relative_dp) for group in _SHORT),
            ]
            for relation_id, name in names.items()
        ],
        "ΔP by relation and whose prompts",
        grouped=True,
    )


def _labels(labels: Sequence[LayerLabels]) -> None:
    names = ("fact", "subject", "answer", "relation", "unclear", "no_partner")
    draw_table(
        ["layer", "neurons", *(name.replace("_", " ") for name in names)],
        [
            [row.layer, row.neurons, *(_percent(getattr(row, name), sign="") for name in names)]
            for row in labels
        ],
        "What single neurons are neurons of (no partner: unclear for want of one)",
        grouped=True,
    )


def _percent(share: float | None, sign: str = "+") -> str:
    return _NOBODY if share is None else f"{100 * share:{sign}.1f} %"


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{100 * low:+.1f} … {100 * high:+.1f}"


def _flips(effect: GroupEffect) -> str:
    return f"{effect.right_to_wrong} of {effect.right_before}" if effect.prompts else _NOBODY
