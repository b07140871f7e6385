"""How many knowledge neurons facts of the same object, or of the same subject, share.

With n_g(i) the facts of group g that neuron i serves, N_g the facts of g, and x_g(i) = n_g(i)/N_g:

    all shared, within           sum_g sum_i C(n_g(i), 2)         of sum_g C(N_g, 2) pairs
    all shared, across           sum_i C(n(i), 2) less those      of C(N, 2) less those
    across, over group pairs     sum_i ((sum_g x_g(i))^2 - sum_g x_g(i)^2) / 2 / C(G, 2)

so that neither the pairs of facts nor the pairs of groups are enumerated. Which facts count:
see selection/covered.py.
"""

from typing import Literal

import duckdb

from atlas.queries.object_overlap import object_overlap
from atlas.queries.overlap import GroupPair, OverlapGroup, OverlapReport, PooledOverlap
from atlas.selection.chosen import ChosenSelection
from atlas.selection.covered import cover
from atlas.store.rows import fetch, fetch_one

GroupedBy = Literal["object", "subject"]


def group_overlap(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    by: GroupedBy,
    limit: int | None = None,
) -> OverlapReport:
    """Overlap by object or subject, whatever the relation; the largest `limit` groups are shown."""
    _group(connection, selection, by)
    facts, groups, within_groups, within_pairs = fetch_one(
        connection,
        """
        SELECT coalesce(sum(facts), 0)::BIGINT,
               count(*),
               count(*) FILTER (WHERE facts > 1),
               coalesce(sum(facts * (facts - 1) // 2), 0)::BIGINT
        FROM fact_groups
        """,
    )
    shared, shared_within, by_group_pairs = fetch_one(
        connection,
        """
        WITH neurons AS (
            SELECT d.layer,
                   d.neuron,
                   sum(d.facts)::BIGINT AS facts,
                   sum(d.facts * (d.facts - 1) // 2)::BIGINT AS within,
                   sum(d.facts / g.facts) AS x,
                   sum((d.facts / g.facts) ** 2) AS x2
            FROM group_degrees AS d
            JOIN fact_groups AS g USING (number)
            GROUP BY d.layer, d.neuron
        )
        SELECT coalesce(sum(facts * (facts - 1) // 2), 0)::BIGINT,
               coalesce(sum(within), 0)::BIGINT,
               coalesce(sum(x * x - x2) / 2, 0)
        FROM neurons
        """,
    )
    (mean_within,) = fetch_one(
        connection,
        """
        WITH pairs AS (
            SELECT number, sum(facts * (facts - 1) // 2) AS shared
            FROM group_degrees
            GROUP BY number
        )
        SELECT avg(coalesce(p.shared, 0) / (g.facts * (g.facts - 1) // 2))
        FROM fact_groups AS g
        LEFT JOIN pairs AS p USING (number)
        WHERE g.facts > 1
        """,
    )
    across_pairs = facts * (facts - 1) // 2 - within_pairs
    group_pairs = groups * (groups - 1) // 2
    shared_across = shared - shared_within
    return OverlapReport(
        by,
        facts,
        groups,
        PooledOverlap(
            "within",
            within_pairs,
            shared_within,
            shared_within / within_pairs if within_pairs else None,
            within_groups,
            mean_within,
        ),
        PooledOverlap(
            "across",
            across_pairs,
            shared_across,
            shared_across / across_pairs if across_pairs else None,
            group_pairs,
            by_group_pairs / group_pairs if group_pairs else None,
        ),
        tuple(_shown(connection, limit)),
        tuple(_pairs(connection, limit)),
        object_overlap(connection, selection),
    )


def _group(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, by: GroupedBy
) -> None:
    """Make the tables fact_groups and group_degrees, of this connection only."""
    parameters = {"selection_id": selection.selection_id}
    cover(connection, selection)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE fact_groups AS
        SELECT {by} AS name,
               count(*) AS facts,
               row_number() OVER (ORDER BY count(*) DESC, {by})::INTEGER AS number
        FROM covered_facts
        GROUP BY {by}
        """
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE group_degrees AS
        WITH numbered AS (
            SELECT f.fact_id, g.number
            FROM covered_facts AS f
            JOIN fact_groups AS g ON g.name = f.{by}
        )
        SELECT n.number, k.layer, k.neuron, count(*) AS facts
        FROM knowledge_neurons AS k
        JOIN numbered AS n USING (fact_id)
        WHERE k.selection_id = $selection_id
        GROUP BY n.number, k.layer, k.neuron
        """,
        parameters,
    )


_SHOWN = """
        shown AS (
            SELECT number, name, facts
            FROM fact_groups
            WHERE facts > 1
            ORDER BY number
            LIMIT $limit
        ),
        degrees AS (
            SELECT d.number, d.layer, d.neuron, d.facts
            FROM group_degrees AS d
            SEMI JOIN shown USING (number)
        ),
        neurons AS (
            SELECT number, count(*) AS neurons
            FROM degrees
            GROUP BY number
        ),
        common AS (
            SELECT a.number AS a,
                   b.number AS b,
                   count(*) AS neurons,
                   sum(CASE WHEN a.number = b.number THEN a.facts * (a.facts - 1) // 2
                            ELSE a.facts * b.facts END)::BIGINT AS shared
            FROM degrees AS a
            JOIN degrees AS b USING (layer, neuron)
            WHERE a.number <= b.number
            GROUP BY a.number, b.number
        )
"""


def _shown(connection: duckdb.DuckDBPyConnection, limit: int | None) -> list[OverlapGroup]:
    return fetch(
        connection,
        OverlapGroup,
        f"""
        WITH {_SHOWN}
        SELECT s.name AS "group",
               s.name AS label,
               s.facts,
               coalesce(n.neurons, 0) AS neurons,
               coalesce(c.shared, 0) / (s.facts * (s.facts - 1) // 2) AS mean_shared_neurons
        FROM shown AS s
        LEFT JOIN neurons AS n USING (number)
        LEFT JOIN common AS c
          ON c.a = s.number
         AND c.b = s.number
        ORDER BY s.number
        """,
        {"limit": limit},
    )


def _pairs(connection: duckdb.DuckDBPyConnection, limit: int | None) -> list[GroupPair]:
    return fetch(
        connection,
        GroupPair,
        f"""
        WITH {_SHOWN},
        pairs AS (
            SELECT a.name AS group_a,
                   b.name AS group_b,
                   a.number AS a,
                   b.number AS b,
                   CASE WHEN a.number = b.number THEN a.facts * (a.facts - 1) // 2
                        ELSE a.facts * b.facts END AS fact_pairs,
                   coalesce(c.shared, 0) AS shared,
                   coalesce(c.neurons, 0) AS neurons_both,
                   coalesce(na.neurons, 0) + coalesce(nb.neurons, 0) - coalesce(c.neurons, 0)
                       AS neurons_either
            FROM shown AS a
            JOIN shown AS b ON a.number <= b.number
            LEFT JOIN neurons AS na ON na.number = a.number
            LEFT JOIN neurons AS nb ON nb.number = b.number
            LEFT JOIN common AS c ON c.a = a.number AND c.b = b.number
        )
        SELECT group_a,
               group_b,
               fact_pairs,
               shared AS shared_by_fact_pairs,
               shared / fact_pairs AS mean_shared_neurons,
               neurons_both,
               neurons_both / nullif(neurons_either, 0) AS jaccard
        FROM pairs
        ORDER BY a, b
        """,
        {"limit": limit},
    )
