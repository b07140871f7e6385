"""What facts without any knowledge neuron are short of, from the stored scores."""

from dataclasses import dataclass

import duckdb

from atlas.selection.chosen import ChosenSelection
from atlas.store.rows import fetch


@dataclass(frozen=True)
class NearMiss:
    """What a fact without any knowledge neuron is short of, at the selection's ratio."""

    fact_id: str
    layer: int  # of the neuron that passes in most of the fact's prompts
    neuron: int
    passes: int  # prompts
    measured: int
    at_half: int  # neurons that pass in half of the prompts or more


def near_misses(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, ids: list[str]
) -> list[NearMiss]:
    """What lower thresholds would give these facts; nothing where there are no scores."""
    if not ids or selection.ratio is None:
        return []
    return fetch(
        connection,
        NearMiss,
        """
        WITH asked AS (
            SELECT p.fact_id,
                   p.prompt_id,
                   m.max_score,
                   count(*) OVER (PARTITION BY p.fact_id) AS measured
            FROM prompts AS p
            JOIN prompt_results AS m USING (prompt_id)
            WHERE p.fact_id IN $ids
              AND m.run_id = $run_id
              AND m.skipped_because IS NULL
        ),
        passing AS (
            SELECT a.fact_id,
                   s.layer,
                   s.neuron,
                   count(*) AS passes,
                   any_value(a.measured) AS measured,
                   sum(s.score) AS score
            FROM attributions AS s
            JOIN asked AS a USING (prompt_id)
            WHERE s.run_id = $run_id
              AND s.score > 0
              AND s.score::DOUBLE >= $ratio * a.max_score::DOUBLE
            GROUP BY a.fact_id, s.layer, s.neuron
        )
        SELECT fact_id,
               layer,
               neuron,
               passes,
               measured,
               count(*) FILTER (2 * passes >= measured) OVER (PARTITION BY fact_id) AS at_half
        FROM passing
        QUALIFY row_number() OVER (
            PARTITION BY fact_id
            ORDER BY passes DESC, score DESC, layer, neuron
        ) = 1
        ORDER BY fact_id
        """,
        {"ids": ids, "run_id": selection.run_id, "ratio": selection.ratio},
    )
