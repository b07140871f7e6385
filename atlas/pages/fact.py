"""The page on a fact."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb

from atlas.edits.stored import EditSummary, edits_of
from atlas.interactions.report import InteractionReport, interaction_report
from atlas.interference.predicted import InterferenceReport, interference_of
from atlas.interference.stored import StoredMeasurement, stored_measurements
from atlas.queries.facts import FactReport, reports_of
from atlas.queries.layers import LayerScore, layer_scores
from atlas.queries.named_facts import NamedFact, facts_of_relation, one_fact
from atlas.queries.prompt_scores import PromptScoresReport, scores_of
from atlas.queries.sharing import NeighboursReport, neighbours_of
from atlas.selection.chosen import ChosenSelection, OfSelection

SHOWN = 20  # neighbours, affected facts and pairs of neurons
AT_ONCE = 100  # facts whose pages are made together


@dataclass(frozen=True)
class FactPage(OfSelection, rows="layers"):
    """A fact, all that is stored of it: prompts, neurons, layers, neighbours, what its edits were.

    interference: predicted; None for published neurons, which have no scores.
    measured: what suppressing its neurons did; empty where nobody measured it.
    interactions: None likewise.
    """

    fact: FactReport
    scores: PromptScoresReport
    layers: tuple[LayerScore, ...]
    neighbours: NeighboursReport
    interference: InterferenceReport | None
    measured: tuple[StoredMeasurement, ...]
    interactions: InteractionReport | None
    edits: tuple[EditSummary, ...]  # of this fact


def fact_page(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, wanted: str
) -> FactPage:
    """Everything that is told of the fact that `wanted` names; raises as `one_fact`."""
    (page,) = _pages(connection, selection, [one_fact(connection, wanted)])
    return page


def fact_pages(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, relation_id: str
) -> Iterator[FactPage]:
    """The pages of all facts of the relation with this very id."""
    facts = facts_of_relation(connection, relation_id)
    for first in range(0, len(facts), AT_ONCE):
        yield from _pages(connection, selection, facts[first : first + AT_ONCE])


def _pages(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, facts: Sequence[NamedFact]
) -> list[FactPage]:
    layers = layer_scores(connection, selection, [fact.fact_id for fact in facts])
    edits, scored = edits_of(connection, facts), selection.preset != "published"
    return [
        FactPage(
            fact=report,
            scores=scores,
            layers=tuple(layers[fact.fact_id]),
            neighbours=neighbours_of(connection, selection, fact, SHOWN),
            interference=interference_of(connection, selection, fact, SHOWN) if scored else None,
            measured=tuple(stored_measurements(connection, selection.selection_id, fact.fact_id)),
            interactions=interaction_report(connection, selection, fact, SHOWN),
            edits=tuple(edit for edit in edits if _is_of(edit, fact)),
        )
        for fact, report, scores in zip(
            facts,
            reports_of(connection, selection, facts),
            scores_of(connection, selection, facts),
            strict=True,
        )
    ]


def _is_of(edit: EditSummary, fact: NamedFact) -> bool:
    named = (fact.subject, fact.relation_id, fact.object)
    return (edit.subject, edit.relation_id, edit.old_object) == named
