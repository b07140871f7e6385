"""Leaving out neurons that other facts have as well: those of the answer, those of the template.

`answer`: a neuron of a fact is left out if it was also chosen for at least half of the other facts
with the same object, in any relation, by the same thresholds: it holds up the answer wherever that
is due. Facts with the same subject and object (Paris lies in France, and is its capital) are nearly
the fact itself and do not count.

`template`: a neuron is left out if it was also chosen for at least half of the facts of the same
relation that have another subject and another object. These are asked by the same templates, so
that what they have in common with the fact is how it is asked, and none of what is known.

Where there is no other fact of the kind nothing can be told, and the neurons stay: they are
unjudged.
"""

from dataclasses import dataclass

import duckdb

from atlas.store.rows import fetch


@dataclass(frozen=True)
class LeftOut:
    """What became of a relation's neurons, each counted once a fact."""

    relation_id: str
    left_out: int
    unjudged: int  # of those that stay: neurons of facts that no other fact is there to judge


_FACTS = """
    SELECT k.fact_id,
           f.relation_id,
           lower(nfc_normalize(f.subject)) AS subject,
           lower(nfc_normalize(f.object)) AS object
    FROM all_fact_knowledge AS k
    JOIN facts AS f USING (fact_id)
    WHERE k.run_id = $run_id
      AND (k.known OR NOT $known_only)
"""

_ANSWER = """
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
"""

# All of a relation, less those with the subject or the object, of which some have both.
_TEMPLATE = """
    alike AS (
        SELECT fact_id,
               relation_id,
               subject,
               object,
               count(*) OVER (PARTITION BY relation_id)
                   - count(*) OVER (PARTITION BY relation_id, subject)
                   - count(*) OVER (PARTITION BY relation_id, object)
                   + count(*) OVER (PARTITION BY relation_id, subject, object) AS others
        FROM facts_of_run
    )
    SELECT c.fact_id,
           a.relation_id,
           c.layer,
           c.neuron,
           a.others,
           count(*) OVER (PARTITION BY c.layer, c.neuron, relation_id)
               - count(*) OVER (PARTITION BY c.layer, c.neuron, relation_id, subject)
               - count(*) OVER (PARTITION BY c.layer, c.neuron, relation_id, object)
               + count(*) OVER (PARTITION BY c.layer, c.neuron, relation_id, subject, object)
               AS other_serving
    FROM chosen AS c
    JOIN alike AS a USING (fact_id)
"""

# By the names of `thresholds.AGAINST`: for each chosen neuron of a fact, how many other facts there
# are to judge it by, and how many of them it serves.
_JUDGED = {"answer": _ANSWER, "template": _TEMPLATE}


def leave_out(
    connection: duckdb.DuckDBPyConnection, run_id: str, known_only: bool, against: str
) -> list[LeftOut]:
    """Take from the table `chosen` what serves other facts of the kind; one row a relation.

    `chosen` (fact_id, layer, neuron, …) holds the neurons of all facts of the run; facts without
    any count among the others. against: a name in `thresholds.AGAINST`.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE judged AS
        WITH facts_of_run AS (
            {_FACTS}
        ),
        {_JUDGED[against]}
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
