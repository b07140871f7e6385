"""How many knowledge neurons facts share, within relations, across them, and layer by layer.

All figures are exact over all unordered pairs of different facts; see selection/overlaps.py. Pooled
over fact pairs, a large relation weighs as much as its pairs; pooled over relation pairs, each
relation (or pair of relations) weighs the same, and those without a pair of facts are left out.
"""

from dataclasses import dataclass

import duckdb

from atlas.queries.object_overlap import ObjectOverlap, object_overlap
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.selection.degrees import relation_degrees
from atlas.store.rows import fetch


@dataclass(frozen=True)
class PooledOverlap:
    """What all pairs of facts within groups, or across two of them, share."""

    pairs: str  # within | across
    fact_pairs: int
    shared_by_fact_pairs: int  # neurons in common, summed over those pairs
    mean_over_fact_pairs: float | None  # None: there is no pair
    group_pairs: int  # within: groups of two facts or more; across: pairs of groups
    mean_over_group_pairs: float | None


@dataclass(frozen=True)
class OverlapGroup:
    """A relation (or an object's or a subject's facts) and what its own facts share."""

    group: str  # the relation's id, the object or the subject
    label: str
    facts: int
    neurons: int  # distinct
    mean_shared_neurons: float | None  # over pairs of its facts


@dataclass(frozen=True)
class GroupPair:
    """What the facts of two groups share; of a group with itself: what its own facts do."""

    group_a: str
    group_b: str
    fact_pairs: int
    shared_by_fact_pairs: int
    mean_shared_neurons: float | None
    neurons_both: int  # distinct neurons of both groups
    jaccard: float | None  # of the groups' distinct neurons: both / either


@dataclass(frozen=True)
class OverlapReport(OfSelection, rows="pairs"):
    """Overlap within and across groups of facts."""

    by: str  # relation | object | subject
    facts: int
    groups: int
    within: PooledOverlap
    across: PooledOverlap
    shown: tuple[OverlapGroup, ...]
    pairs: tuple[GroupPair, ...]  # of the shown groups, each with itself too
    by_object: tuple[ObjectOverlap, ...]  # within and across relations, same and other object


@dataclass(frozen=True)
class StoredOverlap:
    """The overlap by relation, as selecting stored it."""

    within: PooledOverlap
    across: PooledOverlap
    groups: tuple[OverlapGroup, ...]  # every relation, those whose own facts share most first
    pairs: tuple[GroupPair, ...]  # each with itself too


@dataclass(frozen=True)
class LayerOverlap:
    """A layer's knowledge neurons, and its part of the overlap; the parts add up to the whole."""

    layer: int
    neurons: int  # distinct
    uses: int  # pairs of fact and neuron
    use_share: float | None  # of all layers' uses
    within: float | None  # neurons of this layer shared by a pair of facts of one relation, mean
    across: float | None  # the same for facts of different relations; both over all fact pairs


@dataclass(frozen=True)
class RelationLayer:
    """How many of a layer's neurons two facts of a relation share, on average."""

    relation_id: str
    relation: str
    layer: int
    mean_shared_neurons: float | None


@dataclass(frozen=True)
class LayerOverlapReport(OfSelection, rows="layers"):
    """The overlap within and across relations, and which layers it lies in."""

    within: PooledOverlap
    across: PooledOverlap
    layers: tuple[LayerOverlap, ...]  # every layer of the model
    relations: tuple[RelationLayer, ...]  # those that share most within first, layer by layer


def relation_overlap(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, limit: int | None = None
) -> OverlapReport:
    """Overlap by relation, as stored; shows the `limit` relations whose own facts share most."""
    stored = stored_overlap(connection, selection)
    shown = stored.groups[:limit]
    names = {group.group for group in shown}
    return OverlapReport(
        "relation",
        sum(g.facts for g in stored.groups),
        len(stored.groups),
        stored.within,
        stored.across,
        shown,
        tuple(p for p in stored.pairs if p.group_a in names and p.group_b in names),
        object_overlap(connection, selection),
    )


def stored_overlap(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection
) -> StoredOverlap:
    """What is stored of the overlap by relation: nothing is counted."""
    parameters = {"selection_id": selection.selection_id}
    groups = fetch(
        connection,
        OverlapGroup,
        """
        SELECT s.relation_id AS "group",
               r.label,
               s.facts,
               o.neurons_a AS neurons,
               o.mean_shared_neurons
        FROM selection_relations AS s
        JOIN relations AS r USING (relation_id)
        JOIN relation_overlaps AS o
          ON o.selection_id = s.selection_id
         AND o.relation_a = s.relation_id
         AND o.relation_b = s.relation_id
        WHERE s.selection_id = $selection_id
        ORDER BY o.mean_shared_neurons DESC NULLS LAST, s.relation_id
        """,
        parameters,
    )
    pairs = fetch(
        connection,
        GroupPair,
        """
        SELECT relation_a AS group_a,
               relation_b AS group_b,
               fact_pairs,
               shared_by_fact_pairs,
               mean_shared_neurons,
               neurons_both,
               jaccard
        FROM relation_overlaps
        WHERE selection_id = $selection_id
        ORDER BY relation_a, relation_b
        """,
        parameters,
    )
    within, across = _pooled(connection, selection.selection_id)
    return StoredOverlap(within, across, tuple(groups), tuple(pairs))


def layer_overlap(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, limit: int | None = None
) -> LayerOverlapReport:
    """The overlap within and across relations by layer, with the `limit` relations sharing most."""
    parameters = {"selection_id": selection.selection_id}
    # The degrees are what takes time; two questions are parameters of them.
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE relation_degrees AS
        {relation_degrees()}
        """,
        parameters,
    )
    within, across = _pooled(connection, selection.selection_id)
    layers = fetch(
        connection,
        LayerOverlap,
        """
        WITH neurons AS (
            SELECT layer,
                   neuron,
                   sum(facts)::BIGINT AS facts,
                   sum(facts * (facts - 1) // 2)::BIGINT AS within
            FROM relation_degrees
            GROUP BY layer, neuron
        )
        SELECT l.layer,
               count(n.neuron) AS neurons,
               coalesce(sum(n.facts), 0)::BIGINT AS uses,
               coalesce(sum(n.facts), 0) / nullif(sum(sum(n.facts)) OVER (), 0) AS use_share,
               coalesce(sum(n.within), 0) / nullif($within, 0) AS within,
               coalesce(sum(n.facts * (n.facts - 1) // 2 - n.within), 0) / nullif($across, 0)
                   AS across
        FROM range($layers) AS l (layer)
        LEFT JOIN neurons AS n USING (layer)
        GROUP BY l.layer
        ORDER BY l.layer
        """,
        {
            "layers": selection.layers,
            "within": within.fact_pairs,
            "across": across.fact_pairs,
        },
    )
    cells = fetch(
        connection,
        RelationLayer,
        """
        WITH shown AS (
            SELECT relation_a AS relation_id, fact_pairs, mean_shared_neurons
            FROM relation_overlaps
            WHERE selection_id = $selection_id
              AND relation_a = relation_b
            ORDER BY mean_shared_neurons DESC NULLS LAST, relation_a
            LIMIT $limit
        )
        SELECT s.relation_id,
               r.label AS relation,
               l.layer,
               coalesce(sum(d.facts * (d.facts - 1) // 2), 0) / nullif(s.fact_pairs, 0)
                   AS mean_shared_neurons
        FROM shown AS s
        JOIN relations AS r USING (relation_id)
        CROSS JOIN range($layers) AS l (layer)
        LEFT JOIN relation_degrees AS d
          ON d.relation_id = s.relation_id
         AND d.layer = l.layer
        GROUP BY s.relation_id, r.label, s.fact_pairs, s.mean_shared_neurons, l.layer
        ORDER BY s.mean_shared_neurons DESC NULLS LAST, s.relation_id, l.layer
        """,
        {**parameters, "layers": selection.layers, "limit": limit},
    )
    return LayerOverlapReport(within, across, tuple(layers), tuple(cells))


def _pooled(
    connection: duckdb.DuckDBPyConnection, selection_id: str
) -> tuple[PooledOverlap, PooledOverlap]:
    """Within relations, and across them."""
    found = fetch(
        connection,
        PooledOverlap,
        """
        SELECT p.pairs,
               coalesce(s.fact_pairs, 0) AS fact_pairs,
               coalesce(s.shared_by_fact_pairs, 0) AS shared_by_fact_pairs,
               s.mean_over_fact_pairs,
               coalesce(s.relation_pairs, 0) AS group_pairs,
               s.mean_over_relation_pairs AS mean_over_group_pairs
        FROM (VALUES ('within'), ('across')) AS p (pairs)
        LEFT JOIN all_overlap_summary AS s
          ON s.pairs = p.pairs
         AND s.selection_id = $selection_id
        ORDER BY p.pairs DESC
        """,
        {"selection_id": selection_id},
    )
    return found[0], found[1]
