"""By how much suppressing neurons is predicted to change log P(answer), with its sign.

Scores are signed: a neuron's is what P(answer) would lose without it, to first order, and a
negative one what P would gain. Without the neurons N, a prompt's log P is predicted to change by

    predicted Δ log P = −Σ_{i in N} score_i / P

and a fact's by the mean over its prompts. Scores that were too small to be stored count as 0. The
share of score mass (see predicted.py) knows no sign: a fact whose negative scores lie on the
neurons gains without them.
"""

from collections.abc import Sequence

import duckdb


def predicted_changes(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    neurons: Sequence[tuple[int, int]],
    fact_ids: Sequence[str],
) -> dict[str, float]:
    """Predicted Δ log P, in nats, of each of the facts that has a measured prompt."""
    rows = connection.execute(
        """
        WITH suppressed AS (
            SELECT DISTINCT
                   unnest($layers)::SMALLINT AS layer,
                   unnest($neurons)::INTEGER AS neuron
        ),
        asked AS MATERIALIZED (
            SELECT p.fact_id,
                   r.prompt_id,
                   r.p_answer
            FROM prompt_results AS r
            JOIN prompts AS p USING (prompt_id)
            WHERE r.run_id = $run_id
              AND r.skipped_because IS NULL
              AND p.fact_id IN $fact_ids
        ),
        near AS MATERIALIZED (  -- or the join of neurons would come first, and reads all scores
            SELECT prompt_id, layer, neuron, score
            FROM attributions
            SEMI JOIN asked USING (prompt_id)
            WHERE run_id = $run_id
              AND neuron IN $neurons
        ),
        scored AS (
            SELECT prompt_id,
                   list_sum(list_sort(list(score::DOUBLE))) AS score
            FROM near
            JOIN suppressed USING (layer, neuron)
            GROUP BY prompt_id
        )
        SELECT q.fact_id,
               list_avg(list_sort(list(
                   CASE WHEN q.p_answer > 0 THEN -coalesce(s.score, 0) / q.p_answer ELSE 0 END
               )))
        FROM asked AS q
        LEFT JOIN scored AS s USING (prompt_id)
        GROUP BY q.fact_id
        """,
        {
            "run_id": run_id,
            "layers": [layer for layer, _ in neurons],
            "neurons": [neuron for _, neuron in neurons],
            "fact_ids": list(fact_ids),
        },
    ).fetchall()
    return dict(rows)
