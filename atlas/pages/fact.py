"""The page on a fact."""

from dataclasses import dataclass

import duckdb

from atlas.edits.stored import EditSummary, edit_summaries
from atlas.interactions.report import InteractionReport, interaction_report
from atlas.interference.predicted import InterferenceReport, interference_report
from atlas.interference.stored import StoredMeasurement, stored_measurements
from atlas.queries.facts import FactReport, fact_reports
from atlas.queries.layers import LayerScore, layer_scores
from atlas.queries.named_facts import one_fact
from atlas.queries.prompt_scores import PromptScoresReport, prompt_scores_report
from atlas.queries.sharing import NeighboursReport, neighbours_report
from atlas.selection.chosen import ChosenSelection, OfSelection

SHOWN = 20  # neighbours, affected facts and pairs of neurons


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
    named = one_fact(connection, wanted)
    fact_id = named.fact_id
    (report,) = [r for r in fact_reports(connection, selection, fact_id) if r.fact_id == fact_id]
    scored = selection.preset != "published"
    return FactPage(
        fact=report,
        scores=prompt_scores_report(connection, selection, fact_id),
        layers=tuple(layer_scores(connection, selection, fact_id)),
        neighbours=neighbours_report(connection, selection, fact_id, SHOWN),
        interference=interference_report(connection, selection, fact_id, SHOWN) if scored else None,
        measured=tuple(stored_measurements(connection, selection.selection_id, fact_id)),
        interactions=interaction_report(connection, selection, named, SHOWN),
        edits=tuple(
            edit
            for edit in edit_summaries(connection)
            if (edit.subject, edit.relation_id, edit.old_object)
            == (named.subject, named.relation_id, named.object)
        ),
    )
