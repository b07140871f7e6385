"""How edits look: what they change, what they were made with, what they came to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.counted import counted
from atlas.edits.diff import Difference, EditDiff, NeuronDifference
from atlas.edits.edit import about
from atlas.edits.report import (
    EditedNeuron,
    EditReport,
    FactOutcome,
    MadeEdits,
    OutcomeSummary,
    PromptOutcome,
)
from atlas.selection.chosen import labelled

from ..render import Format, OfRows, emit, emit_json, note, note_next
from ..tables import draw_line, draw_pairs, draw_table

_MANY = 5  # neurons that a line names
_SHORT = 8  # letters of an object that a column's name has room for
_FAINT = 0.1  # mean P of a new object that is on top nevertheless
_SHOWN = 4  # of the values of a long setting


def show_made(report: EditReport, format_: Format, db: Path) -> None:
    """An edit that was just made, and what to do next."""
    if format_ == "json":
        emit_json(report)
    elif format_ == "csv":
        emit(report.outcomes, "csv", kind=PromptOutcome)
    else:
        draw_line(_title(report), bold=True)
        if report.hardly_changed is not None:
            draw_line(f"  Hardly anything changed: {report.hardly_changed}.", bold=True)
        _draw_kept(report)
        draw_line(
            f"  {counted(len(report.neurons), 'value vector')} of {report.model} changed: "
            f"{_neurons(report)}"
        )
        if report.chosen_anew is not None:
            draw_line(f"  {report.chosen_anew}")
        draw_line(f"  strength (norm of all changes) {report.norm:.3g}, {report.seconds:.1f} s")
        if report.selection is not None:
            draw_line(f"  selection {labelled(report.selection)}, run {report.run_id}")
        _draw_summary(report)
        if report.facts:
            draw_line()
            _draw_facts(report)
    if report.before == "stored":
        note(f"The atlas held this edit already, as edit {report.edit_id}.")
    elif report.before == "reverted":
        note(f"Edit {report.edit_id} was reverted and is back in force: it is the same edit.")
    if because := report.settings.get("widened_because"):
        note(f"Note: {because}. `--common 1` allows common ones, `--neurons N` takes N strongest.")
    _note_on_success(report)
    note_next(db, f"atlas edit check {report.edit_id}", f"atlas edit apply {report.edit_id}")


def show_made_together(made: MadeEdits, format_: Format, db: Path) -> None:
    """Edits that were just made together: one of several facts, or one each."""
    if len(made.edits) == 1:
        show_made(made.edits[0], format_, db)
    elif format_ == "json":
        emit_json(made)
    elif format_ == "csv":
        emit([_made_row(report) for report in made.edits], "csv", kind=_MadeRow)
    else:
        emit(
            [_made_row(report) for report in made.edits],
            "table",
            kind=_MadeRow,
            title=f"{counted(len(made.edits), 'edit')}, solved together in {made.seconds:.1f} s",
            headers={"on_top": "success", "held_out": "held out"},
        )
        first, last = made.edits[0].edit_id, made.edits[-1].edit_id
        note_next(db, "atlas edit list", f"atlas edit apply {first} … {last}")


@dataclass(frozen=True)
class _MadeRow:
    edit: int
    fact: str
    on_top: float | None
    held_out: float | None
    norm: float


def _made_row(report: EditReport) -> _MadeRow:
    shares: dict[bool, float] = {
        part.held_out: part.new_on_top_after / part.prompts
        for part in report.summary
        if part.new_on_top_after is not None
    }
    what = about(report.subject, report.relation_id, report.old_object, report.new_object)
    return _MadeRow(report.edit_id, what, shares.get(False), shares.get(True), report.norm)


def show_edit(report: EditReport, show: str | None, format_: Format) -> None:
    """An edit in full, or one part of it."""
    if format_ == "json":
        emit_json(report)
    elif format_ == "csv":
        _emit_part(report, show or "neurons", "csv")
    elif show is not None:
        _emit_part(report, show, "table")
    else:
        draw_pairs(
            {
                "state": report.state,
                "effect": report.hardly_changed and f"hardly any: {report.hardly_changed}",
                "told to keep": _kept(report),
                "neurons": report.chosen_anew,
                "model": f"{report.model} ({report.model_id})",
                "selection": labelled(report.selection)
                if report.selection is not None
                else report.selection_id,
                "run": report.run_id or "none: it came from a file",
                "made": report.created_at,
                "took": f"{report.seconds:.1f} s, atlas {report.atlas_version}",
                "strength": f"{report.norm:.3g} (norm of all changes)",
                "settings": _settings(report.settings),
                "checked": counted(report.checked_prompts, "prompt"),
            },
            title=_title(report),
        )
        draw_line()
        _draw_facts(report)
        _emit_part(report, "neurons", "table")
        if report.outcomes:
            draw_line()
            _draw_summary(report)
            draw_line()
            _emit_part(report, "prompts", "table")


def show_diff(diff: EditDiff, format_: Format) -> None:
    """Two edits side by side."""
    if format_ == "json":
        emit_json(diff)
        return
    first, second = f"edit {diff.first}", f"edit {diff.second}"
    if format_ == "table":
        if diff.differences:
            emit(
                diff.differences,
                "table",
                kind=Difference,
                headers={"first": first, "second": second, "name": ""},
            )
        else:
            draw_line("The same properties and settings.")
        draw_line()
    emit(
        diff.neurons,
        format_,
        kind=NeuronDifference,
        title=f"Changes: {counted(len(diff.neurons), 'value vector')}, {diff.shared_neurons} in "
        f"both; norm {diff.norm_first:.3g} and {diff.norm_second:.3g}",
        headers={"norm_first": f"norm in {first}", "norm_second": f"norm in {second}"},
    )
    if format_ == "table" and (both := diff.selection) is not None:
        draw_line()
        draw_line(f"Both of {both.model}, selection {labelled(both)}, run {both.run_id}.")


def _draw_kept(report: EditReport) -> None:
    """What became of the prompts that the edit was told to leave in place."""
    if report.kept is not None:
        broken = report.kept.right_before > report.kept.right_after
        draw_line(f"  {_kept(report)}", bold=broken)


def _kept(report: EditReport) -> str | None:
    kept = report.kept
    if kept is None:
        return None
    asked = "" if kept.told == kept.prompts else f"{kept.prompts:,} of "
    told = f"of {asked}the {counted(kept.told, 'prompt')} it was told to keep, {kept.right_after}"
    still = "still has its" if kept.right_after == 1 else "still have their"
    before = "" if kept.right_before == kept.prompts else f" ({kept.right_before} had it before)"
    return f"{told} {still} right answer{before}"


def _emit_part(report: EditReport, part: str, format_: OfRows) -> None:
    if part == "neurons":
        emit(
            report.neurons,
            format_,
            kind=EditedNeuron,
            title=f"{counted(len(report.neurons), 'value vector')} changed",
            headers={"norm": "norm of change", "facts": "facts it serves"},
        )
        return
    emit(
        report.outcomes,
        format_,
        kind=PromptOutcome,
        title="Its own prompts",
        hide=("old_rank_before", "old_rank_after", "new_rank_before", "new_rank_after"),
        headers=_probability_headers(report)
        | {
            "text": "prompt",
            "held_out": "held out",
            "predicted_before": "top answer",
            "predicted_after": "after edit",
        },
    )


def _draw_summary(report: EditReport) -> None:
    """P and top answers over the prompts it was made from, and over the held-out ones."""
    headers = ["prompts", "", *_pair(_p_of(report.old_object, "old")), *_pair("on top")]
    updates = report.kind == "update"
    if updates:
        headers += [*_pair(_p_of(report.new_object, "new")), *_pair("on top")]
    rows = [_summary_row(part, updates) for part in report.summary]
    if rows:
        draw_table(headers, rows, grouped=True)


def _summary_row(part: OutcomeSummary, updates: bool) -> list[object]:
    row: list[object] = [
        "held out" if part.held_out else "made from",
        part.prompts,
        part.p_old_before,
        part.p_old_after,
        part.old_on_top_before,
        part.old_on_top_after,
    ]
    if updates:
        row += [
            part.p_new_before,
            part.p_new_after,
            part.new_on_top_before,
            part.new_on_top_after,
        ]
    return row


def _p_of(object_: str | None, role: str) -> str:
    """`P(Dublin)`, or `P(old)` where the name is too long to head a column of numbers."""
    return f"P({object_ if object_ and len(object_) <= _SHORT else role})"


def _pair(name: str) -> tuple[str, str]:
    return name, "after"


def _probability_headers(report: EditReport) -> dict[str, str]:
    old, new = report.old_object or "answer", report.new_object or "new"
    return {
        "p_old_before": f"P({old})",
        "p_old_after": "after",
        "p_new_before": f"P({new})",
        "p_new_after": "after",
    }


def _note_on_success(report: EditReport) -> None:
    """Where an update does not win everywhere, say by how much and what may help."""
    for part in report.summary:
        if part.held_out or part.new_on_top_after is None:
            continue
        if part.new_on_top_after < part.prompts:
            note(
                f"{_new_objects(report)} on top in {part.new_on_top_after} of "
                f"{counted(part.prompts, 'prompt')} with "
                f"{'this' if len(report.neurons) == 1 else 'these'} "
                f"{counted(len(report.neurons), 'neuron')}; `--neurons "
                f"{max(20, 2 * len(report.neurons))}` takes more."
            )
        elif part.p_new_after is not None and part.p_new_after < _FAINT:
            note(
                f"Note: {_new_objects(report)} on top with P {part.p_new_after:.2g} on average: "
                "the other answers fell below it rather than that it rose."
            )


def _title(report: EditReport) -> str:
    of = f"{report.relation} ({report.relation_id})" if report.relation else report.relation_id
    what = about(report.subject, of, report.old_object, report.new_object, len(report.facts))
    return f"Edit {report.edit_id} · {report.kind} by {report.method} · {what}"


def _new_objects(report: EditReport) -> str:
    return f"{report.new_object} is" if report.new_object is not None else "The new objects are"


def _draw_facts(report: EditReport) -> None:
    """What an edit of several facts came to on each of them."""
    if report.facts:
        emit(
            report.facts,
            "table",
            kind=FactOutcome,
            title=f"Its {counted(len(report.facts), 'fact')}",
            hide=("question",),
            headers={
                "relation_id": "relation",
                "old_object": "object",
                "new_object": "new object",
                "new_on_top": "on top",
                "held_out": "held out",
                "held_out_on_top": "on top",
            },
        )
        draw_line()


def _neurons(report: EditReport) -> str:
    named = [f"{n.layer}:{n.neuron}" for n in report.neurons[:_MANY]]
    return ", ".join(named) + (", …" if len(report.neurons) > _MANY else "")


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in settings.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and len(value) > _SHOWN:
        return f"({len(value)} of them)"
    return str(value)
