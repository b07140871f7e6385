"""`atlas query --shared`: the neurons that two facts have in common."""

from atlas.counted import counted
from atlas.queries.sharing import SharedNeuron, SharedReport
from atlas.selection.chosen import ChosenSelection

from ..render import Format, emit, emit_json, note
from ..tables import draw_line
from .scope import Scope, fact_name, no_neuron, say_cut, standing, which


def ask_shared(scope: Scope, a: str, b: str) -> None:
    """Print the knowledge neurons of both facts, with the score that each has for either."""
    report = scope.atlas.shared(a, b, limit=scope.limit, **scope.of)
    _show(report, scope.told(report), scope.format_)


def _show(report: SharedReport, selection: ChosenSelection, format_: Format) -> None:
    first, second = fact_name(report.fact_a), fact_name(report.fact_b)
    if format_ == "json":
        emit_json(report)
    elif format_ == "csv":
        emit(report.shared, "csv", kind=SharedNeuron)
    else:
        draw_line(f"a  {first}: {standing(report.knowledge_a, report.neurons_a)}")
        draw_line(f"b  {second}: {standing(report.knowledge_b, report.neurons_b)}")
        if report.both:
            title = f"{counted(report.both, 'neuron')} in common, Jaccard {report.jaccard:.3f}"
            emit(report.shared, "table", title=f"{title} ({which(selection)})")
    without = [
        name
        for name, neurons in ((first, report.neurons_a), (second, report.neurons_b))
        if not neurons
    ]
    for name in without:
        note(no_neuron(name, selection))
    if not report.both and not without:
        note(f"{first} and {second} share no neuron in {which(selection)}.")
    say_cut(len(report.shared), report.both, "neuron")
