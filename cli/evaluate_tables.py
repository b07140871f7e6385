"""How the answer of `atlas evaluate` looks."""

from typing import TYPE_CHECKING

from atlas.counted import counted
from atlas.selection.chosen import labelled

from .render import Format, emit, emit_json, note
from .tables import draw_line, draw_table

if TYPE_CHECKING:
    from atlas.benchmarks.report import BenchmarkScore, EvaluationReport


def show(found: "EvaluationReport", format_: Format, *, verbose: bool) -> None:
    """A table a protocol, which names it; verbose: also what could not be asked, and each case."""
    if format_ == "json":
        emit_json(found)
        return
    if format_ == "csv":
        emit(found.scores, "csv")
        return
    neurons = "" if found.neurons is None else f" ({counted(found.neurons, 'neuron')})"
    for protocol in found.protocols:
        draw_table(
            [protocol, "", "before", "after", "95 %", "cases"],
            [_row(score) for score in found.scores if score.protocol == protocol],
            f"{found.layout}: {counted(found.evaluated, 'edit')} of {found.model} by "
            f"{found.method}{neurons}, {protocol}",
            grouped=True,
        )
        draw_line()
    if verbose:
        _details(found)
    _notes(found, verbose)


def _row(score: "BenchmarkScore") -> list[object]:
    between = "" if score.low is None else f"{_said(score, score.low)} … {_said(score, score.high)}"
    return [
        score.about,
        score.number,
        _said(score, score.before),
        _said(score, score.after),
        between,
        score.cases,
    ]


def _said(score: "BenchmarkScore", value: float | None) -> str:
    if value is None:
        return ""
    if score.number == "entropy":
        return f"{value:.2f} bit"
    return f"{value:+.3f}" if score.number == "magnitude" else f"{value:.1%}"


def _details(found: "EvaluationReport") -> None:
    emit(found.cases, "table", title="Cases", hide=("true_object",))
    draw_line()
    if found.inexpressible:
        emit(
            found.inexpressible,
            "table",
            title="Not asked",
            headers={"whole_case": "case lost"},
        )
        draw_line()


def _notes(found: "EvaluationReport", verbose: bool) -> None:
    lost = sum(one.whole_case for one in found.inexpressible)
    if found.inexpressible:
        more = "" if verbose else "; --verbose lists them"
        note(
            f"{found.model} cannot be asked {counted(lost, 'case')} and "
            f"{counted(len(found.inexpressible) - lost, 'question')} of others{more}."
        )
    if found.not_made:
        note(f"{counted(found.not_made, 'edit')} could not be made, and count as no change.")
    if found.left_out_prompts:
        note(
            f"{counted(found.left_out_prompts, 'prompt')} of the atlas that state or ask what the "
            "cases do played no part."
        )
    if found.directory:
        note(f"{found.directory} holds {counted(found.evaluated, 'case')} in ROME's layout.")
    if found.selection is not None:
        note(f"Edits from selection {labelled(found.selection)}; the atlas is as it was.")
