"""What neurons' facts have in common: tested once a selection and stored, read without a model."""

import contextlib
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from atlas.errors import ReadOnlyAtlas
from atlas.meaning.associations import Drawn, false_discovery_rates, over_represented
from atlas.store import bulk
from atlas.store.atlas_file import AtlasFile
from atlas.store.rows import fetch, fetch_one

SIGNIFICANT = 0.05  # largest q that is stored
ASPECTS = ("relation", "subject", "object")


@dataclass(frozen=True)
class Association:
    """A relation, subject or object that a neuron's facts have more often than chance."""

    aspect: str  # relation | subject | object
    value: str
    label: str | None  # of a relation
    facts: int  # of the neuron's facts, those with this value
    expected: float  # if its facts were drawn at random from the selection's
    p_value: float  # hypergeometric, one-sided
    q_value: float  # Benjamini-Hochberg over all neurons and values of the aspect


def remember_associations(atlas: AtlasFile, selection_id: str) -> None:
    """Store what the selection's neurons are associated with, unless it is stored.

    An atlas that cannot be written stays as it is: its associations are computed at every look.
    """
    with atlas.reading() as connection:
        if has_associations(connection, selection_id):
            return
    with contextlib.suppress(ReadOnlyAtlas), atlas.writing() as connection:
        record_associations(connection, selection_id)


def has_associations(connection: duckdb.DuckDBPyConnection, selection_id: str) -> bool:
    """Whether the selection's associations are computed, be it that none is significant."""
    (found,) = fetch_one(
        connection,
        """
        SELECT coalesce(bool_or(associated), FALSE)
        FROM selections
        WHERE selection_id = ?
        """,
        [selection_id],
    )
    return bool(found)


def record_associations(connection: duckdb.DuckDBPyConnection, selection_id: str) -> None:
    """Test every neuron of a selection against every value, and store what is significant.

    The facts drawn from are those with a measured prompt, whether or not they have a neuron; of
    published neurons, those with a neuron.
    """
    _record(connection, selection_id, "neuron_associations")
    connection.execute(
        """
        UPDATE selections
        SET associated = TRUE
        WHERE selection_id = ?
        """,
        [selection_id],
    )


def _record(connection: duckdb.DuckDBPyConnection, selection_id: str, table: str) -> None:
    connection.execute(f"DELETE FROM {table} WHERE selection_id = ?", [selection_id])
    for aspect in ASPECTS:
        columns = _significant(connection, selection_id, aspect)
        if columns["layer"]:
            bulk.insert(connection, table, columns)


def associations_of(
    connection: duckdb.DuckDBPyConnection, selection_id: str, layer: int, neuron: int
) -> list[Association]:
    """A neuron's significant associations, the surest first within each aspect.

    They are those stored; of a selection whose associations are not, computed now and forgotten.
    """
    table = "neuron_associations"
    if not has_associations(connection, selection_id):
        table = "unstored_associations"  # also a read-only file takes temporary tables
        connection.execute(
            f"""
            CREATE OR REPLACE TEMPORARY TABLE {table} AS
            FROM neuron_associations
            LIMIT 0
            """
        )
        _record(connection, selection_id, table)
    return fetch(
        connection,
        Association,
        f"""
        SELECT a.aspect, a.value, r.label, a.facts, a.expected, a.p_value, a.q_value
        FROM {table} AS a
        LEFT JOIN relations AS r
          ON a.aspect = 'relation'
         AND r.relation_id = a.value
        WHERE a.selection_id = ?
          AND a.layer = ?
          AND a.neuron = ?
        ORDER BY list_position(['relation', 'subject', 'object'], a.aspect),
                 a.q_value, a.facts DESC, a.value
        """,
        [selection_id, layer, neuron],
    )


def _significant(
    connection: duckdb.DuckDBPyConnection, selection_id: str, aspect: str
) -> dict[str, list[Any]]:
    column = {"relation": "relation_id", "subject": "subject", "object": "object"}[aspect]
    found = connection.execute(
        f"""
        WITH covered AS (
            SELECT f.fact_id, f.{column} AS value
            FROM facts AS f
            JOIN selections AS s ON s.selection_id = $selection_id
            WHERE f.fact_id IN (SELECT fact_id
                                FROM knowledge_neurons
                                WHERE selection_id = $selection_id)
               OR f.fact_id IN (SELECT p.fact_id
                                FROM prompts AS p
                                JOIN prompt_results AS m USING (prompt_id)
                                WHERE m.run_id = s.run_id
                                  AND m.skipped_because IS NULL)
        ),
        own AS (
            SELECT k.layer, k.neuron, c.value, count(*) AS found
            FROM knowledge_neurons AS k
            JOIN covered AS c USING (fact_id)
            WHERE k.selection_id = $selection_id
            GROUP BY k.layer, k.neuron, c.value
        ),
        marked AS (
            SELECT value, count(*) AS marked
            FROM covered
            GROUP BY value
        ),
        drawn AS (
            SELECT layer, neuron, sum(found) AS drawn
            FROM own
            GROUP BY layer, neuron
        ),
        totals AS (
            SELECT (SELECT count(*) FROM covered) AS total,
                   (SELECT count(*) FROM marked) * (SELECT count(*) FROM drawn) AS tests
        )
        SELECT o.layer, o.neuron, o.value, o.found, m.marked, d.drawn, t.total, t.tests
        FROM own AS o
        JOIN marked AS m USING (value)
        JOIN drawn AS d USING (layer, neuron)
        CROSS JOIN totals AS t
        WHERE o.found * t.total > m.marked * d.drawn
        ORDER BY o.layer, o.neuron, o.value
        """,
        {"selection_id": selection_id},
    ).fetchnumpy()
    if not len(found["layer"]):
        return {"layer": []}
    tests = Drawn(
        found["total"].item(0),
        *(np.asarray(found[name], np.int64) for name in ("marked", "drawn", "found")),
    )
    p = over_represented(tests)
    # The pairs left out lie at or below what is expected: their p is far above any that matters.
    q = false_discovery_rates(p, found["tests"].item(0))
    kept = np.flatnonzero(q <= SIGNIFICANT)
    return {
        "selection_id": [selection_id] * len(kept),
        "layer": found["layer"][kept].tolist(),
        "neuron": found["neuron"][kept].tolist(),
        "aspect": [aspect] * len(kept),
        "value": [str(value) for value in found["value"][kept]],
        "facts": tests.found[kept].tolist(),
        "expected": tests.expected[kept].tolist(),
        "p_value": p[kept].tolist(),
        "q_value": q[kept].tolist(),
    }
