"""How the answer of `atlas reproduce` looks."""

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from atlas.counted import counted
from atlas.errors import NotFound
from atlas.evidence.experiments.stored import PublishedClaim

from .errors import error_line
from .render import Format, emit, emit_json, note
from .tables import draw_line, draw_table

if TYPE_CHECKING:
    from atlas.evidence.reproduce import ReproduceReport

_COLUMNS = ("claim", "published", "ours", "95 %", "n", "control", "null", "verdict")
_NONE = "–"


def show(report: "ReproduceReport", format_: Format) -> None:
    """The claims as tables, one an experiment, JSON or CSV, and what was not measured."""
    if format_ == "json":
        emit_json(report)
    elif format_ == "csv":
        emit(report.claims, "csv", kind=PublishedClaim)
    else:
        _tables(report)
    for one in report.experiments:
        if one.not_measured is not None:
            line = error_line(NotFound(one.not_measured, parameters=one.parameters))
            note(f"{one.experiment}: not measured, for {line}")


def _tables(report: "ReproduceReport") -> None:
    titles = {one.experiment: one for one in report.experiments}
    for name, claims in groupby(report.claims, key=lambda claim: claim.experiment):
        about = titles[name]
        draw_table(
            _COLUMNS,
            [_cells(claim) for claim in claims],
            f"{about.title} ({name}, {about.seconds:.0f} s)",
            grouped=True,
            drop=("n", "95 %"),
        )
        draw_line()
    verdicts = Counter(claim.verdict for claim in report.claims)
    said = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    note(f"{counted(len(report.claims), 'claim')}: {said}.")
    _note_null(report)


def _note_null(report: "ReproduceReport") -> None:
    if all(one.null_items is None for one in report.experiments):
        note("No null beside them: `atlas index --null` measures neurons of false objects.")
        return
    as_false = [
        f"{claim.experiment}/{claim.claim}"
        for claim in report.claims
        if claim.verdict == "holds" and claim.null_verdict in ("undecided", "does not hold")
    ]
    if as_false:
        note(f"Holds no more than it does of false objects (null): {'; '.join(as_false)}.")


def _cells(claim: PublishedClaim) -> list[str]:
    return [
        claim.claim,
        _said(claim.published, claim.published_control),
        _number(claim.ours),
        _interval(claim.ours_low, claim.ours_high),
        f"{claim.n:,}",
        _number(claim.control),
        _number(claim.null_ours),
        claim.verdict,
    ]


def _said(published: float | None, control: float | None) -> str:
    beside = "" if control is None else f" ({_number(control)})"
    return f"{_number(published)}{beside}"


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3g}"


def _interval(low: float | None, high: float | None) -> str:
    return _NONE if low is None or high is None else f"{low:.3g} to {high:.3g}"
