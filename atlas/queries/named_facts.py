"""Facts by what people call them: which one is meant, and what to do where none or several are."""

from dataclasses import dataclass

import duckdb

from atlas.counted import counted
from atlas.errors import AmbiguousFact, NotFound
from atlas.facts import FactColumns, as_name
from atlas.queries.unindexed import fact_to_index
from atlas.store.near import near_matches
from atlas.store.rows import fetch, fetch_one

# Facts by name, none of a null; a condition follows.
_REAL_FACTS = """
        SELECT f.fact_id,
               f.relation_id,
               r.label AS relation,
               f.subject,
               f.object,
               (SELECT count(*) FROM prompts AS p WHERE p.fact_id = f.fact_id) AS prompts
        FROM facts AS f
        JOIN relations AS r USING (relation_id)
        WHERE f.null_of IS NULL
"""


@dataclass(frozen=True)
class NamedFact(FactColumns):
    """A fact that a name leads to."""

    prompts: int  # in the atlas, measured or not


def facts_called(connection: duckdb.DuckDBPyConnection, wanted: str) -> list[NamedFact]:
    """Facts with this id, subject or `SUBJECT:RELATION`, in any case, by relation.

    Raises NotFound, with near matches, where there is none.
    """
    facts = _named(connection, wanted)
    if not facts:
        raise NotFound(_not_found(connection, wanted))
    return facts


def one_fact(
    connection: duckdb.DuckDBPyConnection, wanted: str, relation: str | None = None
) -> NamedFact:
    """The fact that `wanted` names: an id, a subject, or `SUBJECT:RELATION`, in any case.

    Characters may be composed or not, here and in the atlas (NFC, NFD). With `relation` (an id or
    a label) only facts of it count. Raises NotFound with near matches, and AmbiguousFact, which
    lists what tells the candidates apart: relations, else ids.
    """
    facts = _with_id(connection, wanted) or facts_called(connection, wanted)
    facts = [f for f in facts if f.fact_id.lower() == wanted.strip().lower()] or facts
    if relation is not None:
        of_relation = [f for f in facts if _is_called(f, relation)]
        if not of_relation:
            if to_index := fact_to_index(connection, f"{facts[0].subject}:{relation}"):
                raise NotFound(f"no fact '{wanted}' in {relation} in this atlas, but {to_index}")
            raise NotFound(
                f"no fact '{wanted}' in {relation}: the atlas has {facts[0].subject} "
                f"in {_relations(facts)}"
            )
        facts = of_relation
    facts = _as_written(facts, wanted)
    if len(facts) > 1:
        raise AmbiguousFact(_ambiguous(wanted, facts))
    return facts[0]


def facts_of_relation(connection: duckdb.DuckDBPyConnection, relation_id: str) -> list[NamedFact]:
    """The facts of the relation with this very id, by subject."""
    return fetch(
        connection,
        NamedFact,
        f"""
        {_REAL_FACTS}
          AND f.relation_id = ?
        ORDER BY f.subject, f.object, f.fact_id
        """,
        [relation_id],
    )


def require_known_name(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """NotFound, with near matches, unless some fact has the name as its subject or object."""
    names = """
            SELECT subject AS name
            FROM facts
            WHERE null_of IS NULL
            UNION
            SELECT object
            FROM facts
            WHERE null_of IS NULL
            """
    (known,) = fetch_one(
        connection,
        f"""
        SELECT EXISTS (
            FROM ({names})
            WHERE lower(nfc_normalize(name)) = lower(nfc_normalize(trim($name)))
        )
        """,
        {"name": name},
    )
    if known:
        return
    near = near_matches(connection, name, names)
    asked = f"did you mean {' or '.join(near)}? If not, " if near else ""
    raise NotFound(
        f"no fact of this atlas has '{name}' as its subject or object: {asked}allow any object",
        parameters=["any_object"],
    )


def _with_id(connection: duckdb.DuckDBPyConnection, wanted: str) -> list[NamedFact]:
    """The fact with this very id: links have ids, and no name has to be folded to find it."""
    return fetch(
        connection,
        NamedFact,
        f"""
        {_REAL_FACTS}
          AND f.fact_id = ?
        """,
        [wanted.strip()],
    )


def _named(connection: duckdb.DuckDBPyConnection, wanted: str) -> list[NamedFact]:
    subject, _, relation = (part.strip() for part in wanted.rpartition(":"))
    return fetch(
        connection,
        NamedFact,
        f"""
        {_REAL_FACTS}
          AND (lower(f.fact_id) = lower($wanted)
               OR lower(nfc_normalize(f.subject)) = lower(nfc_normalize($wanted))
               OR (lower(nfc_normalize(f.subject)) = lower(nfc_normalize($subject))
                   AND lower(nfc_normalize($relation)) IN (
                       lower(nfc_normalize(f.relation_id)),
                       lower(nfc_normalize(r.label))
                   )))
        ORDER BY length(f.relation_id), f.relation_id, f.subject, f.object, f.fact_id
        """,
        {"wanted": wanted.strip(), "subject": subject, "relation": relation},
    )


def _not_found(connection: duckdb.DuckDBPyConnection, wanted: str) -> str:
    if to_index := fact_to_index(connection, wanted):
        return f"no fact '{wanted}' in this atlas, but {to_index}"
    subject = wanted.rpartition(":")[0].strip()
    elsewhere = _named(connection, subject) if subject else []
    if elsewhere:
        return (
            f"no fact '{wanted}': the atlas has {elsewhere[0].subject} in {_relations(elsewhere)}"
        )
    names = """
            SELECT DISTINCT subject AS name
            FROM facts
            """
    near = near_matches(connection, wanted, names) or near_matches(connection, subject, names)
    if near:
        return f"no fact with subject or id '{wanted}'; near: {', '.join(near)}"
    (subjects,) = fetch_one(connection, "SELECT count(DISTINCT subject) FROM facts")
    return (
        f"no fact with subject or id '{wanted}' among the {counted(subjects, 'subject')} of this "
        "atlas; "
        'list them with `atlas sql "SELECT DISTINCT subject FROM facts ORDER BY subject"`'
    )


def _ambiguous(wanted: str, facts: list[NamedFact]) -> str:
    first, last = facts[0], facts[-1]
    if first.relation_id != last.relation_id:  # sorted by relation
        return (
            f"'{wanted}' names {counted(len(facts), 'fact')}, in {_relations(facts)}: "
            f"write one of them, e.g. '{first.subject}:{first.relation_id}'"
        )
    ids = ", ".join(f"{f.fact_id} ({f.object})" for f in facts)
    return (
        f"'{wanted}' names {counted(len(facts), 'fact')} of {first.relation_id}: write the id, one "
        f"of {ids}"
    )


def _as_written(facts: list[NamedFact], wanted: str) -> list[NamedFact]:
    """Of one fact that stands there in composed and in combining characters, the wanted spelling.

    Two datasets may spell it in two ways; each is asked as it is written.
    """
    if len({(f.relation_id, as_name(f.subject), as_name(f.object)) for f in facts}) > 1:
        return facts
    spellings = (wanted.strip(), wanted.rpartition(":")[0].strip())
    return [f for f in facts if f.subject in spellings] or facts


def _relations(facts: list[NamedFact]) -> str:
    return ", ".join(dict.fromkeys(f"{f.relation_id} ({f.relation})" for f in facts))


def _is_called(fact: NamedFact, relation: str) -> bool:
    return as_name(relation) in (as_name(fact.relation_id), as_name(fact.relation))
