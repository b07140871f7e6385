"""The page on an atlas as a whole."""

from dataclasses import dataclass
from pathlib import Path

import duckdb

from atlas.queries.info import AtlasTotals, RunProgress, atlas_totals, run_progress
from atlas.queries.layers import LayerCount, layer_counts
from atlas.queries.neurons import HubsReport, hubs_report
from atlas.queries.overlap import StoredOverlap, stored_overlap
from atlas.queries.relation_facts import RelationSize, relation_sizes
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.selection.selections import SelectionSummary, selections
from atlas.store.rows import fetch

HUBS = 20


@dataclass(frozen=True)
class LabelCount:
    """How many of the facts' knowledge neurons turned out to be neurons of what."""

    label: str  # fact | subject | answer | relation | unclear
    neurons: int  # each counted once a fact


@dataclass(frozen=True)
class OverviewPage(OfSelection, rows="relations"):
    """An atlas at a glance: what it holds, where its neurons lie, which serve most, what is shared.

    labels: what suppression showed the neurons to be neurons of; empty where nobody measured it.
    """

    totals: AtlasTotals
    runs: tuple[RunProgress, ...]  # latest first
    selections: tuple[SelectionSummary, ...]  # the default first
    relations: tuple[RelationSize, ...]
    layers: tuple[LayerCount, ...]
    hubs: HubsReport
    overlap: StoredOverlap
    labels: tuple[LabelCount, ...]


def overview_page(
    connection: duckdb.DuckDBPyConnection, path: Path, selection: ChosenSelection
) -> OverviewPage:
    """Everything that the overview tells of the atlas in the file `path`."""
    return OverviewPage(
        totals=atlas_totals(connection, path),
        runs=tuple(run_progress(connection)),
        selections=tuple(selections(connection)),
        relations=tuple(relation_sizes(connection, selection)),
        layers=tuple(layer_counts(connection, selection)),
        hubs=hubs_report(connection, selection, HUBS),
        overlap=stored_overlap(connection, selection),
        labels=tuple(_labels(connection, selection)),
    )


def _labels(connection: duckdb.DuckDBPyConnection, selection: ChosenSelection) -> list[LabelCount]:
    return fetch(
        connection,
        LabelCount,
        """
        SELECT label, count(*) AS neurons
        FROM neuron_specificity
        WHERE selection_id = $selection_id
        GROUP BY label
        ORDER BY list_position(['fact', 'subject', 'answer', 'relation', 'unclear'], label)
        """,
        {"selection_id": selection.selection_id},
    )
