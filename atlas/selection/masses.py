"""Where a fact's score mass lies: its prompts' stored positive scores, summed neuron by neuron.

Negative scores speak against the answer; with them, a share of the mass could leave 0 to 1. Shares
are of the mass on all neurons, which prompts have kept beside the stored scores; of a fact with a
prompt that has not (it was measured before), they are of the stored mass.
The table is an aggregate of attributions, a fifth of their rows or fewer, without which the
interference of one fact on a million others would read every score of the run.
"""

from collections.abc import Mapping

import duckdb

from atlas.store.rows import fetch_one


def refresh_masses(
    connection: duckdb.DuckDBPyConnection, run_id: str, measured: Mapping[str, int]
) -> None:
    """Put the masses of facts in place, relation by relation, from the scores that the run has now.

    measured: how many prompts of a relation the run has measured; the relations that a selection of
    the run has seen with as many are up to date. Called before a selection is written, in the same
    transaction; the rows depend on nothing but the stored scores, not on their order.
    """
    seen = set(
        connection.execute(
            """
            SELECT r.relation_id, r.prompts
            FROM selection_relations AS r
            JOIN selections AS s USING (selection_id)
            WHERE s.run_id = $run_id
            """,
            {"run_id": run_id},
        ).fetchall()
    )
    outdated = [relation for relation in measured.items() if relation not in seen]
    if outdated:
        _replace(connection, run_id, [relation_id for relation_id, _ in outdated])


def of_stored_mass(connection: duckdb.DuckDBPyConnection, run_id: str) -> bool:
    """Whether shares of the run, or some of them, are of the stored mass alone."""
    (stored,) = fetch_one(
        connection,
        """
        SELECT EXISTS (
            FROM prompt_results
            WHERE run_id = $run_id
              AND skipped_because IS NULL
              AND positive_mass IS NULL
        )
        """,
        {"run_id": run_id},
    )
    return bool(stored)


def _replace(connection: duckdb.DuckDBPyConnection, run_id: str, relations: list[str]) -> None:
    asked = {"run_id": run_id, "relations": relations}
    connection.execute(
        """
        DELETE FROM fact_masses
        WHERE run_id = $run_id
          AND fact_id IN (SELECT fact_id FROM facts WHERE relation_id IN $relations)
        """,
        asked,
    )
    connection.execute(
        """
        INSERT INTO fact_masses (run_id, fact_id, layer, neuron, mass, share)
        WITH masses AS (
            SELECT p.fact_id,
                   a.layer,
                   a.neuron,
                   list_sum(list_sort(list(a.score::DOUBLE))) AS mass
            FROM attributions AS a
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            WHERE a.run_id = $run_id
              AND a.score > 0
              AND f.relation_id IN $relations
            GROUP BY p.fact_id, a.layer, a.neuron
        ),
        stored AS (
            SELECT fact_id,
                   list_sum(list_sort(list(mass))) AS mass
            FROM masses
            GROUP BY fact_id
        ),
        totals AS (
            SELECT p.fact_id,
                   list_sum(list_sort(list(r.positive_mass))) AS mass
            FROM prompt_results AS r
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            WHERE r.run_id = $run_id
              AND r.skipped_because IS NULL
              AND f.relation_id IN $relations
            GROUP BY p.fact_id
            HAVING count(*) = count(r.positive_mass)
        )
        SELECT $run_id, m.fact_id, m.layer, m.neuron, m.mass, m.mass / coalesce(t.mass, s.mass)
        FROM masses AS m
        JOIN stored AS s USING (fact_id)
        LEFT JOIN totals AS t USING (fact_id)
        ORDER BY m.fact_id, m.layer, m.neuron
        """,
        asked,
    )
