"""A neuron among its scores and its fellows: their distribution, and who serves the same facts."""

from dataclasses import dataclass

import duckdb

from atlas.selection.chosen import ChosenSelection
from atlas.selection.degrees import neuron_degrees
from atlas.store.rows import fetch

BINS = 24


@dataclass(frozen=True)
class ScoreBin:
    """How many of a neuron's stored scores lie from `low` up to `high`."""

    low: float
    high: float
    prompts: int
    chosen: int  # of those prompts, the ones of facts whose knowledge neuron it is


@dataclass(frozen=True)
class Fellow:
    """A neuron that serves facts together with the one in question."""

    layer: int
    neuron: int
    together: int  # facts that both serve
    facts: int  # that the fellow serves
    relations: int  # of those


def gather_scores(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, layer: int, neuron: int
) -> None:
    """Make the table own_scores (prompt_id, fact_id, score, activation, served) of the connection.

    It has the neuron's stored scores; served: whether it is a knowledge neuron of the fact. Scores
    lie by prompt, so that to find one neuron's is to look at them all: once for every question.
    """
    connection.execute(
        """
        CREATE OR REPLACE TEMPORARY TABLE own_scores AS
        WITH own AS MATERIALIZED (
            SELECT prompt_id, score, activation
            FROM attributions
            WHERE run_id = $run_id
              AND layer = $layer
              AND neuron = $neuron
        )
        SELECT o.prompt_id,
               p.fact_id,
               o.score,
               o.activation,
               k.fact_id IS NOT NULL AS served
        FROM own AS o
        JOIN prompts AS p USING (prompt_id)
        LEFT JOIN knowledge_neurons AS k
          ON k.selection_id = $selection_id
         AND k.fact_id = p.fact_id
         AND k.layer = $layer
         AND k.neuron = $neuron
        """,
        {
            "run_id": selection.run_id,
            "selection_id": selection.selection_id,
            "layer": layer,
            "neuron": neuron,
        },
    )


def score_bins(connection: duckdb.DuckDBPyConnection) -> list[ScoreBin]:
    """The distribution of the gathered scores, in bins of one width; none without scores."""
    return fetch(
        connection,
        ScoreBin,
        """
        WITH reach AS (
            SELECT min(score)::DOUBLE AS low,
                   greatest(max(score)::DOUBLE - min(score)::DOUBLE, 1e-12) / $bins AS width
            FROM own_scores
        ),
        counted AS (
            SELECT least(floor((o.score::DOUBLE - r.low) / r.width), $bins - 1)::INTEGER AS bin,
                   count(*) AS prompts,
                   count(*) FILTER (o.served) AS chosen
            FROM own_scores AS o
            CROSS JOIN reach AS r
            GROUP BY bin
        )
        SELECT r.low + b.bin * r.width AS low,
               r.low + (b.bin + 1) * r.width AS high,
               coalesce(c.prompts, 0) AS prompts,
               coalesce(c.chosen, 0) AS chosen
        FROM range($bins) AS b (bin)
        CROSS JOIN reach AS r
        LEFT JOIN counted AS c USING (bin)
        WHERE r.low IS NOT NULL
        ORDER BY b.bin
        """,
        {"bins": BINS},
    )


def fellows(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    layer: int,
    neuron: int,
    limit: int | None = None,
) -> list[Fellow]:
    """The neurons that serve most of the facts that this one serves."""
    return fetch(
        connection,
        Fellow,
        f"""
        WITH own AS (
            SELECT fact_id
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
              AND layer = $layer
              AND neuron = $neuron
        ),
        beside AS MATERIALIZED (
            SELECT k.layer, k.neuron, count(*) AS together
            FROM knowledge_neurons AS k
            SEMI JOIN own USING (fact_id)
            WHERE k.selection_id = $selection_id
              AND (k.layer, k.neuron) <> ($layer, $neuron)
            GROUP BY k.layer, k.neuron
            ORDER BY together DESC, k.layer, k.neuron
            LIMIT $limit
        ),
        degrees AS (
            {neuron_degrees("beside")}
        )
        SELECT b.layer,
               b.neuron,
               b.together,
               d.facts,
               d.relations
        FROM beside AS b
        JOIN degrees AS d USING (layer, neuron)
        ORDER BY b.together DESC, b.layer, b.neuron
        """,
        {
            "selection_id": selection.selection_id,
            "layer": layer,
            "neuron": neuron,
            "limit": limit,
        },
    )
