"""Knowledge neurons suppressed and amplified on their own prompts (Dai et al. 2022, section 4.2).

As in the paper, a fact's neurons and the prompts that they are tried on are not kept apart; beside
that, neurons that one half of the templates chooses are tried on prompts of the other (`halves`).
Prompts are those that the model answers rightly, of known facts. Activations at the run's position
are set to 0, or doubled. Controls: as many neurons of the same layers, at random or the most
active; the paper's baseline chooses by activation, too, with a threshold of its own.
"""

from collections.abc import Sequence

import duckdb
import numpy as np
import torch

from atlas.engine.interventions import AMPLIFY, SUPPRESS
from atlas.engine.probe import probe
from atlas.evidence.experiments.drawn_facts import fact_items
from atlas.evidence.experiments.experiment import (
    Chart,
    Claim,
    Item,
    Measuring,
    Point,
    Row,
    Rows,
    Setting,
)
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target
from atlas.specificity.activations import mean_activations
from atlas.specificity.controls import Neurons, random_alike, strongest
from atlas.specificity.partners import HALVES
from atlas.specificity.plan import FactPlan

DRAWS = 5  # of random neurons
OWN, HELD_OUT, ACTIVE, RANDOM = "knowledge neurons", "halves", "most active", "random"
FACTORS = {"suppressed": SUPPRESS, "amplified": AMPLIFY}


class Suppress:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        return fact_items(connection, setting, 1, DRAWS)

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        return [row for item in items for row in _rows(measuring.lm, item.name, item.task)]

    def claims(self, rows: Rows) -> list[Claim]:
        source = "Dai et al. 2022, section 4.2, figure 4"
        baseline = "as many neurons of the same layers, the most active"
        change = "change of P relative to P"
        return [
            Claim(
                "suppressed",
                "knowledge neurons suppressed, the answer loses probability",
                source,
                change,
                -0.2903,
                -0.0147,
                rows.contrast("suppressed", OWN, ACTIVE),
                baseline,
                "lower",
            ),
            Claim(
                "suppressed, random",
                "the same, beside random neurons",
                source,
                change,
                -0.2903,
                None,
                rows.contrast("suppressed", OWN, RANDOM),
                "as many random neurons of the same layers",
                "lower",
            ),
            Claim(
                "suppressed, held out",
                "the same with neurons of one half of the templates on prompts of the other",
                source,
                change,
                -0.2903,
                None,
                rows.contrast("suppressed", HELD_OUT, RANDOM),
                "as many random neurons of the same layers",
                "lower",
            ),
            Claim(
                "amplified",
                "knowledge neurons amplified, the answer gains more than with others amplified",
                source,
                change,
                0.3117,
                -0.0127,
                rows.contrast("amplified", OWN, ACTIVE),
                baseline,
                "higher",
            ),
            Claim(
                "amplified gains",
                "the same, beside leaving them as they are",
                source,
                change,
                0.3117,
                None,
                rows.beside("amplified", OWN, 0.0),
                "no change",
                "higher",
            ),
            Claim(
                "few flips",
                "suppressing knowledge neurons moves probabilities more than it changes answers",
                "Niu et al. 2024, section 4",
                "share of right prompts that become wrong",
                None,
                None,
                rows.contrast("harm when suppressed", "flips", "share of P lost"),
                "share of P that is lost",
                "lower",
            ),
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        points = tuple(
            Point(series, measure, rows.mean(measure, series))
            for measure in FACTORS
            for series in rows.series(measure)
        )
        return [
            Chart(
                "change",
                "Change of P(answer) on the fact's own prompts",
                "Mean over facts of the relative change of P(answer), neurons suppressed and "
                "amplified, for knowledge neurons and their controls.",
                "activations",
                "change of P relative to P",
                points,
            )
        ]


def _rows(lm: LanguageModel, item: str, plan: FactPlan) -> list[Row]:
    prompts = [p for p in plan.fact.prompts]
    targets = [lm.targets(p.text, p.object, p.subject_end) for p in prompts]
    (activation,) = mean_activations(lm, [[one for some in targets for one in some]])
    assert activation is not None  # a known fact has right prompts
    draw = plan.draws
    own = plan.chosen.neurons
    sets: list[tuple[str, Neurons, int | None]] = [
        (OWN, own, None),
        (ACTIVE, strongest(own, activation), None),
        *((RANDOM, random_alike(own, lm.neurons_per_layer, draw), None) for _ in range(DRAWS)),
        *((HELD_OUT, plan.chosen.by_half[1 - half], half) for half in range(HALVES)),
    ]
    asked = [
        (series, how, neurons, target, factor)
        for series, neurons, half in sets
        if neurons
        for how, factor in FACTORS.items()
        for prompt, target in zip(prompts, targets, strict=True)
        if half is None or prompt.half == half
    ]
    union = sorted({neuron for _, _, neurons, _, _ in asked for neuron in neurons})
    column = {neuron: number for number, neuron in enumerate(union)}
    encoded: list[list[Target]] = [*targets, *(target for _, _, _, target, _ in asked)]
    factors = torch.ones(len(encoded), len(union))
    for row, (_, _, neurons, _, factor) in enumerate(asked, len(targets)):
        factors[row, [column[neuron] for neuron in neurons]] = factor
    answers = probe(lm, encoded, neurons=union, factors=factors)
    before = {id(target): number for number, target in enumerate(targets)}
    changes: dict[tuple[str, str], list[float]] = {}
    flips: list[bool] = []
    for row, (series, how, _, target, _) in enumerate(asked, len(targets)):
        clean = before[id(target)]
        change = float(np.expm1(answers.log_p[row] - answers.log_p[clean]))
        changes.setdefault((how, series), []).append(change)
        if (how, series) == ("suppressed", OWN):
            flips.append(bool(answers.answer_rank[row] > 1))
    means = {key: float(np.mean(some)) for key, some in changes.items()}
    return [
        *(Row(item, how, series, None, mean) for (how, series), mean in means.items()),
        Row(item, "harm when suppressed", "flips", None, float(np.mean(flips))),
        Row(item, "harm when suppressed", "share of P lost", None, -means["suppressed", OWN]),
    ]


EXPERIMENT = Suppress()
