"""What neurons' facts have in common: tested once a selection and stored, read without a model."""

import contextlib
import os
import threading
from dataclasses import dataclass, fields
from typing import Any

import duckdb
import numpy as np

from atlas.errors import ReadOnlyAtlas
from atlas.meaning.associations import (
    Drawn,
    Strata,
    false_discovery_rates,
    over_represented,
    over_represented_within,
)
from atlas.selection.chosen import find_selection
from atlas.selection.covered import cover
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
    expected_within_objects: float | None  # with the objects of its facts as they are
    p_within_objects: float | None  # of a relation: exact, stratified by object; see associations
    q_within_objects: float | None  # the same corrected for as many tests

    @property
    def named(self) -> str:
        """What it is of, as people call it: a relation by its label and id."""
        return self.value if self.label is None else f"{self.label} ({self.value})"


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
               -- stored before tests held the object fixed: to be computed anew
               AND NOT EXISTS (FROM neuron_associations
                               WHERE selection_id = $selection_id
                                 AND aspect = 'relation'
                                 AND p_within_objects IS NULL)
        FROM selections
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    )
    return bool(found)


def record_associations(connection: duckdb.DuckDBPyConnection, selection_id: str) -> None:
    """Test every neuron of a selection against every value, and store what is significant.

    The facts drawn from are those that the selection covers, whether or not they have a neuron.
    Relations that are significant are tested once more with the objects held fixed, and corrected
    for all tests of relations.
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
    selection = find_selection(connection, selection_id)
    assert selection is not None
    cover(connection, selection)
    for aspect in ASPECTS:
        columns = _significant(connection, selection_id, aspect)
        if columns["layer"]:
            bulk.insert(connection, table, columns)


def associations_of(
    connection: duckdb.DuckDBPyConnection, selection_id: str, layer: int, neuron: int
) -> list[Association]:
    """A neuron's significant associations, the surest first within each aspect.

    They are those stored; of a selection whose associations are not, those computed now, for all
    neurons at once, and remembered by this process until the file changes.
    """
    if not has_associations(connection, selection_id):
        return _computed(connection, selection_id).get((layer, neuron), [])
    found = _read(connection, "neuron_associations", selection_id, (layer, neuron))
    return found.get((layer, neuron), [])


_Associations = dict[tuple[int, int], list[Association]]
_remembered: dict[tuple[str, int, int, str], _Associations] = {}  # the latest alone
_computing = threading.Lock()


def _computed(connection: duckdb.DuckDBPyConnection, selection_id: str) -> _Associations:
    (file,) = fetch_one(
        connection, "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
    )
    written = os.stat(file)
    key = (str(file), written.st_mtime_ns, written.st_size, selection_id)
    with _computing:
        if key not in _remembered:
            table = "unstored_associations"  # also a read-only file takes temporary tables
            connection.execute(
                f"""
                CREATE OR REPLACE TEMPORARY TABLE {table} AS
                FROM neuron_associations
                LIMIT 0
                """
            )
            _record(connection, selection_id, table)
            found = _read(connection, table, selection_id)
            _remembered.clear()
            _remembered[key] = found
        return _remembered[key]


@dataclass(frozen=True)
class _OfNeuron(Association):
    layer: int
    neuron: int


def _read(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    selection_id: str,
    neuron: tuple[int, int] | None = None,
) -> _Associations:
    """The associations in a table, of all neurons or of one."""
    layer, number = neuron or (None, None)
    rows = fetch(
        connection,
        _OfNeuron,
        f"""
        SELECT a.layer, a.neuron, a.aspect, a.value, r.label, a.facts, a.expected, a.p_value,
               a.q_value, a.expected_within_objects, a.p_within_objects, a.q_within_objects
        FROM {table} AS a
        LEFT JOIN relations AS r
          ON a.aspect = 'relation'
         AND r.relation_id = a.value
        WHERE a.selection_id = $selection_id
          AND ($layer IS NULL OR (a.layer = $layer AND a.neuron = $neuron))
        ORDER BY list_position(['relation', 'subject', 'object'], a.aspect),
                 a.q_value, a.facts DESC, a.value
        """,
        {"selection_id": selection_id, "layer": layer, "neuron": number},
    )
    found: _Associations = {}
    for row in rows:
        own = {f.name: getattr(row, f.name) for f in fields(Association)}
        found.setdefault((row.layer, row.neuron), []).append(Association(**own))
    return found


def _significant(
    connection: duckdb.DuckDBPyConnection, selection_id: str, aspect: str
) -> dict[str, list[Any]]:
    column = {"relation": "relation_id", "subject": "subject", "object": "object"}[aspect]
    found = connection.execute(
        f"""
        WITH covered AS (
            SELECT fact_id, {column} AS value
            FROM covered_facts
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
    columns = {
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
    if aspect == "relation" and len(kept):
        columns |= _within_objects(connection, columns, found["tests"].item(0))
    return columns


def _within_objects(
    connection: duckdb.DuckDBPyConnection, columns: dict[str, list[Any]], tests: int
) -> dict[str, list[Any]]:
    """The same tests with the object held fixed: each object's facts are a stratum."""
    tested = {name: columns[name] for name in ("layer", "neuron", "value")}
    with bulk.offered(connection, {"test": range(len(columns["value"])), **tested}):
        rows = connection.execute(
            f"""
            WITH sizes AS (
                SELECT object, count(*) AS total
                FROM covered_facts
                GROUP BY object
            ),
            marked AS (
                SELECT object, relation_id, count(*) AS marked
                FROM covered_facts
                GROUP BY object, relation_id
            ),
            drawn AS (
                SELECT k.layer, k.neuron, c.object, count(*) AS drawn
                FROM knowledge_neurons AS k
                JOIN covered_facts AS c USING (fact_id)
                WHERE k.selection_id = $selection_id
                GROUP BY k.layer, k.neuron, c.object
            )
            SELECT t.test, s.total, m.marked, d.drawn
            FROM {bulk.OFFERED} AS t
            JOIN marked AS m ON m.relation_id = t.value
            JOIN drawn AS d ON d.layer = t.layer AND d.neuron = t.neuron AND d.object = m.object
            JOIN sizes AS s ON s.object = m.object
            ORDER BY t.test, m.object
            """,
            {"selection_id": columns["selection_id"][0]},
        ).fetchnumpy()
    names = ("test", "total", "marked", "drawn")
    strata = Strata(*(np.asarray(rows[name], np.int64) for name in names))
    held = over_represented_within(strata, np.asarray(columns["facts"], np.int64))
    return {
        "expected_within_objects": held.expected.tolist(),
        "p_within_objects": held.p.tolist(),
        "q_within_objects": false_discovery_rates(held.p, tests).tolist(),
    }
