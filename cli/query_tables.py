"""How the answers of `atlas query` look."""

import dataclasses
from collections.abc import Sequence

from atlas.store.fact_queries import FactNeuron, FactPrompt, FactReport
from atlas.store.neuron_queries import Hub, HubsReport, NeuronReport, ServedFact
from atlas.store.relation_queries import LayerCount, RelationNeuron, RelationReport
from atlas.store.selection_queries import ChosenSelection

from .render import emit, emit_json, emit_values, neuron_id, note
from .tables import draw_bars, draw_line

_HEADERS = {
    "text": "prompt",
    "p_answer": "P(answer)",
    "answer_rank": "rank",
    "predicted": "top answer",
    "p_predicted": "P(top)",
    "completeness_gap": "gap",
}


def show_neuron(report: NeuronReport, selection: ChosenSelection, format_: str) -> None:
    """The facts that a neuron serves."""
    name = f"{neuron_id(report)} of {selection.model}"
    if not report.facts:
        note(f"Neuron {name} serves no fact in selection {selection.selection_id}.")
    if report.facts or format_ != "table":
        emit(
            report.served,
            format_,
            kind=ServedFact,
            title=f"Neuron {name} serves {_count(report.facts, 'fact')} "
            f"in {_count(report.relations, 'relation')} ({_which(selection)})",
            hide=("fact_id",),
            headers={"relation_id": "id"},
        )
    _say_cut(len(report.served), report.facts, "facts")


def show_hubs(report: HubsReport, selection: ChosenSelection, by: str, format_: str) -> None:
    """The neurons that serve most."""
    if not report.neurons:
        note(f"Selection {selection.selection_id} has no knowledge neuron.")
    emit(
        report.hubs,
        format_,
        kind=Hub,
        title=f"Neurons of {selection.model} that serve most {by} ({_which(selection)})",
        headers={"top_relation_id": "id"},
    )
    _say_cut(len(report.hubs), report.neurons, "neurons")


def show_facts(
    reports: Sequence[FactReport], selection: ChosenSelection, show: str | None, format_: str
) -> None:
    """Facts with their prompts and their neurons."""
    for report in reports:
        _note_on_fact(report, selection)
    if format_ == "json":
        emit_json({"facts": reports})
    elif format_ == "csv":
        _emit_joined(reports, "prompts" if show == "prompts" else "neurons")
    else:
        for i, report in enumerate(reports):
            if i:
                draw_line()
            _fact_tables(report, show)


def show_relation(
    report: RelationReport, selection: ChosenSelection, show: str | None, format_: str
) -> None:
    """A relation's summary, neurons and layers."""
    if report.mean_neurons is None:
        note(f"Selection {selection.selection_id} has not reached {report.relation_id} yet.")
    if format_ == "json":
        emit_json(report)
    elif format_ == "csv" and show == "layers":
        emit(report.layers, "csv", kind=LayerCount)
    elif format_ == "csv":
        emit(report.neurons, "csv", kind=RelationNeuron)
    else:
        _relation_tables(report, selection, show)
    if show != "layers":
        _say_cut(len(report.neurons), report.distinct_neurons, "neurons")


def _fact_tables(report: FactReport, show: str | None) -> None:
    name = (
        f"{report.subject} · {report.relation} ({report.relation_id}) · {report.object}"
        f" · {report.fact_id}"
    )
    if show != "neurons":
        _prompt_table(report.prompts, name)
    if show is None and report.neurons:
        draw_line()
    if show == "neurons" or (show is None and report.neurons):
        emit(
            report.neurons,
            "table",
            kind=FactNeuron,
            title=name if show == "neurons" else None,
            hide=("fact_id",),
        )


def _prompt_table(prompts: Sequence[FactPrompt], title: str) -> None:
    hide = ["fact_id"]
    if not any(prompt.over_tolerance for prompt in prompts):
        hide.append("over_tolerance")
    measured = [prompt for prompt in prompts if prompt.skipped_because is None]
    emit(measured, "table", kind=FactPrompt, title=title, hide=hide, headers=_HEADERS)
    for prompt in prompts:
        if prompt.skipped_because is not None:
            draw_line(f"{prompt.text}  skipped: {prompt.skipped_because}")


def _note_on_fact(report: FactReport, selection: ChosenSelection) -> None:
    name = f"{report.subject} {report.relation_id}"
    if report.unmeasured:
        note(
            f"{name}: run {selection.run_id} has no result of {report.unmeasured} "
            f"of its {report.unmeasured + len(report.prompts)} prompts."
        )
    if not report.neurons:
        note(f"{name}: no knowledge neuron in selection {selection.selection_id}.")


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


def _relation_tables(report: RelationReport, selection: ChosenSelection, show: str | None) -> None:
    parts = {
        None: (_relation_summary, _relation_neurons, _relation_layers),
        "neurons": (_relation_neurons,),
        "layers": (_relation_layers,),
    }[show]
    for i, part in enumerate(parts if report.neurons else parts[:1]):
        if i:
            draw_line()
        part(report, selection)


def _relation_neurons(report: RelationReport, selection: ChosenSelection) -> None:
    emit(
        report.neurons,
        "table",
        kind=RelationNeuron,
        title=f"Neurons of {selection.model} that serve most facts of {report.relation}",
    )


def _relation_layers(report: RelationReport, selection: ChosenSelection) -> None:
    draw_bars(
        [f"layer {count.layer}" for count in report.layers],
        [count.uses for count in report.layers],
        title=f"Layers of {report.relation}'s knowledge neurons (pairs of fact and neuron)",
    )


def _relation_summary(report: RelationReport, selection: ChosenSelection) -> None:
    draw_line(f"{report.relation} ({report.relation_id}) in {selection.model}, {_which(selection)}")
    known = ""
    if report.mean_p_answer is not None and report.top1_share is not None:
        known = (
            f"; mean P(answer) {report.mean_p_answer:.3f}, "
            f"top answer right in {report.top1_share:.1%}"
        )
    draw_line(
        f"  {_count(report.facts, 'fact')} with {_count(report.prompts, 'measured prompt')}{known}"
    )
    for skipped in report.skipped:
        draw_line(f"  {_count(skipped.prompts, 'prompt')} skipped: {skipped.reason}")
    if report.mean_neurons is not None:
        draw_line(
            f"  {report.mean_neurons:.2f} knowledge neurons a fact, "
            f"{report.distinct_neurons:,} different ones"
        )
        moved = f", moved {report.moves} times from {selection.sharing:g}" if report.moves else ""
        draw_line(
            f"  thresholds: score {report.comparison} {report.ratio:g} of the prompt's largest, "
            f"in {report.sharing:g} of the prompts{moved}, at least {report.min_prompts} of them"
        )


def _which(selection: ChosenSelection) -> str:
    return f"selection {selection.selection_id}, {selection.preset}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _say_cut(shown: int, there: int, noun: str) -> None:
    if shown < there:
        note(f"{shown:,} of {there:,} {noun}; --limit 0 shows all.")
