"""In which layers knowledge neurons lie, and in which a fact's score does."""

from collections.abc import Sequence
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
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
              AND ($relation_id IS NULL
                   OR fact_id IN (SELECT fact_id FROM facts WHERE relation_id = $relation_id))
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


@dataclass(frozen=True)
class _ScoreOfFact(LayerScore):
    fact_id: str


def layer_scores(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, fact_ids: Sequence[str]
) -> dict[str, list[LayerScore]]:
    """Every layer of the model, with each fact's knowledge neurons and its score there."""
    rows = fetch(
        connection,
        _ScoreOfFact,
        """
        WITH asked AS MATERIALIZED (
            SELECT p.prompt_id, p.fact_id
            FROM prompts AS p
            JOIN prompt_results AS m USING (prompt_id)
            WHERE p.fact_id IN $fact_ids
              AND m.run_id = $run_id
              AND m.skipped_because IS NULL
        ),
        prompts AS (
            SELECT fact_id, count(*) AS prompts
            FROM asked
            GROUP BY fact_id
        ),
        scored AS (
            SELECT q.fact_id, a.layer, sum(a.score) AS score
            FROM attributions AS a
            JOIN asked AS q USING (prompt_id)
            WHERE a.run_id = $run_id
              AND a.score > 0
            GROUP BY q.fact_id, a.layer
        ),
        chosen AS (
            SELECT fact_id, layer, count(*) AS neurons
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
              AND fact_id IN $fact_ids
            GROUP BY fact_id, layer
        )
        SELECT f.fact_id,
               l.layer,
               coalesce(c.neurons, 0) AS neurons,
               coalesce(s.score / p.prompts, 0) AS score
        FROM (SELECT unnest($fact_ids) AS fact_id) AS f
        CROSS JOIN range($layers) AS l (layer)
        LEFT JOIN prompts AS p USING (fact_id)
        LEFT JOIN scored AS s USING (fact_id, layer)
        LEFT JOIN chosen AS c USING (fact_id, layer)
        ORDER BY f.fact_id, l.layer
        """,
        {
            "fact_ids": list(fact_ids),
            "run_id": selection.run_id,
            "selection_id": selection.selection_id,
            "layers": selection.layers,
        },
    )
    found: dict[str, list[LayerScore]] = {fact_id: [] for fact_id in fact_ids}
    for row in rows:
        found[row.fact_id].append(LayerScore(row.layer, row.neurons, row.score))
    return found
