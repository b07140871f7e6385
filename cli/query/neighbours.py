"""`atlas query --neighbours`: the facts that share a fact's neurons."""

from atlas.counted import counted
from atlas.queries.sharing import Neighbour, NeighboursReport
from atlas.selection.chosen import ChosenSelection

from ..render import Format, emit, emit_json, note
from .scope import Scope, fact_name, no_neuron, say_cut, which


def ask_neighbours(scope: Scope, fact: str) -> None:
    """Print the facts that share knowledge neurons with this one, most shared first."""
    report = scope.atlas.neighbours(fact, limit=scope.first_rows, **scope.of)
    _show(report, scope.told(report), scope.format_)


def _show(report: NeighboursReport, selection: ChosenSelection, format_: Format) -> None:
    name = fact_name(report.fact)
    if not report.neurons:
        note(no_neuron(name, selection))
    elif not report.facts:
        note(f"{name} shares no neuron in {which(selection)}.")
    if format_ == "json":
        emit_json(report)
    elif report.neighbours or format_ == "csv":
        emit(
            report.neighbours,
            format_,
            kind=Neighbour,
            title=f"{counted(report.facts, 'fact')} share some of the "
            f"{counted(report.neurons, 'neuron')} of {name} ({which(selection)})",
            hide=("fact_id",),
            headers={"relation_id": "id"},
        )
    say_cut(len(report.neighbours), report.facts, "fact")
