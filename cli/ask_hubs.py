"""`atlas query --hubs`: the neurons that serve most."""

from typing import Literal

from atlas.store.neuron_queries import Hub, HubsReport, hubs_report
from atlas.store.selection_queries import ChosenSelection

from .query_scope import Scope, say_cut, which
from .render import emit, note


def ask_hubs(scope: Scope, by: Literal["facts", "relations"]) -> None:
    """Print the neurons that serve most facts or relations."""
    with scope.opened() as (con, selection):
        report = hubs_report(con, selection, scope.first_rows, by)
    _show(report, selection, by, scope.format_)


def _show(report: HubsReport, selection: ChosenSelection, by: str, format_: str) -> None:
    if not report.neurons:
        note(f"Selection {selection.selection_id} has no knowledge neuron.")
    emit(
        report.hubs,
        format_,
        kind=Hub,
        title=f"Neurons of {selection.model} that serve most {by} ({which(selection)})",
        headers={"top_relation_id": "id"},
    )
    say_cut(len(report.hubs), report.neurons, "neurons")
