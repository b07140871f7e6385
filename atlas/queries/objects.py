"""Facts found by their object."""

from dataclasses import dataclass

import duckdb

from atlas.errors import NotFound
from atlas.facts import FactColumns
from atlas.queries.knowledge import NOT_MEASURED, fact_knowledge
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.store.near import near_matches


@dataclass(frozen=True)
class FactOfObject(FactColumns):
    """A fact with the object in question."""

    known: bool | None  # top answer in at least half of its measured prompts; None: none measured
    right: int  # measured prompts whose top answer it is
    measured: int
    neurons: int  # knowledge neurons


@dataclass(frozen=True)
class ObjectReport(OfSelection, rows="facts"):
    """Every fact with one object, by relation and subject."""

    object: str
    facts: tuple[FactOfObject, ...]


def object_report(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, wanted: str
) -> ObjectReport:
    """The facts whose object is `wanted`, in any case; NotFound, with near matches."""
    rows = connection.execute(
        """
        WITH own AS (
            SELECT f.relation_id, r.label AS relation, f.fact_id, f.subject, f.object
            FROM facts AS f
            JOIN relations AS r USING (relation_id)
            WHERE lower(nfc_normalize(f.object)) = lower(nfc_normalize($wanted))
              AND f.null_of IS NULL
        ),
        chosen AS (
            SELECT k.fact_id, count(*) AS neurons
            FROM knowledge_neurons AS k
            SEMI JOIN own USING (fact_id)
            WHERE k.selection_id = $selection_id
            GROUP BY k.fact_id
        )
        SELECT o.relation_id,
               o.relation,
               o.fact_id,
               o.subject,
               o.object,
               coalesce(c.neurons, 0)
        FROM own AS o
        LEFT JOIN chosen AS c USING (fact_id)
        ORDER BY length(o.relation_id), o.relation_id, o.subject, o.fact_id
        """,
        {
            "wanted": wanted.strip(),
            "selection_id": selection.selection_id,
        },
    ).fetchall()
    if not rows:
        near = near_matches(connection, wanted, "SELECT DISTINCT object AS name FROM facts")
        hint = f"; near: {', '.join(near)}" if near else ""
        raise NotFound(f"no fact with the object '{wanted}'{hint}")
    knowledge = fact_knowledge(connection, selection.run_id, [row[2] for row in rows])
    facts = []
    for relation_id, relation, fact_id, subject, object_, neurons in rows:
        knows = knowledge.get(fact_id, NOT_MEASURED)
        fact = (relation_id, relation, fact_id, subject, object_)
        facts.append(FactOfObject(*fact, knows.known, knows.right, knows.measured, neurons))
    return ObjectReport(facts[0].object, tuple(facts))
