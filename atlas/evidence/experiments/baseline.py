"""Neurons by activation, the paper's baseline, beside those by attribution (section 4.1, table 2).

The baseline takes a neuron's activation on the prompt for its score, and goes by a ratio of its
own. From stored rows alone: a relation is one item, a mean over its facts that have neurons both
ways, and over pairs of facts. Needs a run of the same model by activation, with such a selection.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

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
from atlas.evidence.experiments.sharing import shared_by_relation
from atlas.selection.chosen import ChosenSelection, labelled
from atlas.specificity.controls import Neuron

RATIO = 0.5  # of the baseline, as published
OWN, BASELINE = "knowledge neurons", "activation"
SECTION = "Dai et al. 2022, section 4.1, table 2"
AGAINST = f"neurons by activation, at a ratio of {RATIO:g}"


@dataclass(frozen=True)
class _Relation:
    """neurons: of each of its facts. shared: mean neurons that two facts share, within, across."""

    neurons: tuple[tuple[Neuron, ...], ...]
    shared: tuple[float, float] | None


class Baseline:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        selection = setting.selection
        other = _by_activation(connection, selection)
        own, theirs = (_relations(connection, one) for one in (selection.selection_id, other))
        both = [relation for relation in own if relation in theirs]
        if not both:
            raise NotFound(
                f"no relation has neurons both by activation and in selection "
                f"{labelled(selection)}: index the same facts by activation"
            )
        return [
            Item(relation, None, pair, digest(1, pair))
            for relation in both
            for pair in [(own[relation], theirs[relation])]
        ]

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        layers = measuring.setting.selection.layers
        return [row for item in items for row in _rows(item, layers)]

    def claims(self, rows: Rows) -> list[Claim]:
        def claim(
            name: str,
            statement: str,
            unit: str,
            published: float | None,
            baseline: float | None,
            measure: str,
            expected: Literal["higher", "lower"],
        ) -> Claim:
            return Claim(
                name,
                statement,
                SECTION,
                unit,
                published,
                baseline,
                rows.contrast(measure, OWN, BASELINE),
                AGAINST,
                expected,
            )

        return [
            claim(
                "more by attribution",
                "a fact has more knowledge neurons than neurons by the baseline",
                "neurons a fact",
                4.13,
                3.96,
                "neurons",
                "higher",
            ),
            claim(
                "fewer shared across relations",
                "facts of different relations share fewer knowledge neurons than neurons by the "
                "baseline",
                "neurons",
                0.09,
                None,
                "shared across relations",
                "lower",
            ),
            claim(
                "more the relation's own",
                "of what facts share, less is shared across relations than by the baseline",
                "shared across relations, as a share of both",
                0.09 / (1.23 + 0.09),
                None,
                "share across relations",
                "lower",
            ),
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                "layers",
                "Layers of neurons by attribution and by activation",
                "Mean over relations of the share of their facts' neurons in each layer, for "
                "knowledge neurons and for neurons by activation.",
                "layer",
                "share of the neurons",
                rows.points("share of the neurons"),
            )
        ]


def _rows(item: Item, layers: int) -> list[Row]:
    found = []
    for series, of in zip((OWN, BASELINE), item.task, strict=True):
        values = {"neurons": fmean(len(neurons) for neurons in of.neurons)}
        if of.shared is not None:
            within, across = of.shared
            values["shared within the relation"] = within
            values["shared across relations"] = across
            if within + across > 0:
                values["share across relations"] = across / (within + across)
        found += [Row(item.name, measure, series, None, value) for measure, value in values.items()]
        everything = [layer for neurons in of.neurons for layer, _ in neurons]
        found += [
            Row(item.name, "share of the neurons", series, layer, share)
            for layer in range(layers)
            for share in [everything.count(layer) / len(everything)]
        ]
    return found


def _by_activation(connection: duckdb.DuckDBPyConnection, selection: ChosenSelection) -> str:
    """The id of the baseline's selection; raises NotFound with the command that makes it."""
    if selection.preset == "published":
        raise NoScores(
            f"run {selection.run_id} is of published neurons: ask a run that measured a model",
            parameters=["run"],
        )
    rows = connection.execute(
        """
        SELECT r.run_id,
               s.selection_id
        FROM runs AS r
        JOIN runs AS mine ON mine.run_id = $run_id
        LEFT JOIN selections AS s
          ON s.run_id = r.run_id
         AND s.ratio = $ratio
         AND s.selection_id <> $selection_id
        WHERE r.model_id = mine.model_id
          AND r.position = mine.position
          AND r.method = 'activation'
          AND r.null_of IS NULL
        ORDER BY s.selection_id IS NULL,
                 s.asked_at DESC NULLS LAST,
                 s.created_at DESC,
                 r.run_id
        """,
        {"run_id": selection.run_id, "selection_id": selection.selection_id, "ratio": RATIO},
    ).fetchall()
    if not rows:
        raise NotFound(
            "the atlas has no run by activation of this model: index it by that method first",
            parameters=["by_activation"],
        )
    run_id, found = rows[0]
    if found is None:
        raise NotFound(
            f"run {run_id}, by activation, has no selection at the baseline's ratio, {RATIO:g}: "
            "select its neurons at that first",
            parameters=["at_the_baseline"],
        )
    return str(found)


def _relations(connection: duckdb.DuckDBPyConnection, selection_id: str) -> Mapping[str, _Relation]:
    """By relation its facts' neurons, and what they share."""
    neurons: dict[str, list[tuple[Neuron, ...]]] = defaultdict(list)
    for relation, of in connection.execute(
        """
        SELECT f.relation_id,
               list((k.layer::INTEGER, k.neuron) ORDER BY k.layer, k.neuron)
        FROM knowledge_neurons AS k
        JOIN facts AS f USING (fact_id)
        WHERE k.selection_id = $selection_id
        GROUP BY f.relation_id, f.fact_id
        ORDER BY length(f.relation_id), f.relation_id, f.fact_id
        """,
        {"selection_id": selection_id},
    ).fetchall():
        neurons[relation].append(tuple(of))
    shared = shared_by_relation(connection, selection_id)
    return {
        relation: _Relation(tuple(of), shared.get(relation)) for relation, of in neurons.items()
    }


EXPERIMENT = Baseline()
