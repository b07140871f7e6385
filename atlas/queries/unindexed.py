"""What the atlas does not hold though the embedded dataset does: what to index to have it."""

import duckdb

from atlas.facts import as_name
from atlas.store.rows import fetch_one

_EMBEDDED = "embedded"  # the name of the dataset in its runs
_FEW = 4


def fact_to_index(connection: duckdb.DuckDBPyConnection, wanted: str) -> str | None:
    """The facts so called (subject, SUBJECT:RELATION or id) and what to index; None: no such one.

    An atlas without a run of the embedded dataset is not told of it.
    """
    if not _is_of_embedded(connection):
        return None
    from atlas.datasets import embedded_dataset  # slow, and seldom needed

    name = as_name(wanted)
    subject, _, relation = (as_name(part) for part in wanted.rpartition(":"))
    found = []
    for of in embedded_dataset().relations:
        called = relation in (as_name(of.relation_id), as_name(of.label))
        for fact in of.facts:
            names = {as_name(fact.fact_id), as_name(fact.subject)}
            if name in names or (called and subject in names):
                found.append((fact, of))
    if not found:
        return None
    relations = dict.fromkeys(f"{of.relation_id} ({of.label})" for _, of in found)
    named = ", ".join(list(relations)[:_FEW]) + (", …" if len(relations) > _FEW else "")
    return f"the embedded dataset has {found[0][0].subject} in {named}: index {_which(relations)}"


def relation_to_index(connection: duckdb.DuckDBPyConnection, wanted: str) -> str | None:
    """The embedded dataset's relation with this id or label and what to index; None: no such one.

    An atlas without a run of the embedded dataset is not told of it.
    """
    if not _is_of_embedded(connection):
        return None
    from atlas.datasets import embedded_dataset  # slow, and seldom needed

    for relation in embedded_dataset().relations:
        if as_name(wanted) in (as_name(relation.relation_id), as_name(relation.label)):
            named = f"{relation.relation_id} ({relation.label})"
            return f"the embedded dataset has {named}: index that relation"
    return None


def _which(relations: dict[str, None]) -> str:
    if len(relations) > 1:
        return "one of these relations, with all its facts"
    return "that relation, with all its facts"


def _is_of_embedded(connection: duckdb.DuckDBPyConnection) -> bool:
    (found,) = fetch_one(
        connection,
        "SELECT EXISTS (FROM runs WHERE dataset = $dataset)",
        {"dataset": _EMBEDDED},
    )
    return bool(found)
