"""What is derived from a selection: one list, for selecting anew and for deleting.

What an edit did to prompts (edit_outcomes, side_effects) is not: it was measured on the edit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from atlas.store import bulk

_OF_RELATIONS = "fact_id IN (SELECT fact_id FROM facts SEMI JOIN renewed USING (relation_id))"
_OF_CHANGED = "fact_id IN (SELECT fact_id FROM changed)"
_OF_ANY_OR_CHANGED = f"fact_id IS NULL OR {_OF_CHANGED}"

# Table, and which of its rows go when the neurons of some relations, `renewed`, are chosen anew:
# all that speak of these relations, or of facts whose neurons are others than before, `changed`.
DERIVED = {
    "knowledge_neurons": _OF_RELATIONS,
    "neuron_stability": _OF_RELATIONS,
    "fact_stability": _OF_RELATIONS,
    "selection_relations": "relation_id IN (SELECT relation_id FROM renewed)",
    "relation_overlaps": """relation_a IN (SELECT relation_id FROM renewed)
           OR relation_b IN (SELECT relation_id FROM renewed)""",
    "neuron_associations": "TRUE",  # each is corrected for the tests of all others
    "interactions": _OF_CHANGED,
    "fact_interactions": _OF_CHANGED,
    "specificity_facts": _OF_CHANGED,
    "specificity_effects": _OF_CHANGED,
    "neuron_specificity": _OF_CHANGED,
    "experiments": "TRUE",
    "experiment_items": _OF_ANY_OR_CHANGED,
    "experiment_rows": _OF_ANY_OR_CHANGED,
    "experiment_claims": "TRUE",
    "interference_measurements": "source_fact IN (SELECT fact_id FROM changed)",
}


def discard(connection: duckdb.DuckDBPyConnection, selection_id: str) -> None:
    """Delete everything that is derived from the selection."""
    for table in DERIVED:
        connection.execute(
            f"""
            DELETE FROM {table}
            WHERE selection_id = $selection_id
            """,
            {"selection_id": selection_id},
        )


def discard_outdated(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    relations: Sequence[str],
    chosen: str,
) -> None:
    """Delete what does not hold any more once these relations have other neurons.

    chosen: a table of their new knowledge neurons (fact_id, layer, neuron), all of them.
    """
    connection.execute(
        """
        CREATE OR REPLACE TEMPORARY TABLE renewed AS
        SELECT unnest($relations) AS relation_id
        """,
        {"relations": list(relations)},
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE changed AS
        WITH earlier AS (
            SELECT fact_id,
                   list((layer, neuron) ORDER BY layer, neuron) AS neurons
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
              AND {_OF_RELATIONS}
            GROUP BY fact_id
        ),
        now AS (
            SELECT fact_id,
                   list((layer, neuron) ORDER BY layer, neuron) AS neurons
            FROM {chosen}
            GROUP BY fact_id
        )
        SELECT e.fact_id
        FROM earlier AS e
        LEFT JOIN now AS n USING (fact_id)
        WHERE n.neurons IS DISTINCT FROM e.neurons
        """,
        {"selection_id": selection_id},
    )
    for table, outdated in DERIVED.items():
        connection.execute(
            f"""
            DELETE FROM {table}
            WHERE selection_id = $selection_id
              AND ({outdated})
            """,
            {"selection_id": selection_id},
        )
    connection.execute("DROP TABLE renewed")
    connection.execute("DROP TABLE changed")
    connection.execute(
        """
        UPDATE selections
        SET associated = FALSE
        WHERE selection_id = $selection_id
          AND associated
        """,
        {"selection_id": selection_id},
    )


def replace_of_facts(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    fact_ids: Sequence[str],
    rows_of: Mapping[str, Sequence[Any]],
) -> None:
    """Put rows, by table, in the place of what these tables hold of the facts.

    Rows are dataclasses with the table's columns; a table may get none.
    """
    for table, rows in rows_of.items():
        connection.execute(
            f"""
            DELETE FROM {table}
            WHERE selection_id = $selection_id
              AND fact_id IN $fact_ids
            """,
            {"selection_id": selection_id, "fact_ids": list(fact_ids)},
        )
        bulk.insert_records(connection, table, rows)
