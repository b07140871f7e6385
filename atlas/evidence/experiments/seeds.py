"""Whether facts sit in the same neurons of a model that was trained from other weights.

Two models of one shape that learnt the same texts from other seeds have their hidden neurons in
another order: what a neuron's index means is chance (Hecht-Nielsen 1990). So a fact's neurons
should be no others' more than chance gives, while what does not depend on the order should agree:
in which layers they lie, and how many there are. From stored rows alone, over facts with knowledge
neurons in selections of the same name of all runs of models of the same shape, position and method.

Chance for a fact is a fact of another relation in the other model.
"""

import random
from collections.abc import Sequence

import duckdb

from atlas.errors import NotFound
from atlas.evidence.experiments.experiment import (
    Chart,
    Claim,
    Item,
    Measuring,
    Point,
    Row,
    Rows,
    Setting,
    digest,
)
from atlas.evidence.experiments.jaccard import jaccard
from atlas.selection.chosen import labelled

SAME, OTHER = "the same", "another"
SOURCE = "Hecht-Nielsen 1990, hidden units may be permuted"

Neuron = tuple[int, int]  # layer, index


class Seeds:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        selection = setting.selection
        others = connection.execute(
            """
            SELECT s.selection_id
            FROM selections AS s
            JOIN runs AS r USING (run_id)
            JOIN models AS m USING (model_id)
            JOIN selections AS mine ON mine.selection_id = $selection_id
            JOIN runs AS my_run ON my_run.run_id = mine.run_id
            JOIN models AS my_model ON my_model.model_id = my_run.model_id
            WHERE m.model_id <> my_model.model_id
              AND m.layers = my_model.layers
              AND m.neurons_per_layer = my_model.neurons_per_layer
              AND m.objective = my_model.objective
              AND r.position = my_run.position
              AND r.method = my_run.method
              AND r.null_of IS NULL
              AND s.name = mine.name
            ORDER BY s.selection_id
            """,
            {"selection_id": selection.selection_id},
        ).fetchall()
        if not others:
            raise NotFound(
                f"the atlas has no selection {selection.name} of another model of the shape of "
                f"{selection.model}: train one from another seed and index it into this atlas"
            )
        facts = _facts(connection, [selection.selection_id])[selection.selection_id]
        theirs = _facts(connection, [other for (other,) in others])
        items = []
        for fact_id, (relation_id, neurons) in facts.items():
            found = {
                other: (of[fact_id][1], _another(of, fact_id, relation_id, setting.seed))
                for other, of in theirs.items()
                if fact_id in of
            }
            found = {other: pair for other, pair in found.items() if pair[1]}
            if found:
                task = relation_id, neurons, found
                items.append(Item(fact_id, fact_id, task, digest(1, setting.seed, task)))
        if not items:
            raise NotFound(
                f"no fact of selection {labelled(selection)} has knowledge neurons in another "
                "model of its shape: index the same facts on both"
            )
        return items

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        layers = measuring.setting.selection.layers
        rows = []
        for item in items:
            _, own, found = item.task
            for number, (same, other) in enumerate(found.values()):
                for series, neurons in ((SAME, same), (OTHER, other)):
                    rows += [
                        Row(item.name, "Jaccard", series, number, jaccard(own, neurons)),
                        Row(
                            item.name,
                            "layers in common",
                            series,
                            number,
                            _common_share(own, neurons, layers),
                        ),
                        Row(
                            item.name,
                            "difference of counts",
                            series,
                            number,
                            abs(len(own) - len(neurons)),
                        ),
                    ]
        return rows

    def claims(self, rows: Rows) -> list[Claim]:
        against = "another relation's fact in the other model"
        return [
            Claim(
                "the same neurons",
                "a fact has the same neurons in a model trained from another seed",
                SOURCE + ": not expected",
                "Jaccard index",
                None,
                None,
                rows.contrast("Jaccard", SAME, OTHER),
                against,
                "higher",
            ),
            Claim(
                "the same layers",
                "a fact's neurons lie in the same layers whatever the seed",
                "of what a seed does not change",
                "share of neurons that lie in common layers",
                None,
                None,
                rows.contrast("layers in common", SAME, OTHER),
                against,
                "higher",
            ),
            Claim(
                "as many neurons",
                "a fact has about as many neurons whatever the seed",
                "of what a seed does not change",
                "difference of their numbers",
                None,
                None,
                rows.contrast("difference of counts", SAME, OTHER),
                against,
                "lower",
            ),
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                "seeds",
                "A fact in two models of other seeds",
                "Mean over facts of what the fact's neurons in one model have in common with its "
                "own in the other, and with those of a fact of another relation there.",
                "the other model's fact",
                "share",
                tuple(
                    Point(series, measure, rows.mean(measure, series))
                    for measure in ("Jaccard", "layers in common")
                    for series in (SAME, OTHER)
                ),
            )
        ]


def _facts(
    connection: duckdb.DuckDBPyConnection, selections: Sequence[str]
) -> dict[str, dict[str, tuple[str, list[Neuron]]]]:
    """By selection and fact: the fact's relation and its neurons."""
    rows = connection.execute(
        """
        SELECT k.selection_id,
               k.fact_id,
               f.relation_id,
               list((k.layer::INTEGER, k.neuron) ORDER BY k.layer, k.neuron)
        FROM knowledge_neurons AS k
        JOIN facts AS f USING (fact_id)
        WHERE k.selection_id IN (SELECT unnest($selections))
        GROUP BY k.selection_id, k.fact_id, f.relation_id
        ORDER BY k.selection_id, k.fact_id
        """,
        {"selections": list(selections)},
    ).fetchall()
    found: dict[str, dict[str, tuple[str, list[Neuron]]]] = {}
    for selection_id, fact_id, relation_id, neurons in rows:
        found.setdefault(selection_id, {})[fact_id] = relation_id, neurons
    return found


def _another(
    facts: dict[str, tuple[str, list[Neuron]]], fact_id: str, relation_id: str, seed: int
) -> list[Neuron]:
    """The neurons of a fact of another relation, drawn; none where there is no such fact."""
    names = list(facts)
    draw = random.Random(f"seeds {seed} {fact_id}")
    start = draw.randrange(len(names))
    for place in range(len(names)):
        relation, neurons = facts[names[(start + place) % len(names)]]
        if relation != relation_id:
            return neurons
    return []


def _common_share(first: Sequence[Neuron], second: Sequence[Neuron], layers: int) -> float:
    """What two distributions over layers have in common, from 0 to 1."""

    def shares(neurons: Sequence[Neuron]) -> list[float]:
        return [sum(at == layer for at, _ in neurons) / len(neurons) for layer in range(layers)]

    return sum(min(a, b) for a, b in zip(shares(first), shares(second), strict=True))


EXPERIMENT = Seeds()
