"""What a word typed into a search box may mean: a neuron, relations, facts, objects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from atlas.queries.neurons import parse_neuron
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.store.near import near_matches
from atlas.store.rows import fetch

_NAMES = """
            SELECT subject AS name
            FROM facts
            WHERE null_of IS NULL
            UNION
            SELECT object
            FROM facts
            WHERE null_of IS NULL
            UNION
            SELECT label
            FROM relations
            """


@dataclass(frozen=True)
class Hit:
    """Something that a text typed into a search box may mean."""

    kind: str  # neuron | relation | fact | object
    name: str  # what finds it: a neuron as 3:117, a relation's or a fact's id, an object
    label: str  # what people call it
    relation_id: str | None  # of a fact
    object: str | None  # of a fact
    facts: int | None  # of a relation or an object


@dataclass(frozen=True)
class SearchReport(OfSelection, rows="hits"):
    """What a text may mean, the likeliest first, and names that are spelt alike."""

    text: str
    hits: tuple[Hit, ...]  # neuron, relations, facts, then objects; of each kind at most the limit
    near: tuple[str, ...]  # subjects, objects and relations, where nothing has the text as its name


def search_report(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    text: str,
    limit: int | None = 20,
) -> SearchReport:
    """Everything that is called so, or whose name begins with the text or holds it.

    A neuron is found where the selection's model has it.
    """
    wanted = text.strip()
    if not wanted:
        return SearchReport(text, (), ())
    asked = {"wanted": wanted, "limit": limit}
    hits = [*_neuron(selection, wanted), *_relations(connection, asked)]
    hits += [*_facts(connection, asked), *_objects(connection, asked)]
    exact = any(hit.label.casefold() == wanted.casefold() for hit in hits)
    # Longer words are no names, and the comparison takes time by their length.
    near = near_matches(connection, wanted, _NAMES) if not exact and len(wanted) <= 80 else []
    found = {hit.label for hit in hits}
    return SearchReport(text, tuple(hits), tuple(name for name in near if name not in found))


def _neuron(selection: ChosenSelection, wanted: str) -> list[Hit]:
    if not re.fullmatch(r"[0-9]{1,9}:[0-9]{1,9}", wanted):
        return []
    layer, neuron = parse_neuron(wanted)
    if layer >= selection.layers or neuron >= selection.neurons_per_layer:
        return []
    name = f"{layer}:{neuron}"
    return [Hit("neuron", name, name, None, None, None)]


def _relations(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, object]) -> list[Hit]:
    return fetch(
        connection,
        Hit,
        """
        SELECT 'relation' AS kind,
               r.relation_id AS name,
               r.label AS label,
               r.relation_id AS relation_id,
               NULL AS object,
               (SELECT count(*)
                FROM facts AS f
                WHERE f.relation_id = r.relation_id
                  AND f.null_of IS NULL) AS facts
        FROM relations AS r
        WHERE lower(r.relation_id) = lower($wanted)
           OR contains(lower(r.label), lower($wanted))
        ORDER BY lower(r.relation_id) = lower($wanted) DESC,
                 starts_with(lower(r.label), lower($wanted)) DESC,
                 length(r.relation_id),
                 r.relation_id
        LIMIT $limit
        """,
        asked,
    )


def _facts(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, object]) -> list[Hit]:
    return fetch(
        connection,
        Hit,
        """
        SELECT 'fact' AS kind,
               f.fact_id AS name,
               f.subject AS label,
               f.relation_id AS relation_id,
               f.object AS object,
               NULL AS facts
        FROM facts AS f
        WHERE f.null_of IS NULL
          AND (contains(lower(nfc_normalize(f.subject)), lower(nfc_normalize($wanted)))
               OR f.fact_id = $wanted)
        ORDER BY lower(nfc_normalize(f.subject)) = lower(nfc_normalize($wanted)) DESC,
                 starts_with(lower(f.subject), lower($wanted)) DESC,
                 f.subject,
                 length(f.relation_id),
                 f.relation_id,
                 f.object,
                 f.fact_id
        LIMIT $limit
        """,
        asked,
    )


def _objects(connection: duckdb.DuckDBPyConnection, asked: Mapping[str, object]) -> list[Hit]:
    return fetch(
        connection,
        Hit,
        """
        SELECT 'object' AS kind,
               object AS name,
               object AS label,
               NULL AS relation_id,
               NULL AS object,
               count(*) AS facts
        FROM facts
        WHERE null_of IS NULL
          AND contains(lower(nfc_normalize(facts.object)), lower(nfc_normalize($wanted)))
        GROUP BY facts.object
        ORDER BY lower(nfc_normalize(facts.object)) = lower(nfc_normalize($wanted)) DESC,
                 starts_with(lower(facts.object), lower($wanted)) DESC,
                 count(*) DESC,
                 facts.object
        LIMIT $limit
        """,
        asked,
    )
