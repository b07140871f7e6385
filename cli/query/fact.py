"""`atlas query --fact`: a fact's prompts and its neurons."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from atlas.counted import counted
from atlas.queries.facts import FactNeuron, FactPrompt, FactReport, FactsReport
from atlas.queries.knowledge import Knowledge
from atlas.selection.chosen import ChosenSelection

from ..render import emit, emit_json, emit_values, neuron_id, note, pasted
from ..tables import draw_line
from .scope import Scope, fact_name, standing, which

_HEADERS = {
    "text": "prompt",
    "p_answer": "P(answer)",
    "answer_rank": "rank",
    "predicted": "top answer",
    "p_predicted": "P(top)",
    "completeness_gap": "gap",
}


_NEURON_HEADERS = {
    "label": "neuron of",
    "selection_frequency": "frequency",
    "same_relation_and_object": "same both",
    "same_relation": "relation's",
    "same_object": "object's",
    "same_subject": "subject's",
}
# What goes first on a narrow terminal: a label stays beside the numbers that it follows from.
_LESS_THAN_LABELS = ("prompt_share", "relations", "facts", "selection_frequency", "mean_score")


def ask_fact(scope: Scope, fact: str, show: str | None) -> None:
    """Print every fact that the name leads to; `show`: prompts or neurons alone."""
    report = scope.atlas.facts(fact, limit=scope.limit, **scope.of)
    _show(report, scope.told(report), show, scope)


def _show(answer: FactsReport, selection: ChosenSelection, show: str | None, scope: Scope) -> None:
    reports = answer.facts
    for report in reports:
        _note_on_fact(report, selection, scope.db)
    if scope.format_ == "json":
        emit_json(answer)
    elif scope.format_ == "csv":
        _emit_joined(reports, "prompts" if show == "prompts" else "neurons")
    else:
        for i, report in enumerate(reports):
            if i:
                draw_line()
            _fact_tables(report, show, selection)


def _fact_tables(report: FactReport, show: str | None, selection: ChosenSelection) -> None:
    name = f"{fact_name(report)} · {report.fact_id}"
    draw_line(name, bold=True)
    knowledge = Knowledge(report.known, report.right, report.measured)
    known = standing(knowledge, report.chosen)
    draw_line(f"  {known} · {which(selection)} of {selection.model}")
    if report.split_half_jaccard is not None:
        draw_line(
            f"  halves of its prompts choose the same neurons to {report.split_half_jaccard:.2f} "
            f"(Jaccard, mean of {counted(report.splits or 0, 'split')})"
        )
    if show != "neurons":
        _prompt_table(report.prompts)
    if show is None and report.neurons:
        draw_line()
    if any(neuron.label is not None for neuron in report.neurons) and show != "prompts":
        draw_line(
            "  each neuron suppressed alone: what it is a neuron of, and the mean change of log P "
            "(nats) on own prompts and on others'"
        )
    if show == "neurons" or (show is None and report.neurons):
        emit(
            report.neurons,
            "table",
            kind=FactNeuron,
            hide=("fact_id",),
            headers=_NEURON_HEADERS,
            drop=_LESS_THAN_LABELS if any(n.label is not None for n in report.neurons) else (),
        )


def _prompt_table(prompts: Sequence[FactPrompt]) -> None:
    hide = ["fact_id"]
    if not any(prompt.over_tolerance for prompt in prompts):
        hide.append("over_tolerance")
    measured = [prompt for prompt in prompts if prompt.skipped_because is None]
    emit(measured, "table", kind=FactPrompt, hide=hide, headers=_HEADERS)
    for prompt in prompts:
        if prompt.skipped_because is not None:
            draw_line(f"{prompt.text}  skipped: {prompt.skipped_because}")


def _note_on_fact(report: FactReport, selection: ChosenSelection, db: Path) -> None:
    name = f"{report.subject} {report.relation_id}"
    if report.unmeasured:
        prompts = report.measured + report.skipped + report.unmeasured
        note(
            f"{name}: run {selection.run_id} has no result of {report.unmeasured} "
            f"of its {counted(prompts, 'prompt')}."
        )
    if report.unmeasured and not report.measured:
        _note_where(report, db)
    elif report.known is False and selection.known_only:
        note(
            f"{name}: not known, right in {report.right} of {counted(report.measured, 'prompt')}, "
            f"and {which(selection)} is of known facts alone; "
            f"`{pasted('atlas select --all-facts --keep-default', db)}` includes it."
        )
    elif not report.chosen:
        note(f"{name}: no knowledge neuron in {which(selection)}.")
        if report.near_miss is not None:
            miss = report.near_miss
            note(
                f"  The nearest, {neuron_id(miss)}, passes in {miss.passes} of "
                f"{counted(miss.measured, 'prompt')}; a sharing of 0.5 would give "
                f"{counted(miss.at_half, 'neuron')} "
                "(`atlas select --sharing 0.5 --keep-default`)."
            )


def _note_where(report: FactReport, db: Path) -> None:
    """Of a fact that the run has not measured: which selection has it, or how to get one."""
    if report.elsewhere is None:
        command = pasted(f"atlas index --relation {shlex.quote(report.relation_id)}", db)
        note(f"  No run has: `{command}` measures it (with the run's model and data).")
    else:
        asked = f"atlas query --fact {shlex.quote(report.fact_id)} --selection {report.elsewhere}"
        note(f"  Another run has: `{pasted(asked, db)}`.")


def _emit_joined(reports: Sequence[FactReport], part: str) -> None:
    """Each row of `part` behind the fact that it belongs to."""
    kind = FactPrompt if part == "prompts" else FactNeuron
    own = ["fact_id", "relation_id", "subject", "object"]
    rest = [field.name for field in dataclasses.fields(kind) if field.name != "fact_id"]
    rows = [
        [getattr(report, name) for name in own] + [getattr(row, name) for name in rest]
        for report in reports
        for row in getattr(report, part)
    ]
    emit_values(own + rest, rows, "csv")
