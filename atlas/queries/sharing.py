"""Which facts hang together: the neurons that two of them share, and all that share with one.

A selection of published neurons has no scores: they are None there, everything else is known.
"""

from dataclasses import dataclass

import duckdb

from atlas.facts import FactColumns
from atlas.queries.knowledge import NOT_MEASURED, Knowledge, fact_knowledge
from atlas.queries.named_facts import NamedFact, one_fact
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.selection.degrees import neuron_degrees
from atlas.store.rows import fetch, fetch_one


@dataclass(frozen=True)
class SharedNeuron:
    """A knowledge neuron of two facts."""

    layer: int
    neuron: int
    score_a: float | None  # mean score for fact_a, over its prompts in which the neuron passes
    score_b: float | None
    prompt_share_a: float | None  # of fact_a's measured prompts, those in which it passes
    prompt_share_b: float | None
    facts: int  # that the neuron serves in this selection, these two included
    relations: int  # of those facts


@dataclass(frozen=True)
class SharedReport(OfSelection, rows="shared"):
    """Two facts, how many knowledge neurons each has, and those that they have in common."""

    fact_a: NamedFact
    fact_b: NamedFact
    knowledge_a: Knowledge
    knowledge_b: Knowledge
    neurons_a: int
    neurons_b: int
    both: int  # that they have in common
    jaccard: float | None  # both / either; None: neither has a knowledge neuron
    shared: tuple[SharedNeuron, ...]  # by the smaller of the two scores; at most the limit


@dataclass(frozen=True)
class Neighbour(FactColumns):
    """A fact that shares knowledge neurons with the fact in question."""

    shared_neurons: int
    jaccard: float  # shared / either
    rarity: float  # summed over the shared neurons: log2(measured facts / facts of the neuron)


@dataclass(frozen=True)
class NeighboursReport(OfSelection, rows="neighbours"):
    """A fact and those that share its knowledge neurons."""

    fact: NamedFact
    neurons: int  # knowledge neurons of the fact
    facts: int  # that share at least one of them
    neighbours: tuple[Neighbour, ...]  # most shared first, then rarest; at most the limit


def shared_report(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    a: str,
    b: str,
    limit: int | None = None,
) -> SharedReport:
    """The neurons that two facts, named as for `one_fact`, have in common.

    Swapping the facts swaps the columns and nothing else. Raises what `one_fact` raises.
    """
    return shared_of(connection, selection, one_fact(connection, a), one_fact(connection, b), limit)


def shared_of(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    fact_a: NamedFact,
    fact_b: NamedFact,
    limit: int | None = None,
) -> SharedReport:
    """The neurons that these two facts have in common."""
    asked = {
        "selection_id": selection.selection_id,
        "fact_a": fact_a.fact_id,
        "fact_b": fact_b.fact_id,
    }
    shared = fetch(
        connection,
        SharedNeuron,
        f"""
        WITH common AS (
            SELECT a.layer,
                   a.neuron,
                   a.mean_score AS score_a,
                   b.mean_score AS score_b,
                   a.prompt_share AS prompt_share_a,
                   b.prompt_share AS prompt_share_b
            FROM knowledge_neurons AS a
            JOIN knowledge_neurons AS b USING (selection_id, layer, neuron)
            WHERE a.selection_id = $selection_id
              AND b.selection_id = $selection_id
              AND a.fact_id = $fact_a
              AND b.fact_id = $fact_b
        ),
        degrees AS (
            {neuron_degrees("common")}
        )
        SELECT layer,
               neuron,
               score_a,
               score_b,
               prompt_share_a,
               prompt_share_b,
               facts,
               relations
        FROM common
        JOIN degrees USING (layer, neuron)
        ORDER BY least(score_a, score_b) DESC NULLS LAST, layer, neuron
        """,
        asked,
    )
    neurons_a, neurons_b = fetch_one(
        connection,
        """
        SELECT count(*) FILTER (WHERE fact_id = $fact_a),
               count(*) FILTER (WHERE fact_id = $fact_b)
        FROM knowledge_neurons
        WHERE selection_id = $selection_id
          AND fact_id IN ($fact_a, $fact_b)
        """,
        asked,
    )
    either = neurons_a + neurons_b - len(shared)
    knows = fact_knowledge(connection, selection.run_id, [fact_a.fact_id, fact_b.fact_id])
    return SharedReport(
        fact_a,
        fact_b,
        knows.get(fact_a.fact_id, NOT_MEASURED),
        knows.get(fact_b.fact_id, NOT_MEASURED),
        neurons_a,
        neurons_b,
        len(shared),
        len(shared) / either if either else None,
        tuple(shared[:limit]),
    )


def neighbours_report(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    wanted: str,
    limit: int | None = None,
) -> NeighboursReport:
    """The facts that share knowledge neurons with the one named, ranked.

    First by how many they share; among equals the rarer neurons win, since a hub is shared with
    nearly everything. Raises what `one_fact` raises.
    """
    return neighbours_of(connection, selection, one_fact(connection, wanted), limit)


def neighbours_of(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    fact: NamedFact,
    limit: int | None = None,
) -> NeighboursReport:
    """The facts that share knowledge neurons with this one, ranked."""
    asked = {"selection_id": selection.selection_id, "fact_id": fact.fact_id}
    (neurons,) = fetch_one(
        connection,
        """
        SELECT count(*)
        FROM knowledge_neurons
        WHERE selection_id = $selection_id
          AND fact_id = $fact_id
        """,
        asked,
    )
    # The neurons of a neighbour are counted for those that are shown, not for all that there are.
    rows = connection.execute(
        """
        WITH measured AS (
            SELECT sum(facts) AS facts
            FROM selection_relations
            WHERE selection_id = $selection_id
        ),
        own AS (
            SELECT layer, neuron
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
              AND fact_id = $fact_id
        ),
        uses AS MATERIALIZED (
            SELECT k.fact_id, k.layer, k.neuron
            FROM knowledge_neurons AS k
            JOIN own USING (layer, neuron)
            WHERE k.selection_id = $selection_id
        ),
        weights AS (
            SELECT u.layer,
                   u.neuron,
                   log2(any_value(m.facts) / count(*)) AS weight
            FROM uses AS u, measured AS m
            GROUP BY u.layer, u.neuron
        ),
        hit AS (
            SELECT u.fact_id,
                   count(*) AS shared,
                   -- rounded, or the order of summation would decide between equals
                   round(sum(w.weight), 9) AS rarity
            FROM uses AS u
            JOIN weights AS w USING (layer, neuron)
            WHERE u.fact_id <> $fact_id
            GROUP BY u.fact_id
        ),
        shown AS (
            SELECT f.relation_id,
                   f.fact_id,
                   f.subject,
                   f.object,
                   h.shared,
                   h.rarity,
                   count(*) OVER () AS neighbours
            FROM hit AS h
            JOIN facts AS f USING (fact_id)
            ORDER BY h.shared DESC, h.rarity DESC, f.relation_id, f.subject, f.fact_id
            LIMIT $limit
        ),
        sizes AS (
            SELECT k.fact_id, count(*) AS neurons
            FROM knowledge_neurons AS k
            SEMI JOIN shown USING (fact_id)
            WHERE k.selection_id = $selection_id
            GROUP BY k.fact_id
        )
        SELECT s.neighbours,
               s.relation_id,
               r.label,
               s.fact_id,
               s.subject,
               s.object,
               s.shared,
               s.shared / ($neurons + z.neurons - s.shared),
               s.rarity
        FROM shown AS s
        JOIN sizes AS z USING (fact_id)
        JOIN relations AS r USING (relation_id)
        ORDER BY s.shared DESC, s.rarity DESC, s.relation_id, s.subject, s.fact_id
        """,
        {**asked, "neurons": neurons, "limit": limit},
    ).fetchall()
    return NeighboursReport(
        fact,
        neurons,
        rows[0][0] if rows else 0,
        tuple(Neighbour(*row[1:]) for row in rows),
    )
