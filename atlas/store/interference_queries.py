"""How much a set of neurons matters to every fact, predicted from the stored scores.

A fact's *score mass* is the sum of its prompts' stored positive scores: what speaks for its answer
(negative scores speak against it, and would let a share leave 0 to 1). What a set of neurons is
predicted to interfere with fact G is the share of G's mass that lies on them:

    predicted(F -> G) = mass of G on F's knowledge neurons / mass of G

It has a direction: F's neurons may be all of G's while G's are few of F's. A fact's interference on
itself is the share of its mass that its own knowledge neurons hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from atlas.errors import NoScores
from atlas.store.rows import fetch, fetch_one


@dataclass(frozen=True)
class Interference:
    """What suppressing or editing some neurons is predicted to do to one fact."""

    relation_id: str
    relation: str
    fact_id: str
    subject: str
    object: str
    predicted: float  # share of the fact's score mass on those neurons, 0 to 1
    neurons: int  # of those neurons, the ones that carry mass of the fact


def predicted_interference(
    con: duckdb.DuckDBPyConnection,
    run_id: str,
    neurons: Sequence[tuple[int, int]],
    *,
    limit: int | None = None,
    zeros: bool = False,
) -> list[Interference]:
    """Every fact with mass on the neurons (layer, index), the most affected first.

    With `zeros`, facts that have mass but none on these neurons follow; facts without mass never
    have a row. Raises NoScores if nothing of the run is stored.
    """
    require_scores(con, run_id)
    return fetch(
        con,
        Interference,
        """
        WITH asked AS (
            SELECT DISTINCT
                   unnest($layers)::SMALLINT AS layer,
                   unnest($neurons)::INTEGER AS neuron
        ),
        hit AS (
            SELECT m.fact_id,
                   sum(m.share::DOUBLE) AS predicted,
                   count(*) AS neurons
            FROM fact_masses AS m
            JOIN asked USING (layer, neuron)
            WHERE m.run_id = $run_id
            GROUP BY m.fact_id
            UNION ALL
            SELECT DISTINCT m.fact_id, 0, 0
            FROM fact_masses AS m
            WHERE $zeros
              AND m.run_id = $run_id
              AND m.fact_id NOT IN (
                  SELECT o.fact_id
                  FROM fact_masses AS o
                  JOIN asked USING (layer, neuron)
                  WHERE o.run_id = $run_id
              )
        )
        SELECT f.relation_id,
               r.label AS relation,
               f.fact_id,
               f.subject,
               f.object,
               h.predicted,
               h.neurons
        FROM hit AS h
        JOIN facts AS f USING (fact_id)
        JOIN relations AS r USING (relation_id)
        ORDER BY h.predicted DESC, f.relation_id, f.subject, f.fact_id
        LIMIT $limit
        """,
        {
            "run_id": run_id,
            "layers": [layer for layer, _ in neurons],
            "neurons": [neuron for _, neuron in neurons],
            "zeros": zeros,
            "limit": limit,
        },
    )


def require_scores(con: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Raise NoScores unless the run has stored scores."""
    (scored,) = fetch_one(
        con,
        """
        SELECT EXISTS (
            FROM attributions
            WHERE run_id = $run_id
        )
        """,
        {"run_id": run_id},
    )
    if not scored:
        raise NoScores(
            f"run {run_id} has no scores, so interference cannot be predicted: ask a run that "
            "`atlas index` made (--run), or --shared and --neighbours, which need none"
        )
