"""Leaving out neurons that serve a fact's answer wherever it is due: they hold up the answer.

A neuron of a fact is left out if it was also chosen for at least half of the other facts with the
same object, in any relation, by the same thresholds. Facts with the same subject and object (Paris
lies in France, and is its capital) are nearly the fact itself and do not count. Where there is no
other fact with the object, nothing can be told, and the neurons stay: they are unjudged.
"""

from dataclasses import dataclass

import duckdb

from atlas.store.rows import fetch


@dataclass(frozen=True)
class LeftOut:
    """What became of a relation's neurons, each counted once a fact."""

    relation_id: str
    left_out: int
    unjudged: int  # of those that stay: neurons of facts whose object no other fact has


def leave_out_answers(
    connection: duckdb.DuckDBPyConnection, run_id: str, known_only: bool
) -> list[LeftOut]:
    """Take from the table `chosen` what serves the same answer elsewhere; one row a relation.

    `chosen` (fact_id, layer, neuron, …) holds the neurons of all facts of the run; facts without
    any count among the others.
    """
    connection.execute(
        """
        CREATE OR REPLACE TEMPORARY TABLE judged AS
        WITH facts_of_run AS (
            SELECT k.fact_id,
                   f.relation_id,
                   lower(nfc_normalize(f.subject)) AS subject,
                   lower(nfc_normalize(f.object)) AS object
            FROM all_fact_knowledge AS k
            JOIN facts AS f USING (fact_id)
            WHERE k.run_id = $run_id
              AND (k.known OR NOT $known_only)
        ),
        -- facts of one subject and object are one to the others, which counts them once
        with_object AS (
            SELECT object,
                   count(DISTINCT subject) AS subjects
            FROM facts_of_run
            GROUP BY object
        ),
        serving AS (
            SELECT r.object,
                   c.layer,
                   c.neuron,
                   count(DISTINCT r.subject) AS subjects
            FROM chosen AS c
            JOIN facts_of_run AS r USING (fact_id)
            GROUP BY r.object, c.layer, c.neuron
        )
        SELECT c.fact_id,
               r.relation_id,
               c.layer,
               c.neuron,
               w.subjects - 1 AS others,
               s.subjects - 1 AS other_serving
        FROM chosen AS c
        JOIN facts_of_run AS r USING (fact_id)
        JOIN with_object AS w USING (object)
        JOIN serving AS s
          ON s.object = r.object
         AND s.layer = c.layer
         AND s.neuron = c.neuron
        """,
        {"run_id": run_id, "known_only": known_only},
    )
    connection.execute(
        """
        DELETE FROM chosen AS c
        USING judged AS j
        WHERE j.fact_id = c.fact_id
          AND j.layer = c.layer
          AND j.neuron = c.neuron
          AND j.others > 0
          AND 2 * j.other_serving >= j.others
        """
    )
    found = fetch(
        connection,
        LeftOut,
        """
        SELECT relation_id,
               count(*) FILTER (others > 0 AND 2 * other_serving >= others) AS left_out,
               count(*) FILTER (others = 0) AS unjudged
        FROM judged
        GROUP BY relation_id
        ORDER BY relation_id
        """,
    )
    connection.execute("DROP TABLE judged")
    return found
