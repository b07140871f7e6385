"""Which facts a selection is of: those that its neurons are counted over, with or without any."""

import duckdb

from atlas.selection.chosen import ChosenSelection


def cover(connection: duckdb.DuckDBPyConnection, selection: ChosenSelection) -> None:
    """Make the table covered_facts (fact_id, relation_id, subject, object), of this connection.

    Facts count that have a measured prompt, in a selection of known facts those that are known. A
    run without prompts (an imported one) tells no fact without neurons by name, so of a relation
    that the atlas holds more facts of, only those with neurons count here.
    """
    parameters = {
        "selection_id": selection.selection_id,
        "null": selection.null_of is not None,
    }
    # Of most relations every fact counts, which spares a look at the run's prompts.
    partial = [
        relation_id
        for (relation_id,) in connection.execute(
            """
            SELECT s.relation_id
            FROM selection_relations AS s
            JOIN facts AS f USING (relation_id)
            WHERE s.selection_id = $selection_id
              AND (f.null_of IS NOT NULL) = $null
            GROUP BY s.relation_id, s.facts
            HAVING count(*) <> s.facts
            """,
            parameters,
        ).fetchall()
    ]
    connection.execute(
        """
        CREATE OR REPLACE TEMPORARY TABLE covered_facts AS
        SELECT f.fact_id, f.relation_id, f.subject, f.object
        FROM facts AS f
        SEMI JOIN selection_relations AS s
          ON s.selection_id = $selection_id
         AND s.relation_id = f.relation_id
        WHERE NOT list_contains($partial, f.relation_id)
          AND (f.null_of IS NOT NULL) = $null
        """,
        {**parameters, "partial": partial},
    )
    if partial:
        connection.execute(
            """
            INSERT INTO covered_facts
            SELECT f.fact_id, f.relation_id, f.subject, f.object
            FROM facts AS f
            WHERE list_contains($partial, f.relation_id)
              AND (f.fact_id IN (
                       SELECT fact_id
                       FROM all_fact_knowledge
                       WHERE run_id = $run_id
                         AND (known OR NOT $known_only)
                   )
                   OR f.fact_id IN (
                       SELECT fact_id
                       FROM knowledge_neurons
                       WHERE selection_id = $selection_id
                   ))
            """,
            {
                "selection_id": selection.selection_id,
                "partial": partial,
                "run_id": selection.run_id,
                "known_only": bool(selection.known_only),
            },
        )
