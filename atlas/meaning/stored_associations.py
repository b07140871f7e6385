"""What neurons' facts have in common: tested once a selection and stored, read without a model."""

import contextlib
import itertools
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
ASPECTS = {"relation": "relation_id", "subject": "subject", "object": "object"}  # and its column
AT_A_LOOK = 50_000  # facts of a selection that are tested while somebody waits: seconds
STRATA_AT_ONCE = 2_000_000  # rows; a selection of a million facts has tens of millions


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
    _gather_values(connection, selection_id)
    for aspect in ASPECTS:
        tests = _test(connection, aspect)
        held = _within_objects(connection, tests) if aspect == "relation" else _not_held()
        with bulk.offered(connection, held):
            connection.execute(
                f"""
                INSERT INTO {table} (
                    selection_id, layer, neuron, aspect, value, facts, expected, p_value, q_value,
                    expected_within_objects, p_within_objects, q_within_objects
                )
                SELECT $selection_id, s.layer, s.neuron, $aspect, m.value, s.facts, s.expected,
                       s.p_value, s.q_value, h.expected, h.p, h.q
                FROM significant AS s
                JOIN marked_values AS m
                  ON m.aspect = $aspect
                 AND m.number = s.number
                LEFT JOIN {bulk.OFFERED} AS h USING (test)
                ORDER BY s.test
                """,
                {"selection_id": selection_id, "aspect": aspect},
            )


def associations_of(
    connection: duckdb.DuckDBPyConnection, selection_id: str, layer: int, neuron: int
) -> list[Association] | None:
    """A neuron's significant associations, the surest first within each aspect.

    They are those stored; of a selection whose associations are not, those computed now, for all
    neurons at once, and remembered by this process until the file changes. None where there are too
    many facts for that: `remember_associations` stores them.
    """
    if not has_associations(connection, selection_id):
        selection = find_selection(connection, selection_id)
        if selection is None or selection.facts > AT_A_LOOK:
            return None
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


def _gather_values(connection: duckdb.DuckDBPyConnection, selection_id: str) -> None:
    """Make the tables of this connection that associations are counted in, values as numbers.

    marked_values (aspect, number, value, marked): how many covered facts have each value;
    covered_values: the values of each covered fact; served_values: the same, a row a neuron and
    fact that it serves; drawn_facts: how many a neuron serves. Names are joined once: a million
    facts have ten million rows there.
    """
    counted = " UNION ALL ".join(
        f"""
            SELECT '{aspect}' AS aspect,
                   (row_number() OVER (ORDER BY {column}))::INTEGER AS number,
                   {column} AS value,
                   count(*) AS marked
            FROM covered_facts
            GROUP BY {column}
        """
        for aspect, column in ASPECTS.items()
    )
    connection.execute(f"CREATE OR REPLACE TEMPORARY TABLE marked_values AS {counted}")
    joined = " ".join(
        f"""
            JOIN marked_values AS of_{aspect}
              ON of_{aspect}.aspect = '{aspect}'
             AND of_{aspect}.value = c.{column}
        """
        for aspect, column in ASPECTS.items()
    )
    numbers = ", ".join(f"of_{aspect}.number AS {aspect}" for aspect in ASPECTS)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE covered_values AS
        SELECT c.fact_id, {numbers}
        FROM covered_facts AS c
        {joined}
        """
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE served_values AS
        SELECT k.layer, k.neuron, {", ".join(f"c.{aspect}" for aspect in ASPECTS)}
        FROM knowledge_neurons AS k
        JOIN covered_values AS c USING (fact_id)
        WHERE k.selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    )
    connection.execute(
        """
        CREATE OR REPLACE TEMPORARY TABLE drawn_facts AS
        SELECT layer, neuron, count(*) AS drawn
        FROM served_values
        GROUP BY layer, neuron
        """
    )


def _test(connection: duckdb.DuckDBPyConnection, aspect: str) -> int:
    """Make the table significant, of tests by number from 0; returns how many tests there were.

    Tests of the same counts are alike, and computed once.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE tested AS
        WITH own AS (
            SELECT layer, neuron, {aspect} AS number, count(*) AS found
            FROM served_values
            GROUP BY layer, neuron, {aspect}
        )
        SELECT o.layer, o.neuron, o.number, o.found, m.marked, d.drawn
        FROM own AS o
        JOIN drawn_facts AS d USING (layer, neuron)
        JOIN marked_values AS m
          ON m.aspect = '{aspect}'
         AND m.number = o.number
        """
    )
    total, tests = fetch_one(
        connection,
        """
        SELECT (SELECT count(*) FROM covered_facts),
               (SELECT count(*) FROM marked_values WHERE aspect = $aspect)
               * (SELECT count(*) FROM drawn_facts)
        """,
        {"aspect": aspect},
    )
    # The pairs left out lie at or below what is expected: their p is far above any that matters.
    alike = connection.execute(
        """
        SELECT marked, drawn, found, count(*) AS tests
        FROM tested
        WHERE found * $total > marked * drawn
        GROUP BY marked, drawn, found
        ORDER BY marked, drawn, found
        """,
        {"total": total},
    ).fetchnumpy()
    counts = {name: np.asarray(column, np.int64) for name, column in alike.items()}
    times = counts.pop("tests")
    drawn = Drawn(total, **counts)
    p = over_represented(drawn)
    q = false_discovery_rates(p, tests, times)
    kept = np.flatnonzero(q <= SIGNIFICANT)
    columns: dict[str, Any] = {**counts, "expected": drawn.expected, "p_value": p, "q_value": q}
    with bulk.offered(connection, {name: column[kept] for name, column in columns.items()}):
        connection.execute(
            f"""
            CREATE OR REPLACE TEMPORARY TABLE significant AS
            SELECT row_number() OVER (ORDER BY t.layer, t.neuron, t.number) - 1 AS test,
                   t.layer,
                   t.neuron,
                   t.number,
                   t.found AS facts,
                   o.expected,
                   o.p_value,
                   o.q_value
            FROM tested AS t
            JOIN {bulk.OFFERED} AS o USING (marked, drawn, found)
            """
        )
    return int(tests)


def _not_held() -> dict[str, Any]:
    empty = np.empty(0)
    return {"test": np.empty(0, np.int64), "expected": empty, "p": empty, "q": empty}


def _within_objects(connection: duckdb.DuckDBPyConnection, tests: int) -> dict[str, Any]:
    """The significant tests once more, with the object held fixed: its facts are a stratum."""
    found = connection.execute(
        """
        SELECT s.facts, least(d.drawn, o.objects) AS strata
        FROM significant AS s
        JOIN drawn_facts AS d USING (layer, neuron)
        CROSS JOIN (
            SELECT count(*) AS objects
            FROM marked_values
            WHERE aspect = 'object'
        ) AS o
        ORDER BY s.test
        """
    ).fetchnumpy()
    if not len(found["facts"]):
        return _not_held()
    counts, at_most = (np.asarray(found[name], np.int64) for name in ("facts", "strata"))
    connection.execute(
        """
        CREATE OR REPLACE TEMPORARY TABLE served_objects AS
        SELECT layer, neuron, object, count(*) AS drawn
        FROM served_values
        SEMI JOIN significant USING (layer, neuron)
        GROUP BY layer, neuron, object
        """
    )
    connection.execute(
        """
        CREATE OR REPLACE TEMPORARY TABLE relation_objects AS
        SELECT relation, object, count(*) AS marked
        FROM covered_values
        GROUP BY relation, object
        """
    )
    ends = np.searchsorted(
        np.cumsum(at_most), np.arange(STRATA_AT_ONCE, at_most.sum(), STRATA_AT_ONCE)
    )
    bounds = sorted({0, *ends.tolist(), len(counts)})
    parts = [
        over_represented_within(_strata(connection, first, stop), counts[first:stop])
        for first, stop in itertools.pairwise(bounds)
    ]
    p = np.concatenate([part.p for part in parts])
    return {
        "test": np.arange(len(p)),
        "expected": np.concatenate([part.expected for part in parts]),
        "p": p,
        "q": false_discovery_rates(p, tests),
    }


def _strata(connection: duckdb.DuckDBPyConnection, first: int, stop: int) -> Strata:
    """The strata of the tests from `first` up to `stop`, which count from 0 there."""
    rows = connection.execute(
        """
        SELECT s.test - $first AS test, o.marked AS total, m.marked, d.drawn
        FROM significant AS s
        JOIN served_objects AS d USING (layer, neuron)
        JOIN relation_objects AS m
          ON m.relation = s.number
         AND m.object = d.object
        JOIN marked_values AS o
          ON o.aspect = 'object'
         AND o.number = d.object
        WHERE s.test >= $first
          AND s.test < $stop
        ORDER BY s.test, d.object
        """,
        {"first": first, "stop": stop},
    ).fetchnumpy()
    names = ("test", "total", "marked", "drawn")
    return Strata(*(np.asarray(rows[name], np.int64) for name in names))
