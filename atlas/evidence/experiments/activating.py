"""Which prompts activate a fact's knowledge neurons (Dai et al. 2022, section 4.3).

The paper asks sentences of the web: with the fact's subject and its object, which is masked; with
the subject alone, a random word masked; random ones. Here all are templates that have been filled
in, and neurons are read at the run's position: `expressing` are the fact's own prompts, `subject
alone` are templates of other relations with its subject, `random` are prompts of other facts
without subject, relation or object of it. Beside that, `relation alone` are prompts of other facts
of its relation. So ours are shorter and more alike than the paper's, and `subject alone` may now
and then express the fact in other words. No neuron is read on prompts that chose it: neurons of
one half of the templates, signed as they are there on average, are read on prompts of the other.
Figures of the paper are in units of its model's activations, so none stands beside ours.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from atlas.errors import NotFound
from atlas.evidence.experiments.drawn_facts import drawn_facts
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
from atlas.facts import Fact, Template
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target, UnusablePrompt, fill, subject_end
from atlas.selection.chosen import labelled
from atlas.specificity.activations import site_activations
from atlas.specificity.controls import Neurons, random_alike
from atlas.specificity.partners import HALVES
from atlas.specificity.plan import FactPlan

VERSION = 1
PROMPTS = 8  # with the subject alone
TEMPLATES = 64  # drawn for them, for a model cannot be asked all
DRAWS = 5  # of random neurons
EXPRESSING, SUBJECT, RELATION, RANDOM = (
    "expressing",
    "subject alone",
    "relation alone",
    "random",
)
GROUPS = {"same_relation": RELATION, "unrelated": RANDOM}
OWN, RANDOM_NEURONS = "knowledge neurons", "random neurons"

Activations = NDArray[np.float32]  # [prompt, layer, neuron]


@dataclass(frozen=True, eq=False)
class Activating:
    """A fact and texts with its subject alone, each with the place behind the subject."""

    plan: FactPlan
    texts: tuple[tuple[str, int | None], ...]


class ActivatingPrompts:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        templates = _templates(connection)
        at_subject = setting.selection.position == "subject"
        items = []
        for plan in drawn_facts(connection, setting):
            fact = plan.fact
            texts = _filled(plan, templates, at_subject)
            if any(plan.chosen.by_half) and texts:
                own = [(p.text, p.object, p.half) for p in fact.prompts]
                asked = digest(VERSION, PROMPTS, DRAWS, plan.asked, own, texts)
                items.append(Item(fact.fact_id, fact.fact_id, Activating(plan, texts), asked))
        if not items:
            raise NotFound(
                f"no known fact of selection {labelled(setting.selection)} has both a neuron that "
                "half of its templates choose and templates of other relations to ask: index more "
                "relations"
            )
        return items

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        return [row for item in items for row in _rows(measuring.lm, item.name, item.task)]

    def claims(self, rows: Rows) -> list[Claim]:
        section = "Dai et al. 2022, section 4.3"
        unit = "activation"
        against = {
            SUBJECT: "prompts with its subject in other relations",
            RANDOM: "prompts about other facts",
            RELATION: "prompts of its relation about other subjects",
        }
        return [
            *(
                Claim(
                    f"expressing, not {series}",
                    "knowledge neurons are more active on prompts that express their fact than on "
                    f"{words}",
                    section,
                    unit,
                    None,
                    None,
                    rows.contrast(f"activation of {OWN}", EXPRESSING, series),
                    words,
                    "higher",
                )
                for series, words in against.items()
            ),
            Claim(
                "more than random neurons",
                "what their activation rises by, from the subject alone to expressing prompts, is "
                "more than that of random neurons",
                section,
                unit,
                None,
                None,
                rows.contrast("rise from the subject alone", OWN, RANDOM_NEURONS),
                "as many random neurons of the same layers",
                "higher",
            ),
            Claim(
                "highest",
                "the prompt that activates them most expresses the fact",
                section,
                "share of facts",
                None,
                None,
                rows.contrast("most activating", EXPRESSING, "chance"),
                "the share of such prompts among all that are asked",
                "higher",
            ),
            Claim(
                "lowest",
                "the prompt that activates them least does not",
                section,
                "share of facts",
                None,
                None,
                rows.contrast("least activating", EXPRESSING, "chance"),
                "the share of such prompts among all that are asked",
                "lower",
            ),
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                "activation",
                "Activation of knowledge neurons by kind of prompt",
                "Mean over facts of the activation of knowledge neurons and of random ones, on "
                "prompts that express the fact, that name its subject alone, that are of its "
                "relation alone, and random ones.",
                "prompts",
                "activation",
                tuple(
                    Point(neurons, series, rows.mean(f"activation of {neurons}", series))
                    for neurons in (OWN, RANDOM_NEURONS)
                    for series in (EXPRESSING, SUBJECT, RELATION, RANDOM)
                ),
            )
        ]


def _templates(connection: duckdb.DuckDBPyConnection) -> list[Template]:
    rows = connection.execute(
        """
        SELECT relation_id,
               text
        FROM templates
        WHERE contains(text, '[X]')
        ORDER BY template_id
        """
    ).fetchall()
    return [Template(relation_id, text) for relation_id, text in rows]


def _filled(
    plan: FactPlan, templates: Sequence[Template], at_subject: bool
) -> tuple[tuple[str, int | None], ...]:
    """Drawn templates of other relations with the fact's subject."""
    own = plan.fact
    fact = Fact(own.fact_id, own.relation_id, own.subject, own.object)
    rest = [one for one in templates if one.relation_id != own.relation_id]
    draw = random.Random(f"subject alone {plan.seed} {own.fact_id}")
    return tuple(
        (fill(one, fact), subject_end(one, fact) if at_subject else None)
        for one in draw.sample(rest, min(TEMPLATES, len(rest)))
    )


def _rows(lm: LanguageModel, item: str, task: Activating) -> Iterator[Row]:
    plan = task.plan
    prompts = plan.fact.prompts
    asked = [lm.targets(p.text, p.object, p.subject_end) for p in prompts]
    kinds = [EXPRESSING] * len(asked)
    subject_alone = _usable(lm, task.texts, plan.fact.object)
    asked += subject_alone
    kinds += [SUBJECT] * len(subject_alone)
    for placed in plan.prompts:
        if placed.group in GROUPS:
            prompt = placed.prompt
            asked.append(lm.targets(prompt.text, prompt.object, prompt.subject_end))
            kinds.append(GROUPS[placed.group])
    activations = _by_prompt(lm, asked)
    draw = plan.draws
    values: dict[tuple[str, str], list[float]] = {}
    for half in range(HALVES):
        own = plan.chosen.by_half[half]
        chose = [place for place, p in enumerate(prompts) if p.half == half]
        places = [p for p in range(len(asked)) if p not in chose]
        read_on = [kinds[place] for place in places]
        if not own or not chose or EXPRESSING not in read_on:
            continue
        sets = [(OWN, own)]
        sets += [
            (RANDOM_NEURONS, random_alike(own, lm.neurons_per_layer, draw)) for _ in range(DRAWS)
        ]
        for series, neurons in sets:
            level = _levels(activations, neurons, chose)[places]
            for row in _of_levels(level, read_on, series):
                values.setdefault(row[0], []).append(row[1])
    for (measure, series), some in values.items():
        yield Row(item, measure, series, None, float(np.mean(some)))


def _usable(
    lm: LanguageModel, texts: Sequence[tuple[str, int | None]], answer: str
) -> list[list[Target]]:
    """The first texts that the model can be asked, with the fact's object as the answer."""
    found: list[list[Target]] = []
    for text, end in texts:
        if len(found) == PROMPTS:
            break
        try:
            found.append(lm.targets(text, answer, end))
        except UnusablePrompt:
            continue
    return found


def _by_prompt(lm: LanguageModel, asked: Sequence[Sequence[Target]]) -> Activations:
    """Mean over each prompt's targets."""
    every = site_activations(lm, [target for targets in asked for target in targets])
    ends = np.cumsum([len(targets) for targets in asked])
    return np.stack([part.mean(0) for part in np.split(every, ends[:-1])])


def _levels(activations: Activations, neurons: Neurons, chose: Sequence[int]) -> Activations:
    """Each prompt's mean over neurons, signed as they are on the prompts that chose; [prompt]."""
    of = np.stack([activations[:, layer, index] for layer, index in neurons], axis=1)
    signs = np.where(of[chose].mean(0) < 0, -1, 1)
    level: Activations = (of * signs).mean(1)
    return level


def _of_levels(
    level: Activations, kinds: Sequence[str], neurons: str
) -> Iterator[tuple[tuple[str, str], float]]:
    means: Mapping[str, float] = {
        kind: float(np.mean([one for one, of in zip(level, kinds, strict=True) if of == kind]))
        for kind in dict.fromkeys(kinds)
    }
    for kind, mean in means.items():
        yield (f"activation of {neurons}", kind), mean
    if SUBJECT in means:
        yield ("rise from the subject alone", neurons), means[EXPRESSING] - means[SUBJECT]
    if neurons == OWN:
        chance = kinds.count(EXPRESSING) / len(kinds)
        for measure, place in (
            ("most activating", int(level.argmax())),
            ("least activating", int(level.argmin())),
        ):
            yield (measure, EXPRESSING), float(kinds[place] == EXPRESSING)
            yield (measure, "chance"), chance


EXPERIMENT = ActivatingPrompts()
