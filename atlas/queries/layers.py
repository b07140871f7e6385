"""In which layers knowledge neurons lie, and in which a fact's score does."""

from dataclasses import dataclass

import duckdb

from atlas.selection.chosen import ChosenSelection
from atlas.store.rows import fetch


@dataclass(frozen=True)
class LayerCount:
    """How many of a relation's, or of a selection's, knowledge neurons lie in a layer."""

    layer: int
    neurons: int  # distinct
    uses: int  # pairs of fact and neuron


@dataclass(frozen=True)
class LayerScore:
    """How much of a fact's score lies in a layer."""

    layer: int
    neurons: int  # the fact's knowledge neurons there
    score: float  # positive stored scores, mean over the fact's measured prompts


def layer_counts(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    relation_id: str | None = None,
) -> list[LayerCount]:
    """Every layer of the model, with the knowledge neurons of the relation, or of them all."""
    return fetch(
        connection,
        LayerCount,
        """
        WITH own AS (
            SELECT layer, neuron
            FROM all_neuron_facts
            WHERE selection_id = $selection_id
              AND ($relation_id IS NULL OR relation_id = $relation_id)
        )
        SELECT l.layer,
               count(DISTINCT own.neuron) AS neurons,
               count(own.neuron) AS uses
        FROM range($layers) AS l (layer)
        LEFT JOIN own USING (layer)
        GROUP BY l.layer
        ORDER BY l.layer
        """,
        {
            "selection_id": selection.selection_id,
            "relation_id": relation_id,
            "layers": selection.layers,
        },
    )


def layer_scores(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, fact_id: str
) -> list[LayerScore]:
    """Every layer of the model, with the fact's knowledge neurons and its score there."""
    return fetch(
        connection,
        LayerScore,
        """
        WITH asked AS MATERIALIZED (
            SELECT p.prompt_id
            FROM prompts AS p
            JOIN prompt_results AS m USING (prompt_id)
            WHERE p.fact_id = $fact_id
              AND m.run_id = $run_id
              AND m.skipped_because IS NULL
        ),
        scored AS (
            SELECT a.layer, sum(a.score) / (SELECT count(*) FROM asked) AS score
            FROM attributions AS a
            SEMI JOIN asked USING (prompt_id)
            WHERE a.run_id = $run_id
              AND a.score > 0
            GROUP BY a.layer
        ),
        chosen AS (
            SELECT layer, count(*) AS neurons
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
              AND fact_id = $fact_id
            GROUP BY layer
        )
        SELECT l.layer,
               coalesce(c.neurons, 0) AS neurons,
               coalesce(s.score, 0) AS score
        FROM range($layers) AS l (layer)
        LEFT JOIN scored AS s USING (layer)
        LEFT JOIN chosen AS c USING (layer)
        ORDER BY l.layer
        """,
        {
            "fact_id": fact_id,
            "run_id": selection.run_id,
            "selection_id": selection.selection_id,
            "layers": selection.layers,
        },
    )
