"""How many knowledge neurons a fact has, and in which layers (Dai et al. 2022, sections 4.1, 5.1).

From stored rows alone, over every fact of the selection with a knowledge neuron. The depth of a
neuron is that of its layer's middle: 0 is where the model begins, 1 where it ends.
"""

from collections.abc import Sequence

import duckdb

from atlas.errors import NoScores, NotFound
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
from atlas.selection.chosen import labelled

CHANCE = 0.5  # mean depth of neurons drawn from all layers alike
SOURCE = "Dai et al. 2022"


class Neurons:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        selection = setting.neurons_of
        if selection.preset == "published":
            raise NoScores(
                f"run {selection.run_id} is of published neurons, without scores that tell what "
                "single prompts choose: ask a run that measured a model",
                parameters=["run"],
            )
        facts = connection.execute(
            """
            SELECT fact_id,
                   list((layer::INTEGER, neuron) ORDER BY layer, neuron)
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
            GROUP BY fact_id
            ORDER BY fact_id
            """,
            {"selection_id": selection.selection_id},
        ).fetchall()
        if not facts:
            raise NotFound(f"selection {labelled(selection)} has no knowledge neuron")
        return [
            Item(fact_id, fact_id, neurons, digest(1, selection.ratio, neurons))
            for fact_id, neurons in facts
        ]

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        selection = measuring.setting.neurons_of
        with measuring.atlas.reading() as connection:
            by_prompt = dict(
                connection.execute(
                    """
                    WITH passing AS (
                        SELECT p.fact_id,
                               p.prompt_id,
                               count(*) AS neurons
                        FROM prompts AS p
                        JOIN prompt_results AS m USING (prompt_id)
                        JOIN attributions AS a USING (run_id, prompt_id)
                        WHERE m.run_id = $run_id
                          AND p.fact_id IN $facts
                          AND a.score >= $ratio * m.max_score
                        GROUP BY p.fact_id, p.prompt_id
                    )
                    SELECT fact_id,
                           avg(neurons)
                    FROM passing
                    GROUP BY fact_id
                    """,
                    {
                        "run_id": selection.run_id,
                        "facts": [item.name for item in items],
                        "ratio": selection.ratio,
                    },
                ).fetchall()
            )
        rows = []
        for item in items:
            depths = [(layer + 0.5) / selection.layers for layer, _ in item.task]
            rows += [
                Row(item.name, "neurons", "fact", None, len(item.task)),
                Row(item.name, "neurons", "single prompt", None, by_prompt[item.name]),
                Row(item.name, "depth", "fact", None, sum(depths) / len(depths)),
            ]
            for layer in range(selection.layers):
                share = sum(at == layer for at, _ in item.task) / len(item.task)
                rows.append(Row(item.name, "share of its neurons", "fact", layer, share))
        return rows

    def claims(self, rows: Rows) -> list[Claim]:
        return [
            Claim(
                "fewer than a prompt's",
                "a fact has few knowledge neurons, fewer than a single prompt about it chooses: "
                "what its paraphrases do not share is left out",
                f"{SOURCE}, sections 3.3 and 4.1",
                "neurons",
                4.13,
                None,
                rows.contrast("neurons", "fact", "single prompt"),
                "what a single prompt chooses",
                "lower",
            ),
            Claim(
                "in the upper layers",
                "knowledge neurons lie in the upper layers",
                f"{SOURCE}, section 4.1, figure 3",
                "depth",
                None,
                None,
                rows.beside("depth", "fact", CHANCE),
                "neurons of all layers alike",
                "higher",
            ),
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                "layers",
                "Share of a fact's knowledge neurons by layer",
                "Mean over facts of the share of their knowledge neurons in each layer.",
                "layer",
                "share of its neurons",
                rows.points("share of its neurons"),
            )
        ]


EXPERIMENT = Neurons()
