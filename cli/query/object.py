"""`atlas query --object`: the facts with one object."""

from atlas.counted import counted
from atlas.queries.objects import FactOfObject

from ..render import emit, emit_json
from .scope import Scope, which


def ask_object(scope: Scope, wanted: str) -> None:
    """Print every fact whose object this is, whether it is known, and how many neurons it has."""
    report = scope.atlas.facts_with_object(wanted, **scope.of)
    selection = scope.told(report)
    if scope.format_ == "json":
        emit_json(report)
        return
    known = sum(bool(fact.known) for fact in report.facts)
    emit(
        report.facts[: scope.first_rows or None],
        scope.format_,
        kind=FactOfObject,
        title=f"{counted(len(report.facts), 'fact')} with the object {report.object}, {known} of "
        f"them known ({which(selection)} of {selection.model})",
        hide=("fact_id", "object"),
        headers={"relation_id": "id"},
        drop=("right", "measured"),
    )
