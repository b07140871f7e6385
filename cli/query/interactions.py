"""`atlas query --fact --interactions`: how a fact's neurons work together."""

from dataclasses import dataclass
from pathlib import Path

from atlas.edits.in_force import RunModel, selection_model
from atlas.errors import NoScores, NotFound
from atlas.interactions.report import InteractionReport, PairRow, interaction_report
from atlas.interactions.stored import (
    UnexaminedFact,
    record_interactions,
    unexamined_facts,
)
from atlas.queries.facts import NamedFact, one_fact
from atlas.selection.chosen import ChosenSelection
from atlas.store.atlas_file import open_atlas

from ..edit.model import load
from ..render import emit, emit_json
from ..tables import draw_line
from .scope import Scope, counted, fact_name, say_cut, which


@dataclass(frozen=True)
class _Wanted:
    model: str | None
    device: str


def ask_interactions(scope: Scope, fact: str, model: str | None, device: str) -> None:
    """Print the interactions of a fact's neurons; what is not stored yet is measured and stored."""
    with scope.opened() as (con, selection):
        if selection.preset == "published":
            raise NoScores(
                f"run {selection.run_id} is of published neurons, without the prompts that "
                "interactions are measured on: ask a run that `atlas index` made (--run)"
            )
        named = one_fact(con, fact)
        missing = unexamined_facts(con, selection.selection_id, fact_id=named.fact_id)
        run_model = selection_model(con, selection.selection_id)
    if missing:
        _examine(scope.db, selection, missing, run_model, _Wanted(model, device))
    with open_atlas(scope.db).reading() as con:
        report = interaction_report(con, selection, named, scope.first_rows)
    if report is None:
        raise NotFound(
            f"{named.subject} {named.relation_id} has no knowledge neuron in selection "
            f"{selection.selection_id}: ask about another fact"
        )
    _show(report, named, selection, scope.format_)


def _examine(
    db: Path,
    selection: ChosenSelection,
    facts: list[UnexaminedFact],
    run_model: RunModel,
    wanted: _Wanted,
) -> None:
    lm = load(run_model, wanted.model, wanted.device)
    from atlas.interactions.examine import examine_facts

    found = examine_facts(lm, selection.selection_id, facts)
    with open_atlas(db).writing() as con:
        record_interactions(con, found.facts, found.pairs)


def _show(
    report: InteractionReport, named: NamedFact, selection: ChosenSelection, format_: str
) -> None:
    if format_ == "json":
        emit_json(report)
    elif format_ == "csv":
        emit(report.pairs, "csv", kind=PairRow)
    else:
        _tables(report, named, selection)
    say_cut(len(report.pairs), report.pairs_in_all, "pairs")


def _tables(report: InteractionReport, named: NamedFact, selection: ChosenSelection) -> None:
    draw_line(f"{fact_name(named)} ({which(selection)})", bold=True)
    if not report.prompts:
        draw_line("  no prompt's top answer is this object, so there is nothing to lose")
        return
    draw_line(
        f"  {counted(report.neurons, 'knowledge neuron')} suppressed in "
        f"{counted(report.prompts, 'prompt')} whose top answer it is; mean log P {report.log_p:.3f}"
    )
    draw_line(
        f"  all together: {report.effect_all:+.3f}, top answer still in {report.kept_all} "
        f"of {report.prompts}"
    )
    draw_line(f"  {_removing(report)}")
    if report.pairs:
        draw_line()
        emit(
            report.pairs,
            "table",
            kind=PairRow,
            title="Effects on mean log P; an interaction below 0 backs up, above 0 is in series",
            headers={"effect_a": "effect a", "effect_b": "effect b", "effect_ab": "of both"},
        )


def _removing(report: InteractionReport) -> str:
    if report.removing_neurons is None:
        return "no set of them removes the answer from every prompt"
    if report.removing_exact is not None:
        sets = counted(report.removing_sets or 0, "set")
        return (
            f"smallest sets that remove the answer: {counted(report.removing_exact, 'neuron')} "
            f"({sets}), e.g. {report.removing_neurons}; greedily {report.removing_greedy}"
        )
    return (
        f"a set that removes the answer, found greedily: {report.removing_greedy} neurons, "
        f"{report.removing_neurons}"
    )
