"""How many knowledge neurons facts share, relation by relation: exact, from neuron degrees.

With n_r(i) the number of relation r's facts that neuron i serves, all unordered pairs of different
facts together share

    sum_i C(n_a(i), 2)          within relation a, over C(N_a, 2) pairs
    sum_i n_a(i) * n_b(i)       across relations a and b, over N_a * N_b pairs

neurons, so that no pair is ever enumerated and none is sampled. N_r counts the relation's facts
with a measured prompt (of an imported run: the facts that the import lists), those without any
knowledge neuron included: it is `selection_relations.facts`.
"""

from collections.abc import Sequence

import duckdb

from atlas.selection.degrees import relation_degrees


def refresh_overlaps(
    connection: duckdb.DuckDBPyConnection, selection_id: str, relations: Sequence[str] | None = None
) -> None:
    """Put the figures of every pair that one of these relations (None: all) is part of in place.

    Reads knowledge_neurons and selection_relations, writes relation_overlaps; the result depends
    on nothing but those two, so that a selection made piecemeal ends with the same rows. Whoever
    writes knowledge neurons calls this in the same transaction.
    """
    changed = {
        "selection_id": selection_id,
        "relations": None if relations is None else list(relations),
    }
    connection.execute(
        """
        DELETE FROM relation_overlaps
        WHERE selection_id = $selection_id
          AND ($relations IS NULL OR relation_a IN $relations OR relation_b IN $relations)
        """,
        changed,
    )
    connection.execute(
        f"""
        INSERT INTO relation_overlaps (
            selection_id, relation_a, relation_b, fact_pairs, shared_by_fact_pairs,
            mean_shared_neurons, neurons_a, neurons_b, neurons_both, jaccard
        )
        WITH degrees AS (
            {relation_degrees()}
        ),
        common AS (
            SELECT a.relation_id AS relation_a,
                   b.relation_id AS relation_b,
                   count(*) AS neurons,
                   sum(CASE WHEN a.relation_id = b.relation_id THEN a.facts * (a.facts - 1) // 2
                            ELSE a.facts * b.facts END) AS shared
            FROM degrees AS a
            JOIN degrees AS b USING (layer, neuron)
            WHERE a.relation_id <= b.relation_id
              AND ($relations IS NULL
                   OR a.relation_id IN $relations
                   OR b.relation_id IN $relations)
            GROUP BY a.relation_id, b.relation_id
        ),
        chosen AS (
            SELECT s.relation_id,
                   s.facts::BIGINT AS facts,
                   count(d.neuron) AS neurons
            FROM selection_relations AS s
            LEFT JOIN degrees AS d USING (relation_id)
            WHERE s.selection_id = $selection_id
            GROUP BY s.relation_id, s.facts
        ),
        pairs AS (
            SELECT a.relation_id AS relation_a,
                   b.relation_id AS relation_b,
                   CASE WHEN a.relation_id = b.relation_id THEN a.facts * (a.facts - 1) // 2
                        ELSE a.facts * b.facts END AS fact_pairs,
                   coalesce(c.shared, 0)::BIGINT AS shared,
                   a.neurons AS neurons_a,
                   b.neurons AS neurons_b,
                   coalesce(c.neurons, 0) AS neurons_both
            FROM chosen AS a
            JOIN chosen AS b
              ON a.relation_id <= b.relation_id
             AND ($relations IS NULL
                  OR a.relation_id IN $relations
                  OR b.relation_id IN $relations)
            LEFT JOIN common AS c
              ON c.relation_a = a.relation_id
             AND c.relation_b = b.relation_id
        )
        SELECT $selection_id,
               relation_a,
               relation_b,
               fact_pairs,
               shared,
               shared / nullif(fact_pairs, 0),
               neurons_a,
               neurons_b,
               neurons_both,
               neurons_both / nullif(neurons_a + neurons_b - neurons_both, 0)
        FROM pairs
        ORDER BY relation_a, relation_b
        """,
        changed,
    )
