"""`atlas query --hubs --by ratio`: the neurons that serve one fact alone, over ratios."""

from atlas.counted import counted
from atlas.queries.single_facts import AtRatio, SingleFactsReport
from atlas.selection.chosen import ChosenSelection

from ..render import Format, emit, emit_json, note
from .scope import Scope, made_from


def ask_single_facts(scope: Scope) -> None:
    """Print how many neurons serve one fact alone at the selection's ratio and at others."""
    report = scope.atlas.single_facts(**scope.of)
    _show(report, scope.told(report), scope.format_)


def _show(report: SingleFactsReport, selection: ChosenSelection, format_: Format) -> None:
    if format_ == "json":
        emit_json(report)
    else:
        emit(
            report.ratios,
            format_,
            kind=AtRatio,
            title=f"Neurons of {selection.model} that serve one fact alone, by ratio "
            f"({made_from(selection)})",
        )
    note(
        f"At ratio {selection.ratio:g}, {report.of_one_fact:,} of "
        f"{counted(report.neurons, 'neuron')} serve one fact alone; {report.throughout:,} of these "
        "do so at every ratio shown."
    )
