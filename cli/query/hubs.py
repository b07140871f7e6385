"""`atlas query --hubs`: the neurons that serve most."""

from atlas.queries.neurons import Hub, HubOrder, HubsReport
from atlas.selection.chosen import ChosenSelection, labelled

from ..render import Format, emit, emit_json, note
from .scope import Scope, facts_of, made_from, say_cut

_MOST: dict[HubOrder, str] = {
    "facts": "most facts",
    "relations": "most relations",
    "entropy": "relations most evenly",
}


def ask_hubs(scope: Scope, by: HubOrder) -> None:
    """Print the neurons that serve most facts, most relations, or relations most evenly."""
    report = scope.atlas.hubs(by=by, limit=scope.first_rows, **scope.of)
    _show(report, scope.told(report), by, scope.format_)


def _show(report: HubsReport, selection: ChosenSelection, by: HubOrder, format_: Format) -> None:
    if not report.neurons:
        note(f"Selection {labelled(selection)} ({facts_of(selection)}) has no knowledge neuron.")
    null = any(hub.null_share is not None for hub in report.hubs)
    if format_ == "json":
        emit_json(report)
    else:
        emit(
            report.hubs,
            format_,
            kind=Hub,
            title=f"Neurons of {selection.model} that serve {_MOST[by]} ({made_from(selection)})",
            headers={"top_relation_id": "id", "null_share": "of null facts"},
            hide=() if null else ("fact_share", "null_share"),
        )
    say_cut(len(report.hubs), report.neurons, "neuron")
