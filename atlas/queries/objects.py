"""Facts found by their object."""

from dataclasses import dataclass, replace

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
    """The facts with one object, by relation and subject; `there` counts them all."""

    object: str
    there: int
    facts: tuple[FactOfObject, ...]


def object_report(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    wanted: str,
    limit: int | None = None,
    offset: int = 0,
) -> ObjectReport:
    """The facts whose object is `wanted`, in any case; NotFound, with near matches.

    limit: at most so many; offset: after so many of them.
    """
    rows = connection.execute(
        """
        WITH own AS MATERIALIZED (
            SELECT f.relation_id,
                   r.label AS relation,
                   f.fact_id,
                   f.subject,
                   f.object,
                   count(*) OVER () AS there
            FROM facts AS f
            JOIN relations AS r USING (relation_id)
            WHERE lower(nfc_normalize(f.object)) = lower(nfc_normalize($wanted))
              AND f.null_of IS NULL
            ORDER BY length(f.relation_id), f.relation_id, f.subject, f.fact_id
            LIMIT $limit
            OFFSET $offset
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
               coalesce(c.neurons, 0),
               o.there
        FROM own AS o
        LEFT JOIN chosen AS c USING (fact_id)
        ORDER BY length(o.relation_id), o.relation_id, o.subject, o.fact_id
        """,
        {
            "wanted": wanted.strip(),
            "selection_id": selection.selection_id,
            "limit": limit,
            "offset": offset,
        },
    ).fetchall()
    if not rows and offset:
        return replace(object_report(connection, selection, wanted, 1), facts=())
    if not rows:
        near = near_matches(connection, wanted, "SELECT DISTINCT object AS name FROM facts")
        hint = f"; near: {', '.join(near)}" if near else ""
        raise NotFound(f"no fact with the object '{wanted}'{hint}")
    knowledge = fact_knowledge(connection, selection.run_id, [row[2] for row in rows])
    facts = []
    for relation_id, relation, fact_id, subject, object_, neurons, _ in rows:
        knows = knowledge.get(fact_id, NOT_MEASURED)
        fact = (relation_id, relation, fact_id, subject, object_)
        facts.append(FactOfObject(*fact, knows.known, knows.right, knows.measured, neurons))
    return ObjectReport(facts[0].object, rows[0][-1], tuple(facts))
