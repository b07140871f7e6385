"""A relation's facts, and every relation of an atlas, as lists that are sorted and paged."""

from dataclasses import dataclass
from typing import Literal, get_args

import duckdb

from atlas.errors import SettingsError
from atlas.facts import FactColumns
from atlas.queries.knowledge import knowledge_of
from atlas.queries.relations import one_relation
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.store.rows import fetch

FactOrder = Literal["subject", "object", "p", "neurons"]
FACT_ORDERS: tuple[FactOrder, ...] = get_args(FactOrder)
Standing = Literal["all", "known", "unknown"]
STANDINGS: tuple[Standing, ...] = get_args(Standing)


@dataclass(frozen=True)
class FactOfRelation(FactColumns):
    """A fact in a list of its relation's."""

    known: bool | None  # None: no prompt of it was measured
    right: int  # measured prompts whose top answer is the object
    measured: int
    mean_p_answer: float | None
    neurons: int  # knowledge neurons


@dataclass(frozen=True)
class RelationFactsReport(OfSelection, rows="facts"):
    """A page of a relation's facts."""

    relation_id: str
    relation: str
    there: int  # facts that the filter leaves
    offset: int
    facts: tuple[FactOfRelation, ...]


@dataclass(frozen=True)
class RelationSize:
    """A relation in a list of them all."""

    relation_id: str
    relation: str
    facts: int  # in the atlas
    measured_facts: int | None  # None: the selection has not reached the relation
    known_facts: int | None
    selected_facts: int | None
    mean_neurons: float | None  # knowledge neurons per fact selected from


def relation_facts(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    wanted: str,
    *,
    by: FactOrder = "subject",
    standing: Standing = "all",
    containing: str = "",
    limit: int | None = None,
    offset: int = 0,
) -> RelationFactsReport:
    """The relation's facts, sorted, those alone that are known (or not) and hold a text.

    `p` and `neurons` go from the largest down. Raises SettingsError for another order or standing,
    NotFound for another relation.
    """
    if by not in FACT_ORDERS or standing not in STANDINGS:
        raise SettingsError(
            f"unknown order '{by}' or standing '{standing}': choose {', '.join(FACT_ORDERS)}, and "
            f"{', '.join(STANDINGS)}"
        )
    relation_id, label = one_relation(connection, wanted)
    rows = connection.execute(
        f"""
        WITH own AS MATERIALIZED (
            SELECT f.fact_id, f.subject, f.object
            FROM facts AS f
            WHERE f.relation_id = $relation_id
              AND f.null_of IS NULL
              AND ($containing = ''
                   OR contains(lower(nfc_normalize(f.subject)), lower(nfc_normalize($containing)))
                   OR contains(lower(nfc_normalize(f.object)), lower(nfc_normalize($containing))))
        ),
        chosen AS (
            SELECT k.fact_id, count(*) AS neurons
            FROM knowledge_neurons AS k
            SEMI JOIN own USING (fact_id)
            WHERE k.selection_id = $selection_id
            GROUP BY k.fact_id
        ),
        answers AS (
            {knowledge_of("own")}
        )
        SELECT count(*) OVER () AS there,
               $relation_id,
               $label,
               o.fact_id,
               o.subject,
               o.object,
               a.known,
               coalesce(a.right_prompts, 0),
               coalesce(a.prompts, 0),
               a.mean_p_answer,
               coalesce(c.neurons, 0)
        FROM own AS o
        LEFT JOIN chosen AS c USING (fact_id)
        LEFT JOIN answers AS a USING (fact_id)
        WHERE $standing = 'all'
           OR a.known = ($standing = 'known')
        ORDER BY CASE $by WHEN 'object' THEN lower(o.object) END,
                 CASE $by WHEN 'p' THEN a.mean_p_answer WHEN 'neurons' THEN c.neurons END
                     DESC NULLS LAST,
                 lower(o.subject),
                 o.subject,
                 o.object,
                 o.fact_id
        LIMIT $limit
        OFFSET $offset
        """,
        {
            "run_id": selection.run_id,
            "selection_id": selection.selection_id,
            "relation_id": relation_id,
            "label": label,
            "standing": standing,
            "containing": containing.strip(),
            "by": by,
            "limit": limit,
            "offset": offset,
        },
    ).fetchall()
    there = rows[0][0] if rows else 0
    if offset and not rows:  # beyond the last
        there = relation_facts(
            connection, selection, relation_id, standing=standing, containing=containing, limit=1
        ).there
    found = tuple(FactOfRelation(relation, name, *fact) for _, relation, name, *fact in rows)
    return RelationFactsReport(relation_id, label, there, offset, found)


def relation_sizes(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection
) -> list[RelationSize]:
    """Every relation of the atlas, by id."""
    return fetch(
        connection,
        RelationSize,
        """
        WITH sizes AS (
            SELECT relation_id, count(*) AS facts
            FROM facts
            WHERE null_of IS NULL
            GROUP BY relation_id
        )
        SELECT r.relation_id,
               r.label AS relation,
               coalesce(n.facts, 0) AS facts,
               s.measured_facts,
               s.known_facts,
               s.facts AS selected_facts,
               s.mean_neurons
        FROM relations AS r
        LEFT JOIN sizes AS n USING (relation_id)
        LEFT JOIN selection_relations AS s
          ON s.relation_id = r.relation_id
         AND s.selection_id = $selection_id
        ORDER BY length(r.relation_id), r.relation_id
        """,
        {"selection_id": selection.selection_id},
    )
