"""`atlas query --relation`: a relation's neurons, layers and thresholds."""

from atlas.counted import counted
from atlas.queries.layers import LayerCount
from atlas.queries.relations import RelationNeuron, RelationReport
from atlas.selection.chosen import ChosenSelection, labelled

from ..render import Format, emit, emit_json, note
from ..tables import draw_bars, draw_line
from .scope import Scope, note_unlike_templates, say_cut, which


def ask_relation(scope: Scope, relation: str, show: str | None) -> None:
    """Print a relation's summary, neurons and layers; `show`: neurons or layers alone."""
    report = scope.atlas.relation(relation, limit=scope.first_rows, **scope.of)
    _show(report, scope.told(report), show, scope.format_)


def _show(
    report: RelationReport, selection: ChosenSelection, show: str | None, format_: Format
) -> None:
    if report.selected_facts is None:
        note(f"Selection {labelled(selection)} has not reached {report.relation_id} yet.")
    elif not report.selected_facts and report.facts:
        note(
            f"None of the {counted(report.facts, 'fact')} of {report.relation_id} is known, and "
            f"{which(selection)} is of known facts alone; `atlas select --all-facts "
            "--keep-default` includes them."
        )
    note_unlike_templates(selection)
    if format_ == "json":
        emit_json(report)
    elif format_ == "csv" and show == "layers":
        emit(report.layers, "csv", kind=LayerCount)
    elif format_ == "csv":
        emit(report.neurons, "csv", kind=RelationNeuron)
    else:
        _tables(report, selection, show)
    if show != "layers":
        say_cut(len(report.neurons), report.distinct_neurons, "neuron")


def _tables(report: RelationReport, selection: ChosenSelection, show: str | None) -> None:
    parts = {
        None: (_summary, _neurons, _layers),
        "neurons": (_neurons,),
        "layers": (_layers,),
    }[show]
    for i, part in enumerate(parts if report.neurons else parts[:1]):
        if i:
            draw_line()
        part(report, selection)


def _neurons(report: RelationReport, selection: ChosenSelection) -> None:
    emit(
        report.neurons,
        "table",
        kind=RelationNeuron,
        title=f"Neurons of {selection.model} that serve most facts of {report.relation}",
    )


def _layers(report: RelationReport, selection: ChosenSelection) -> None:
    draw_bars(
        [f"layer {count.layer}" for count in report.layers],
        [count.uses for count in report.layers],
        title=f"Layers of {report.relation}'s knowledge neurons (pairs of fact and neuron)",
    )


def _summary(report: RelationReport, selection: ChosenSelection) -> None:
    draw_line(f"{report.relation} ({report.relation_id}) in {selection.model}, {which(selection)}")
    known = ""
    if report.mean_p_answer is not None and report.top1_share is not None:
        known = (
            f"; mean P(answer) {report.mean_p_answer:.3f}, "
            f"top answer right in {report.top1_share:.1%}"
        )
    if selection.preset != "published":
        measured = counted(report.prompts, "measured prompt")
        facts = f"{counted(report.facts, 'fact')}, {report.known_facts:,} known"
        draw_line(f"  {facts}, with {measured}{known}")
    for skipped in report.skipped:
        draw_line(f"  {counted(skipped.prompts, 'prompt')} skipped: {skipped.reason}")
    if report.mean_neurons is not None:
        fact = "known fact" if selection.known_only else "fact"
        missed = ", outside the preset's target" if report.target_met is False else ""
        draw_line(
            f"  {report.mean_neurons:.2f} knowledge neurons a {fact}{missed}, "
            f"{counted(report.distinct_neurons, 'different one')}"
        )
    if report.null_mean_neurons is not None and report.null_with_neurons is not None:
        draw_line(
            f"  with shuffled objects: {report.null_mean_neurons:.2f} a fact; "
            f"{report.null_with_neurons:.0%} of the facts have any "
            f"(with their own: {report.with_neurons:.0%})"
        )
    if selection.preset != "published" and report.mean_neurons is not None:
        moved = ""
        if report.moves:
            moved = f", moved {counted(report.moves, 'time')} from {selection.sharing:g}"
        draw_line(
            f"  thresholds: score {report.comparison} {report.ratio:g} of the prompt's largest, "
            f"in {report.sharing:g} of the prompts{moved}, at least {report.min_prompts} of them"
        )
