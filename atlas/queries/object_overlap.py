"""How many knowledge neurons facts share, pairs with the same object apart from those with another.

At the answer position neurons serve the answer, so that two facts of a relation share most where
their objects are the same. With n(i) the facts of a set that neuron i serves, over the sets by

    relation and object      S_ro = sum of C(n_ro(i), 2)
    relation alone           S_r  = sum of C(n_r(i), 2)
    object alone             S_o  = sum of C(n_o(i), 2)
    all facts                S    = sum of C(n(i), 2)

pairs share S_ro within relations and S_o - S_ro across them where the object is the same, and
S_r - S_ro and S - S_r - S_o + S_ro where it is another. Pairs are counted alike, and none is
enumerated.
"""

from dataclasses import dataclass

import duckdb

from atlas.selection.chosen import ChosenSelection, null_selection
from atlas.selection.covered import cover
from atlas.store.rows import fetch_one


@dataclass(frozen=True)
class ObjectOverlap:
    """What pairs of facts share, of one relation or of two, with the same object or another."""

    pairs: str  # within | across
    object: str  # same | other
    fact_pairs: int
    shared_by_fact_pairs: int  # neurons in common, summed over those pairs
    mean_shared_neurons: float | None  # None: there is no pair
    null_fact_pairs: int | None  # such pairs of the facts with shuffled objects; None: no null
    null_mean_shared_neurons: float | None


# GROUPING's bits: which of relation (2) and object (1) a set does not tell apart.
_PAIRS = """
        SELECT coalesce(sum(n * (n - 1) // 2) FILTER (apart = 0), 0)::BIGINT,
               coalesce(sum(n * (n - 1) // 2) FILTER (apart = 1), 0)::BIGINT,
               coalesce(sum(n * (n - 1) // 2) FILTER (apart = 2), 0)::BIGINT,
               coalesce(sum(n * (n - 1) // 2) FILTER (apart = 3), 0)::BIGINT
"""


def object_overlap(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection
) -> tuple[ObjectOverlap, ...]:
    """Four rows: within relations and across them, each with the same object and with another."""
    pairs, shared = _figures(connection, selection)
    null = null_selection(connection, selection.selection_id)
    null_pairs, null_shared = ({}, {}) if null is None else _figures(connection, null)
    return tuple(
        ObjectOverlap(
            *where,
            pairs[where],
            shared[where],
            _mean(shared[where], pairs[where]),
            null_pairs.get(where),
            _mean(null_shared.get(where, 0), null_pairs.get(where, 0)),
        )
        for where in pairs
    )


def _figures(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection
) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
    """Pairs of facts, and the neurons that they share, by where the pairs are."""
    cover(connection, selection)
    pairs = _split(
        *fetch_one(
            connection,
            f"""
            WITH sizes AS (
                SELECT grouping(relation_id, object) AS apart,
                       count(*) AS n
                FROM covered_facts
                GROUP BY GROUPING SETS ((relation_id, object), (relation_id), (object), ())
            )
            {_PAIRS}
            FROM sizes
            """,
        )
    )
    shared = _split(
        *fetch_one(
            connection,
            f"""
            WITH degrees AS (
                SELECT grouping(f.relation_id, f.object) AS apart,
                       count(*) AS n
                FROM knowledge_neurons AS k
                JOIN covered_facts AS f USING (fact_id)
                WHERE k.selection_id = $selection_id
                GROUP BY GROUPING SETS (
                    (k.layer, k.neuron, f.relation_id, f.object),
                    (k.layer, k.neuron, f.relation_id),
                    (k.layer, k.neuron, f.object),
                    (k.layer, k.neuron)
                )
            )
            {_PAIRS}
            FROM degrees
            """,
            {"selection_id": selection.selection_id},
        )
    )
    return pairs, shared


def _split(both: int, relation: int, object: int, everything: int) -> dict[tuple[str, str], int]:
    """Pairs by where they are, from those of the same relation and object, relation, object."""
    return {
        ("within", "same"): both,
        ("within", "other"): relation - both,
        ("across", "same"): object - both,
        ("across", "other"): everything - relation - object + both,
    }


def _mean(shared: int, pairs: int) -> float | None:
    return shared / pairs if pairs else None
