"""Methods that choose neurons, at equal budgets: what suppressing their choice costs, and whom.

Each method scores the neurons at the run's position on prompts of one half of a fact's templates;
those of the highest mean score are suppressed on the fact's prompts of the other half, and on
prompts of other facts. Prompts are those that the model answers rightly, of known facts.

`ablation` is no method of the index, for it needs candidates: of the union of the other methods'
largest budgets it suppresses every neuron alone, and scores it by what P(answer) loses, exactly. It
is the yardstick: no other way to score a neuron by itself can be nearer to its effect.

What a method costs is told in passes through the model for a prompt, forward or with gradients, for
seconds would be another number each time.
"""

from collections.abc import Sequence
from dataclasses import replace

import duckdb
import numpy as np
from numpy.typing import NDArray

from atlas.engine.attribution import attribute_targets
from atlas.engine.settings import AT_THE_ANSWER, METHODS
from atlas.errors import NotFound
from atlas.evidence.drawn import RunSettings, run_settings
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
from atlas.evidence.experiments.jaccard import jaccard
from atlas.evidence.experiments.losses import Asked, mean_losses
from atlas.models.language_model import LanguageModel
from atlas.prompts import UnusablePrompt
from atlas.selection.chosen import labelled
from atlas.specificity.controls import Neuron, Neurons, random_alike
from atlas.specificity.partners import OWN, AskedPrompt
from atlas.specificity.plan import FactPlan

BUDGETS = (1, 3, 5, 10, 20)  # neurons
COMPARED = 5  # the budget that claims are about
DRAWS = 3  # of random neurons
INTEGRATED, ABLATION, RANDOM = "integrated-gradients", "ablation", "random"
CHOOSE, TRY = 0, 1  # halves of the templates
LOSS, OF_RELATION, UNRELATED = "loss", "loss of its relation", "loss of unrelated facts"
BEYOND = "loss beyond its relation's"
GROUPS = {OWN: LOSS, "same_relation": OF_RELATION, "unrelated": UNRELATED}

UNPUBLISHED = "not published"
SOURCES = {
    INTEGRATED: "Dai et al. 2022, section 4.2",
    "log-probability-increase": "Yu & Ananiadou 2024",
}

Ranking = tuple[Neuron, ...]  # the best first


class Methods:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        items = fact_items(connection, setting, 1, BUDGETS, DRAWS, wanted=_has_both_halves)
        if not items:
            raise NotFound(
                f"no known fact of selection {labelled(setting.selection)} has right prompts in "
                "both halves of its templates: index more facts or templates"
            )
        return items

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        with measuring.atlas.reading() as connection:
            settings = run_settings(connection, measuring.setting.selection.run_id)
        return [row for item in items for row in _rows(measuring.lm, settings, item)]

    def claims(self, rows: Rows) -> list[Claim]:
        share = f"share of P that suppressing {COMPARED} neurons costs"

        def claim(
            name: str, statement: str, source: str, series: str, control: str, measure: str = LOSS
        ) -> Claim:
            return Claim(
                name,
                statement,
                source,
                share,
                None,
                None,
                rows.contrast(measure, series, control, COMPARED),
                "as many random neurons of the same layers"
                if control == RANDOM
                else f"as many neurons by {control}",
                "higher",
            )

        found = [
            claim(
                f"beyond {other}",
                f"neurons by integrated gradients matter more than those by {other}",
                source,
                INTEGRATED,
                other,
            )
            for other, source in (
                ("gradient-x-activation", "Sundararajan et al. 2017"),
                ("activation", "Dai et al. 2022, section 4.2, figure 4"),
            )
        ]
        found += [
            claim(
                "log probability beyond activation",
                "neurons by what they add to the log probability matter more than those by other "
                "methods that take no gradient",
                "Yu & Ananiadou 2024",
                "log-probability-increase",
                "activation",
            ),
            claim(
                "log probability beyond gradients",
                "neurons by what they add to the log probability matter more than those by "
                "integrated gradients",
                f"{UNPUBLISHED}: Yu & Ananiadou 2024 compare methods without gradients",
                "log-probability-increase",
                INTEGRATED,
            ),
            claim(
                "single effects beyond gradients",
                "neurons by what suppressing each alone costs matter more than those by "
                "integrated gradients",
                f"{UNPUBLISHED}: the yardstick",
                ABLATION,
                INTEGRATED,
            ),
        ]
        found += [
            claim(
                f"{method}, random",
                f"neurons by {method} matter more than random ones",
                SOURCES.get(method, UNPUBLISHED),
                method,
                RANDOM,
            )
            for method in rows.series(LOSS)
            if method != RANDOM
        ]
        found.append(
            claim(
                "the fact's own",
                "neurons by integrated gradients cost the fact more than others of its relation, "
                "by more than random ones do",
                "Dai et al. 2022",
                INTEGRATED,
                RANDOM,
                BEYOND,
            )
        )
        return found

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                "damage",
                "What suppressing a method's neurons costs the fact",
                "Mean over facts of the share of P(answer) that prompts of the other half of the "
                "templates lose, by the number of neurons, for each method and random neurons.",
                "neurons",
                "share of P lost",
                rows.points(LOSS),
            ),
            Chart(
                "specificity",
                "What it costs the fact more than others of its relation",
                "Mean over facts of the share of P(answer) that the fact's prompts lose, less the "
                "share that prompts of its relation with other objects lose, by the number of "
                "neurons.",
                "neurons",
                "difference of shares of P lost",
                rows.points(BEYOND),
            ),
            Chart(
                "overlap",
                "Neurons that a method has in common with integrated gradients",
                "Mean Jaccard index of a method's neurons and those by integrated gradients, by "
                "the number of neurons.",
                "neurons",
                "Jaccard index",
                rows.points("overlap"),
            ),
            Chart(
                "cost",
                "What a method costs",
                "Mean over facts of the passes through the model that scoring a prompt takes.",
                "method",
                "passes for a prompt",
                tuple(
                    Point("passes", series, rows.mean("passes", series))
                    for series in rows.series("passes")
                ),
            ),
        ]


def _has_both_halves(plan: FactPlan) -> bool:
    return {p.prompt.half for p in plan.prompts if p.group == OWN} == {CHOOSE, TRY}


def _rows(lm: LanguageModel, settings: RunSettings, item: Item) -> list[Row]:
    plan: FactPlan = item.task
    choosing = [
        replace(p.prompt, object=plan.chosen.object)  # a false one in a null
        for p in plan.prompts
        if p.group == OWN and p.prompt.half == CHOOSE
    ]
    choosing = [prompt for prompt in choosing if _askable(lm, prompt)]
    if not choosing:
        return []
    rankings, passes = _rankings(lm, settings, choosing)
    candidates = tuple(sorted({neuron for ranking in rankings.values() for neuron in ranking}))
    rankings[ABLATION] = by_single_effects(lm, choosing, candidates)
    passes[ABLATION] = len(candidates)
    draw = plan.draws
    sets: dict[tuple[str, int, int], Neurons] = {  # series, budget, draw
        (method, budget, 0): ranking[:budget]
        for method, ranking in rankings.items()
        for budget in BUDGETS
    }
    for budget in BUDGETS:
        for number in range(DRAWS):
            own = rankings[INTEGRATED][:budget]
            sets[RANDOM, budget, number] = random_alike(own, lm.neurons_per_layer, draw)
    trying = {
        group: [p.prompt for p in plan.prompts if p.group == group and p.prompt.half == TRY]
        for group in GROUPS
    }
    asked: dict[tuple[str, str, int, int], Asked] = {
        (group, *key): (prompts, neurons)
        for key, neurons in sets.items()
        for group, prompts in trying.items()
    }
    losses = mean_losses(lm, asked)
    rows = [
        Row(item.name, GROUPS[group], series, budget, value)
        for (group, series, budget, _), value in losses.items()
    ]
    rows += [
        Row(item.name, BEYOND, series, budget, value - losses["same_relation", series, budget, n])
        for (group, series, budget, n), value in losses.items()
        if group == OWN and ("same_relation", series, budget, n) in losses
    ]
    rows += [
        Row(
            item.name,
            "overlap",
            series,
            budget,
            jaccard(neurons, rankings[INTEGRATED][:budget]),
        )
        for (series, budget, number), neurons in sets.items()
        if series not in (INTEGRATED, RANDOM)
    ]
    return [
        *rows,
        *(Row(item.name, "passes", method, None, number) for method, number in passes.items()),
    ]


def _askable(lm: LanguageModel, prompt: AskedPrompt) -> bool:
    try:
        lm.targets(prompt.text, prompt.object, prompt.subject_end)
    except UnusablePrompt:
        return False
    return True


def _rankings(
    lm: LanguageModel, settings: RunSettings, prompts: Sequence[AskedPrompt]
) -> tuple[dict[str, Ranking], dict[str, float]]:
    """Each method's neurons, the best first, and its passes for a prompt."""
    encoded = [lm.targets(p.text, p.object, p.subject_end) for p in prompts]
    rankings, passes = {}, {}
    for method in METHODS:
        if settings.position != "answer" and method in AT_THE_ANSWER:
            continue
        found = attribute_targets(lm, encoded, method=method, how=settings.integration)
        rankings[method] = best(found.scores.mean(axis=0), max(BUDGETS))
        passes[method] = max(1.0, float(found.evaluations.max(axis=1).mean()))
    return rankings, passes


def best(scores: NDArray[np.float32], count: int) -> Ranking:
    """The neurons of the highest scores, [layer, neuron], of equal ones the first."""
    order = np.argsort(-scores, axis=None, kind="stable")[:count]
    return tuple((int(place) // scores.shape[1], int(place) % scores.shape[1]) for place in order)


def by_single_effects(
    lm: LanguageModel, prompts: Sequence[AskedPrompt], candidates: Neurons
) -> Ranking:
    """The candidates by what P(answer) loses on average with each alone suppressed."""
    losses = mean_losses(lm, {one: (prompts, (one,)) for one in candidates}, relative=False)
    return tuple(sorted(candidates, key=lambda neuron: (-losses[neuron], neuron)))


EXPERIMENT = Methods()
