"""How many neurons a fact has, and how stable they are, at other ratios and sharings.

One statement of SQL over the stored scores: at each ratio, in how many of its fact's prompts a
neuron passes; at each sharing, which neurons pass in enough of them, in all and in either half of
the relation's templates. A relation is one item, a mean over its measured facts. What else a
selection may ask is not asked here. Ratios begin where the run stored scores.
"""

from collections.abc import Sequence

import duckdb

from atlas.errors import NoScores
from atlas.evidence.experiments.experiment import (
    Chart,
    Claim,
    Item,
    Measuring,
    Row,
    Rows,
    Setting,
    digest,
)
from atlas.specificity.halves import HALF
from atlas.store.rows import fetch_one

RATIOS = (0.1, 0.15, 0.2, 0.3, 0.5)
SHARINGS = (0.3, 0.5, 0.7, 0.9)
LOOSE, PAPER, STRICT = 0.1, 0.2, 0.3  # ratios that claims are about


def at(sharing: float) -> str:
    """How rows at a sharing are called."""
    return f"sharing {sharing:g}"


class Grid:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        selection = setting.neurons_of
        if selection.preset == "published":
            raise NoScores(
                f"run {selection.run_id} is of published neurons, without scores that other "
                "thresholds could be tried on: ask a run that measured a model",
                parameters=["run"],
            )
        relations = connection.execute(
            """
            SELECT f.relation_id,
                   count(*) AS prompts
            FROM prompt_results AS m
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            WHERE m.run_id = $run_id
              AND m.skipped_because IS NULL
            GROUP BY f.relation_id
            ORDER BY length(f.relation_id), f.relation_id
            """,
            {"run_id": selection.run_id},
        ).fetchall()
        return [
            Item(relation, None, None, digest(1, RATIOS, SHARINGS, selection.run_id, prompts))
            for relation, prompts in relations
        ]

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        run_id = measuring.setting.neurons_of.run_id
        with measuring.atlas.reading() as connection:
            (floor,) = fetch_one(
                connection,
                "SELECT score_floor FROM runs WHERE run_id = $run_id",
                {"run_id": run_id},
            )
            found = connection.execute(
                _GRID,
                {
                    "run_id": run_id,
                    "relations": [item.name for item in items],
                    "ratios": [ratio for ratio in RATIOS if ratio >= floor],
                    "sharings": list(SHARINGS),
                },
            ).fetchall()
        return [
            Row(relation, measure, at(sharing), ratio, value)
            for relation, ratio, sharing, neurons, halves in found
            for measure, value in (("neurons", neurons), ("halves", halves))
            if value is not None
        ]

    def claims(self, rows: Rows) -> list[Claim]:
        return [
            Claim(
                "stricter is more stable",
                "neurons that more paraphrases must share agree better between halves of the "
                "templates",
                "Dai et al. 2022, section 3.3",
                "Jaccard index of what two halves choose",
                None,
                None,
                rows.contrast("halves", at(0.9), at(0.5), PAPER),
                "half of the paraphrases must share them",
                "higher",
            ),
            Claim(
                "few by thresholds",
                "that a fact has few neurons is what the thresholds make it: with a third of the "
                "ratio it has more",
                "Niu et al. 2024, on forcing 2 to 5 neurons",
                "neurons a fact",
                None,
                None,
                rows.contrast("neurons", at(0.7), at(0.7), LOOSE, STRICT),
                f"a ratio of {STRICT}",
                "higher",
            ),
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                measure,
                title,
                f"Mean over relations of {what}, by the ratio, a line for each sharing.",
                "ratio",
                unit,
                rows.points(measure),
            )
            for measure, title, what, unit in (
                ("neurons", "Neurons a fact by thresholds", "the neurons a fact has", "neurons"),
                (
                    "halves",
                    "Stability by thresholds",
                    "the Jaccard index of what two halves of a fact's templates choose",
                    "Jaccard index",
                ),
            )
        ]


_GRID = f"""
    WITH asked AS (
        SELECT f.relation_id,
               p.fact_id,
               p.prompt_id,
               m.max_score,
               {HALF} AS half
        FROM prompt_results AS m
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f USING (fact_id)
        WHERE m.run_id = $run_id
          AND m.skipped_because IS NULL
          AND m.max_score > 0
          AND f.relation_id IN (SELECT unnest($relations))
    ),
    sizes AS (
        SELECT relation_id,
               fact_id,
               count(*) AS prompts,
               count(*) FILTER (half = 0) AS first,
               count(*) FILTER (half = 1) AS second
        FROM asked
        GROUP BY relation_id, fact_id
    ),
    passing AS (
        SELECT r.ratio,
               q.fact_id,
               a.layer,
               a.neuron,
               count(*) AS prompts,
               count(*) FILTER (q.half = 0) AS first,
               count(*) FILTER (q.half = 1) AS second
        FROM asked AS q
        JOIN attributions AS a
          ON a.run_id = $run_id
         AND a.prompt_id = q.prompt_id
        JOIN (SELECT unnest($ratios::DOUBLE[]) AS ratio) AS r
          ON a.score >= r.ratio * q.max_score
        GROUP BY r.ratio, q.fact_id, a.layer, a.neuron
    ),
    chosen AS (
        SELECT p.ratio,
               s.sharing,
               p.fact_id,
               count(*) FILTER (p.prompts >= s.sharing * z.prompts) AS neurons,
               count(*) FILTER (
                   p.first >= s.sharing * z.first AND p.second >= s.sharing * z.second
               ) AS both,
               count(*) FILTER (
                   p.first >= s.sharing * z.first OR p.second >= s.sharing * z.second
               ) AS either
        FROM passing AS p
        JOIN sizes AS z USING (fact_id)
        CROSS JOIN (SELECT unnest($sharings::DOUBLE[]) AS sharing) AS s
        GROUP BY p.ratio, s.sharing, p.fact_id
    )
    SELECT z.relation_id,
           c.ratio,
           c.sharing,
           avg(c.neurons),
           avg(c.both / c.either) FILTER (c.either > 0 AND z.first > 0 AND z.second > 0)
    FROM chosen AS c
    JOIN sizes AS z USING (fact_id)
    GROUP BY z.relation_id, c.ratio, c.sharing
    ORDER BY z.relation_id, c.ratio, c.sharing
"""

EXPERIMENT = Grid()
