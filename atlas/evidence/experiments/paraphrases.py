"""Whether paraphrases choose the same neurons, and how many of them suffice.

From stored scores alone, over every fact that the selection chooses from. Two halves of a fact's
templates choose, and so do 1, 2, … of its prompts, drawn at random; what they choose is held
against the other half's choice, and against that of all. Controls: what prompts of another fact of
the relation choose, with another object, and random neurons of the same layers.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

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
from atlas.evidence.experiments.jaccard import jaccard
from atlas.evidence.experiments.scored_facts import (
    PromptChoice,
    ScoredFact,
    chosen_by,
    halved,
    of_its_relation,
    prompt_choices,
    selected_facts,
)
from atlas.selection.chosen import ChosenSelection
from atlas.specificity.controls import random_alike

DRAWS = 3  # of orders in which prompts are taken
OWN, OTHER, RANDOM = "the fact", "another fact of its relation", "random"
ONE, HALF = "one prompt", "half of the prompts"


@dataclass(frozen=True)
class _Task:
    fact: ScoredFact
    other: ScoredFact | None
    seed: int


class Paraphrases:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        facts = selected_facts(connection, setting.neurons_of)
        others = of_its_relation(facts)
        items = []
        for fact in facts:
            draw = random.Random(f"other fact {setting.seed} {fact.fact_id}")
            some = others[fact.fact_id]
            task = _Task(fact, draw.choice(some) if some else None, setting.seed)
            items.append(Item(fact.fact_id, fact.fact_id, task, digest(1, DRAWS, task)))
        return items

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        selection = measuring.setting.neurons_of
        tasks: list[_Task] = [item.task for item in items]
        wanted = {fact.fact_id for task in tasks for fact in (task.fact, task.other) if fact}
        with measuring.atlas.reading() as connection:
            choices = prompt_choices(connection, selection, sorted(wanted))
        return [row for task in tasks for row in _rows(selection, task, choices)]

    def claims(self, rows: Rows) -> list[Claim]:
        unit = "Jaccard index of the neurons"
        source = "Dai et al. 2022, section 3.3"
        return [
            Claim(
                "halves agree",
                "paraphrases of a fact choose the same neurons: two halves of its templates agree "
                "more than halves of two facts",
                source,
                unit,
                None,
                None,
                rows.contrast("halves", OWN, OTHER),
                "a half of another fact of the relation, with another object",
                "higher",
            ),
            Claim(
                "halves agree, random",
                "two halves of its templates agree more than chance has it",
                source,
                unit,
                None,
                None,
                rows.contrast("halves", OWN, RANDOM),
                "as many random neurons of the same layers",
                "higher",
            ),
            Claim(
                "one prompt is too few",
                "one prompt chooses other neurons than all of the fact's prompts do; more prompts "
                "come nearer",
                source,
                f"{unit}, with what all prompts choose",
                None,
                None,
                rows.contrast("agreement with all", ONE, HALF),
                "half of the prompts",
                "lower",
            ),
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                "prompts",
                "How many prompts choose what all of them choose",
                "Mean over facts of the Jaccard index of what so many of a fact's prompts choose "
                "and what all of them choose, and the same for prompts of another fact.",
                "prompts",
                "Jaccard index",
                rows.points("agreement by prompts"),
            )
        ]


def _rows(
    selection: ChosenSelection, task: _Task, choices: dict[str, list[PromptChoice]]
) -> list[Row]:
    fact, name = task.fact, task.fact.fact_id
    prompts = choices[name]
    draw = random.Random(f"paraphrases {task.seed} {name}")
    halves = [chosen_by(selection, fact, half) for half in halved(prompts)]
    rows = []
    if any(halves):
        first, second = halves
        alike = random_alike(tuple(sorted(second)), selection.neurons_per_layer, draw)
        rows += [
            Row(name, "halves", OWN, None, jaccard(first, second)),
            Row(name, "halves", RANDOM, None, jaccard(first, alike)),
        ]
        if task.other is not None:
            theirs = chosen_by(selection, task.other, halved(choices[task.other.fact_id])[1])
            rows.append(Row(name, "halves", OTHER, None, jaccard(first, theirs)))
    everything = chosen_by(selection, fact, prompts)
    if not everything:
        return rows
    series = [(OWN, fact)] + ([(OTHER, task.other)] if task.other is not None else [])
    for called, one in series:
        of_one = choices[one.fact_id]
        sums = [0.0] * len(of_one)
        for _ in range(DRAWS):
            order = draw.sample(of_one, len(of_one))
            for count in range(1, len(order) + 1):
                some = chosen_by(selection, one, order[:count])
                sums[count - 1] += jaccard(some, everything) / DRAWS
        rows += [
            Row(name, "agreement by prompts", called, count, value)
            for count, value in enumerate(sums, 1)
        ]
        if called == OWN:
            for how, count in ((ONE, 1), (HALF, -(-len(prompts) // 2))):
                rows.append(Row(name, "agreement with all", how, None, sums[count - 1]))
    return rows


EXPERIMENT = Paraphrases()
