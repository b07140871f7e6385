"""Which relations have knowledge neurons in common, and which neurons those are."""

from dataclasses import dataclass

import duckdb

from atlas.queries.relations import one_relation
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.store.rows import fetch, fetch_one


@dataclass(frozen=True)
class SharingRelation:
    """A relation by what its facts share with those of the one in question."""

    relation_id: str
    relation: str
    mean_shared_neurons: float | None  # over pairs of a fact of either
    neurons_both: int  # distinct neurons of both
    jaccard: float | None  # of the relations' distinct neurons


@dataclass(frozen=True)
class NeuronOfBoth:
    """A neuron that serves facts of two relations."""

    layer: int
    neuron: int
    facts_a: int
    facts_b: int


@dataclass(frozen=True)
class RelationPairReport(OfSelection, rows="shared"):
    """Two relations and the neurons that serve facts of both."""

    relation_a: str
    label_a: str
    relation_b: str
    label_b: str
    facts_a: int  # that have a knowledge neuron
    facts_b: int
    neurons_a: int  # distinct
    neurons_b: int
    both: int
    jaccard: float | None  # both / either; None: neither has a knowledge neuron
    shared: tuple[NeuronOfBoth, ...]  # most facts of the rarer relation first; at most the limit


def sharing_relations(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, relation_id: str
) -> list[SharingRelation]:
    """The other relations, those that share most first."""
    return fetch(
        connection,
        SharingRelation,
        """
        WITH pairs AS (
            SELECT CASE WHEN relation_a = $relation_id THEN relation_b ELSE relation_a END
                       AS relation_id,
                   mean_shared_neurons,
                   neurons_both,
                   jaccard
            FROM relation_overlaps
            WHERE selection_id = $selection_id
              AND $relation_id IN (relation_a, relation_b)
              AND relation_a <> relation_b
        )
        SELECT p.relation_id,
               r.label AS relation,
               p.mean_shared_neurons,
               p.neurons_both,
               p.jaccard
        FROM pairs AS p
        JOIN relations AS r USING (relation_id)
        ORDER BY p.mean_shared_neurons DESC NULLS LAST, length(p.relation_id), p.relation_id
        """,
        {"selection_id": selection.selection_id, "relation_id": relation_id},
    )


def relation_pair(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    a: str,
    b: str,
    limit: int | None = None,
    offset: int = 0,
) -> RelationPairReport:
    """Two relations, named by id or label, side by side; raises as `one_relation`.

    limit: at most so many neurons of both; offset: after so many of them.
    """
    (relation_a, label_a), (relation_b, label_b) = (one_relation(connection, n) for n in (a, b))
    degrees = """
            SELECT k.layer,
                   k.neuron,
                   count(*) FILTER (f.relation_id = $a) AS facts_a,
                   count(*) FILTER (f.relation_id = $b) AS facts_b
            FROM knowledge_neurons AS k
            JOIN facts AS f USING (fact_id)
            WHERE k.selection_id = $selection_id
              AND f.relation_id IN ($a, $b)
            GROUP BY k.layer, k.neuron
            """
    asked = {"selection_id": selection.selection_id, "a": relation_a, "b": relation_b}
    shared = fetch(
        connection,
        NeuronOfBoth,
        f"""
        SELECT layer, neuron, facts_a, facts_b
        FROM ({degrees})
        WHERE facts_a > 0
          AND facts_b > 0
        ORDER BY least(facts_a, facts_b) DESC, facts_a + facts_b DESC, layer, neuron
        LIMIT $limit OFFSET $offset
        """,
        {**asked, "limit": limit, "offset": offset},
    )
    neurons_a, neurons_b, both, either = fetch_one(
        connection,
        f"""
        SELECT count(*) FILTER (facts_a > 0),
               count(*) FILTER (facts_b > 0),
               count(*) FILTER (facts_a > 0 AND facts_b > 0),
               count(*)
        FROM ({degrees})
        """,
        asked,
    )
    facts_a, facts_b = fetch_one(
        connection,
        """
        SELECT count(DISTINCT k.fact_id) FILTER (f.relation_id = $a),
               count(DISTINCT k.fact_id) FILTER (f.relation_id = $b)
        FROM knowledge_neurons AS k
        JOIN facts AS f USING (fact_id)
        WHERE k.selection_id = $selection_id
          AND f.relation_id IN ($a, $b)
        """,
        asked,
    )
    return RelationPairReport(
        relation_a,
        label_a,
        relation_b,
        label_b,
        facts_a,
        facts_b,
        neurons_a,
        neurons_b,
        both,
        both / either if either else None,
        tuple(shared),
    )
