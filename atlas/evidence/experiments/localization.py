"""Whether a fact has its place: do its paraphrases agree on neurons? (Chen et al. 2024, 2405.14117)

From stored scores alone. Each prompt of a fact chooses neurons by itself. Their consistency is the
share of all neurons that any of them chooses that more than one chooses; a fact is inconsistent
where that is below a tenth. The measure follows the idea of the paper; the tenth was not fitted to
anything. Control: as many prompts with the same templates, each of another fact of the relation,
none with the fact's object.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import duckdb

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
from atlas.evidence.experiments.scored_facts import (
    Choice,
    PromptChoice,
    of_its_relation,
    prompt_choices,
    selected_facts,
)

INCONSISTENT = 0.1  # consistency below which a fact is called so
OWN, CONTROL = "the fact", "other facts, same templates"
SOURCE = "Chen et al. 2024, 2405.14117"


@dataclass(frozen=True)
class _Task:
    fact_id: str
    others: tuple[str, ...]


class Localization:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        facts = selected_facts(connection, setting.neurons_of)
        others = of_its_relation(facts)
        items = []
        for fact in facts:
            draw = random.Random(f"localization {setting.seed} {fact.fact_id}")
            ids = [other.fact_id for other in others[fact.fact_id]]
            task = _Task(fact.fact_id, tuple(draw.sample(ids, min(fact.prompts, len(ids)))))
            about = digest(1, INCONSISTENT, setting.neurons_of.ratio, fact.prompts, task)
            items.append(Item(fact.fact_id, fact.fact_id, task, about))
        return items

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        tasks: list[_Task] = [item.task for item in items]
        wanted = {fact_id for task in tasks for fact_id in (task.fact_id, *task.others)}
        with measuring.atlas.reading() as connection:
            choices = prompt_choices(connection, measuring.setting.neurons_of, sorted(wanted))
        return [row for task in tasks for row in _rows(task, choices)]

    def claims(self, rows: Rows) -> list[Claim]:
        return [
            Claim(
                "inconsistent facts",
                "most facts have no place: their paraphrases choose inconsistent neurons",
                SOURCE,
                "share of facts",
                None,
                None,
                rows.beside("inconsistent", OWN, 0.5),
                "half of the facts",
                "higher",
            ),
            Claim(
                "consistent beyond the template",
                "paraphrases of a fact agree on neurons more than prompts of other facts do",
                "Dai et al. 2022, section 3.3",
                "share of the neurons that more than one prompt chooses",
                None,
                None,
                rows.contrast("consistency", OWN, CONTROL),
                "as many prompts with the same templates, of other facts of the relation",
                "higher",
            ),
            Claim(
                "inconsistent as other facts are",
                "paraphrases of a fact are inconsistent no less often than prompts of other facts",
                SOURCE,
                "share of facts",
                None,
                None,
                rows.contrast("inconsistent", OWN, CONTROL),
                "as many prompts with the same templates, of other facts of the relation",
                "higher",
            ),
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                "consistency",
                "How far a fact's prompts agree on neurons",
                "Mean over facts of the consistency of what their prompts choose, of the mean "
                "Jaccard index of two prompts, and the share of facts that are inconsistent; and "
                "the same for prompts of other facts.",
                "measure",
                "share",
                tuple(
                    Point(series, measure, rows.mean(measure, series))
                    for measure in ("consistency", "two prompts", "inconsistent")
                    for series in rows.series(measure)
                ),
            )
        ]


def consistency(choices: Sequence[Choice]) -> float:
    """The share of all chosen neurons that more than one of the prompts chooses; 0 for none."""
    times = Counter(neuron for choice in choices for neuron in choice)
    return sum(count > 1 for count in times.values()) / len(times) if times else 0.0


def _rows(task: _Task, choices: dict[str, list[PromptChoice]]) -> list[Row]:
    own = choices[task.fact_id]
    found = {OWN: [prompt.neurons for prompt in own]}
    theirs = _of_others(own, [choices[other] for other in task.others])
    if theirs:
        found[CONTROL] = theirs
    rows = []
    for series, sets in found.items():
        agreed = consistency(sets)
        pairs = fmean(jaccard(*pair) for pair in combinations(sets, 2))
        rows += [
            Row(task.fact_id, "consistency", series, None, agreed),
            Row(task.fact_id, "inconsistent", series, None, float(agreed < INCONSISTENT)),
            Row(task.fact_id, "two prompts", series, None, pairs),
        ]
    return rows


def _of_others(
    own: Sequence[PromptChoice], others: Sequence[Sequence[PromptChoice]]
) -> list[Choice]:
    """What prompts with the same templates choose, each of the next of the other facts.

    Nothing unless there is one of every template.
    """
    by_template = [{prompt.template_id: prompt.neurons for prompt in other} for other in others]
    if len(by_template) < len(own):
        return []
    found = []
    for place, prompt in enumerate(own):
        theirs = by_template[place].get(prompt.template_id)
        if theirs is None:
            return []
        found.append(theirs)
    return found


EXPERIMENT = Localization()
