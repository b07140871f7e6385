"""`atlas query --neuron`: the facts that a neuron serves."""

from atlas.counted import counted
from atlas.queries.neurons import NeuronReport, ServedFact, parse_neuron
from atlas.selection.chosen import ChosenSelection

from ..render import Format, emit, emit_json, neuron_id, note
from .scope import Scope, made_from, say_cut, which


def ask_neuron(scope: Scope, neuron: str) -> None:
    """Print the facts that `LAYER:NEURON` serves."""
    report = scope.atlas.neuron(*parse_neuron(neuron), limit=scope.limit, **scope.of)
    _show(report, scope.told(report), scope.format_)


def _show(report: NeuronReport, selection: ChosenSelection, format_: Format) -> None:
    name = f"{neuron_id(report)} of {selection.model}"
    if not report.facts:
        note(f"Neuron {name} serves no fact in {which(selection)}.")
    if format_ == "json":
        emit_json(report)
    elif report.facts or format_ == "csv":
        emit(
            report.served,
            format_,
            kind=ServedFact,
            title=f"Neuron {name} serves {counted(report.facts, 'fact')} "
            f"in {counted(report.relations, 'relation')} ({made_from(selection)})",
            hide=("fact_id",),
            headers={"relation_id": "id"},
        )
    if report.facts == 1 and selection.ratio is not None:
        note(
            f"That it serves one fact alone is so at ratio {selection.ratio:g}: "
            "`atlas query --hubs --by ratio` tells of how many neurons it is so at others, too."
        )
    say_cut(len(report.served), report.facts, "fact")
