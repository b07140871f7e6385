"""`atlas query --interference`: what a fact's neurons are predicted to be to the others."""

from atlas.counted import counted
from atlas.interference.predicted import (
    Interference,
    InterferenceReport,
)
from atlas.selection.chosen import ChosenSelection

from ..render import Format, emit, emit_json, note
from .scope import Scope, fact_name, no_neuron, say_cut, which


def ask_interference(scope: Scope, fact: str) -> None:
    """Print the share of every other fact's score mass on this fact's neurons, largest first."""
    report = scope.atlas.interference(fact, limit=scope.first_rows, **scope.of)
    assert isinstance(report, InterferenceReport)
    _show(report, scope.told(report), scope.format_)


def _show(report: InterferenceReport, selection: ChosenSelection, format_: Format) -> None:
    name = fact_name(report.fact)
    mass = "other facts' score mass"
    if report.of_stored_mass:
        mass = "the stored mass of other facts' scores"
    if not report.neurons:
        note(no_neuron(name, selection))
    elif report.on_itself is not None:
        own = counted(len(report.neurons), "knowledge neuron")
        of = "the stored mass of its own scores" if report.of_stored_mass else "its own score mass"
        note(f"{name}: its {own} hold {report.on_itself:.1%} of {of}.")
        if report.null_on_itself is not None:
            note(
                f"  With a shuffled object: {report.null_on_itself:.1%}, and "
                f"{counted(report.null_facts or 0, 'fact')} with mass on them where it has "
                f"{report.facts:,}."
            )
    if format_ == "json":
        emit_json(report)
    elif report.affected or format_ == "csv":
        emit(
            report.affected,
            format_,
            kind=Interference,
            title=f"Share of {mass} on the neurons of {name} ({which(selection)})",
            hide=("fact_id",),
            headers={
                "relation_id": "id",
                "predicted": "predicted interference",
                "predicted_change": "predicted Δ log P",
            },
        )
    say_cut(len(report.affected), report.facts, "fact")
