"""Facts that an edited fact implies: its mirror in an inverse relation, its synonyms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import duckdb

from atlas.store.rows import fetch

Way = Literal["inverse", "synonym"]


@dataclass(frozen=True)
class ImpliedFact:
    """An indexed fact whose subject and object are the edited fact's, swapped or as they are.

    edited: the place of the edited fact among the edit's.
    mirrored of relation_facts: how many of its relation's facts have such a partner in the edited
    relation; where they are few, the one relation does not imply the other. comparable: how many
    could have one, for the edited relation has a fact about what would be its subject.
    """

    way: Way  # inverse: subject and object swapped; synonym: the same in another relation
    relation_id: str
    relation: str
    subject: str
    object: str
    mirrored: int
    relation_facts: int
    templates: Sequence[str]  # of the relation, by text
    comparable: int = 0
    edited: int = 0


@dataclass(frozen=True)
class ImpliedEffect:
    """An implied question before and after an edit, over the templates that the model can be asked.

    wanted: what the edit implies of this answer: it `falls` (the indexed fact rests on the old
    object) or `rises` (the same with the new object, a fact that need not be in the atlas).
    carried_over: whether that is so, by the top answers of most prompts; None if they were so
    before the edit.
    """

    way: Way
    relation_id: str
    relation: str
    subject: str  # what is asked about
    object: str  # the answer whose P this is
    wanted: str  # falls | rises
    prompts: int
    p_before: float  # mean over prompts
    p_after: float
    top_before: int  # prompts in which it is the top answer
    top_after: int
    carried_over: bool | None
    mirrored: int  # of the relation's facts, those with a partner in the edited relation
    relation_facts: int


def implied_facts(connection: duckdb.DuckDBPyConnection, edit_id: int) -> list[ImpliedFact]:
    """What the edit's facts imply among those of the atlas; nothing for a whole relation."""
    edited = connection.execute(
        """
        SELECT place,
               relation_id,
               subject,
               old_object
        FROM edit_facts
        WHERE edit_id = $edit_id
          AND old_object IS NOT NULL
        ORDER BY place
        """,
        {"edit_id": edit_id},
    ).fetchall()
    return implied_by(connection, edited)


def implied_by(
    connection: duckdb.DuckDBPyConnection, edited: Sequence[tuple[int, str, str, str]]
) -> list[ImpliedFact]:
    """What facts imply among those of the atlas, each given as place, relation, subject, object."""
    return fetch(
        connection,
        ImpliedFact,
        """
        WITH given AS (
            SELECT unnest($places::BIGINT[]) AS place,
                   unnest($relations::VARCHAR[]) AS relation_id,
                   unnest($subjects::VARCHAR[]) AS subject,
                   unnest($objects::VARCHAR[]) AS object
        ),
        edited AS (
            SELECT place,
                   relation_id,
                   lower(nfc_normalize(subject)) AS subject,
                   lower(nfc_normalize(object)) AS object
            FROM given
        ),
        -- not those whose objects are shuffled
        real AS (
            FROM facts
            WHERE null_of IS NULL
        ),
        subjects AS (
            SELECT DISTINCT relation_id,
                            lower(nfc_normalize(subject)) AS name
            FROM real
        ),
        found AS (
            SELECT 'inverse' AS way, e.place, e.relation_id AS edited_relation, f.*
            FROM real AS f
            JOIN edited AS e
              ON lower(nfc_normalize(f.subject)) = e.object
             AND lower(nfc_normalize(f.object)) = e.subject
            WHERE e.subject <> e.object
            UNION ALL
            SELECT 'synonym' AS way, e.place, e.relation_id AS edited_relation, f.*
            FROM real AS f
            JOIN edited AS e
              ON lower(nfc_normalize(f.subject)) = e.subject
             AND lower(nfc_normalize(f.object)) = e.object
            WHERE f.relation_id <> e.relation_id
        ),
        agreement AS (
            SELECT n.way,
                   n.relation_id,
                   n.edited_relation,
                   count(DISTINCT f.fact_id) AS relation_facts,
                   count(DISTINCT g.fact_id) AS mirrored,
                   count(DISTINCT f.fact_id) FILTER (s.name IS NOT NULL) AS comparable
            FROM (SELECT DISTINCT way, relation_id, edited_relation FROM found) AS n
            JOIN real AS f USING (relation_id)
            LEFT JOIN real AS g
              ON g.relation_id = n.edited_relation
             AND (
                 (n.way = 'inverse'
                  AND lower(nfc_normalize(g.subject)) = lower(nfc_normalize(f.object))
                  AND lower(nfc_normalize(g.object)) = lower(nfc_normalize(f.subject)))
                 OR
                 (n.way = 'synonym'
                  AND lower(nfc_normalize(g.subject)) = lower(nfc_normalize(f.subject))
                  AND lower(nfc_normalize(g.object)) = lower(nfc_normalize(f.object)))
             )
            LEFT JOIN subjects AS s
              ON s.relation_id = n.edited_relation
             AND s.name = lower(nfc_normalize(if(n.way = 'inverse', f.object, f.subject)))
            GROUP BY n.way, n.relation_id, n.edited_relation
        )
        SELECT f.way,
               f.relation_id,
               r.label AS relation,
               f.subject,
               f.object,
               a.mirrored,
               a.relation_facts,
               coalesce(t.texts, []) AS templates,
               a.comparable,
               f.place AS edited
        FROM found AS f
        JOIN relations AS r USING (relation_id)
        JOIN agreement AS a USING (way, relation_id, edited_relation)
        LEFT JOIN (
            SELECT relation_id, list(text ORDER BY text) AS texts
            FROM templates
            GROUP BY relation_id
        ) AS t USING (relation_id)
        ORDER BY f.place, f.way, a.mirrored / a.relation_facts DESC, f.relation_id, f.fact_id
        """,
        {
            name: [row[column] for row in edited]
            for column, name in enumerate(("places", "relations", "subjects", "objects"))
        },
    )
