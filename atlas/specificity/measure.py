"""Suppressing facts' neurons, and controls, on their own prompts and on those of others."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.engine.suppression import Answers, Suppressed, ask_suppressed
from atlas.models.language_model import LanguageModel
from atlas.progress import Advance
from atlas.prompts import Target
from atlas.specificity.activations import mean_activations
from atlas.specificity.controls import (
    CHOSEN,
    Neuron,
    Neurons,
    commonest,
    matched,
    random_alike,
    strongest,
)
from atlas.specificity.labels import label_of
from atlas.specificity.partners import GROUPS, HALVES, OWN, AskedPrompt
from atlas.specificity.plan import FactPlan
from atlas.specificity.stored import (
    NeuronSpecificity,
    SpecificityEffect,
    SpecificityFact,
    record_specificity,
)
from atlas.store.atlas_file import AtlasFile

SECONDS = 5.0  # that a batch of facts shall take, for it is what an interruption loses
FEWEST, MOST = 16, 256  # facts of a batch: few rows are slow


@dataclass(frozen=True)
class MeasuredFacts:
    """Rows to be recorded."""

    facts: tuple[SpecificityFact, ...]
    effects: tuple[SpecificityEffect, ...]
    neurons: tuple[NeuronSpecificity, ...]


def measure_and_record(
    atlas: AtlasFile,
    lm: LanguageModel,
    selection_id: str,
    plans: Sequence[FactPlan],
    done: int = 0,
    wait: float = 60.0,
) -> Iterator[Advance]:
    """Measure the facts some at a time and store what comes out; yields where that stands.

    done: facts that are measured already, for the sake of the bar.
    """
    started, computed, size = time.monotonic(), 0, FEWEST
    total = done + len(plans)
    yield Advance("specificity", done, total, unit="facts")
    while computed < len(plans):
        batch = plans[computed : computed + size]
        begun = time.monotonic()
        found = measure_facts(lm, selection_id, batch)
        with atlas.writing(wait) as connection:
            record_specificity(connection, found.facts, found.effects, found.neurons)
        now = time.monotonic()
        computed += len(batch)
        pace = len(batch) / max(now - begun, 1e-9)
        size = max(FEWEST, min(round(pace * SECONDS), 2 * size, MOST))
        yield Advance(
            "specificity",
            done + computed,
            total,
            computed,
            now - started,
            unit="facts",
            complete=computed == len(plans),
        )


def measure_facts(lm: LanguageModel, selection_id: str, plans: Sequence[FactPlan]) -> MeasuredFacts:
    """Measure the facts side by side, rows = sets of suppressed neurons × prompts.

    Raises ModelError if the model returns NaN, UnusablePrompt if a prompt cannot be asked of it.
    """
    questions = _Questions(lm)
    own = [
        [target for p in plan.prompts if p.group == OWN for target in questions.targets(p.prompt)]
        for plan in plans
    ]
    activations = mean_activations(lm, own)
    asked = [
        _asked(questions, plan, lm.neurons_per_layer, activations[number])
        for number, plan in enumerate(plans)
    ]
    alone = [_asked_alone(questions, plan) for plan in plans]
    answers = ask_suppressed(lm, questions.suppressed)
    return MeasuredFacts(
        tuple(_fact_row(selection_id, plan) for plan in plans),
        tuple(
            _effect_row(selection_id, plan, *key, _Changes.of(answers, pairs))
            for plan, sets in zip(plans, asked, strict=True)
            for key, pairs in sets.items()
        ),
        tuple(
            _neuron_row(
                selection_id,
                plan,
                neuron,
                {group: _Changes.of(answers, pairs) for group, pairs in groups.items()},
            )
            for plan, neurons in zip(plans, alone, strict=True)
            for neuron, groups in neurons.items()
        ),
    )


Pair = tuple[int, int]  # the numbers of a question with nothing suppressed, and with the neurons
Key = tuple[str, int, str]  # whose neurons, which draw of them, whose prompts


@dataclass
class _Questions:
    """Questions of a batch; none is asked twice, no text is tokenised twice."""

    lm: LanguageModel
    suppressed: list[Suppressed] = field(default_factory=list)
    numbers: dict[tuple[AskedPrompt, Neurons], int] = field(default_factory=dict)
    encoded: dict[AskedPrompt, list[Target]] = field(default_factory=dict)

    def targets(self, prompt: AskedPrompt) -> list[Target]:
        if prompt not in self.encoded:
            self.encoded[prompt] = self.lm.targets(prompt.text, prompt.object, prompt.subject_end)
        return self.encoded[prompt]

    def pair(self, prompt: AskedPrompt, neurons: Neurons) -> Pair:
        return self._number(prompt, ()), self._number(prompt, neurons)

    def _number(self, prompt: AskedPrompt, neurons: Neurons) -> int:
        key = prompt, neurons
        if key not in self.numbers:
            self.numbers[key] = len(self.suppressed)
            self.suppressed.append(Suppressed(self.targets(prompt), neurons))
        return self.numbers[key]


def _asked(
    questions: _Questions, plan: FactPlan, width: int, activation: NDArray[np.float32] | None
) -> dict[Key, list[Pair]]:
    """What is asked with the fact's neurons together and with each control."""
    asked: dict[Key, list[Pair]] = defaultdict(list)
    draws = plan.draws
    for half in range(HALVES):
        placed = [p for p in plan.prompts if p.prompt.half == half]
        own = plan.chosen.by_half[1 - half]
        if not own or not any(p.group == OWN for p in placed) or activation is None:
            continue
        sets = {
            CHOSEN: own,
            "matched": matched(own, activation),
            "strongest": strongest(own, activation),
            "commonest": commonest(own, plan.commonest),
        }
        for kind, neurons in sets.items():
            for p in placed if neurons else ():
                asked[kind, 0, p.group].append(questions.pair(p.prompt, neurons))
        of_group: dict[str, list[AskedPrompt]] = defaultdict(list)
        for p in placed:
            of_group[p.group].append(p.prompt)
        for draw in range(plan.controls):
            neurons = random_alike(own, width, draws)
            for group, prompts in of_group.items() if neurons else ():
                # others are asked in turn: their mean over draws has each of them as often
                some = prompts if group == OWN else [prompts[draw % len(prompts)]]
                for prompt in some:
                    asked["random", draw, group].append(questions.pair(prompt, neurons))
    return asked


def _asked_alone(questions: _Questions, plan: FactPlan) -> dict[Neuron, dict[str, list[Pair]]]:
    """What is asked with one neuron suppressed: all own prompts, one prompt of each partner."""
    placed, partners = [], set()
    for p in plan.prompts:
        partner = p.group, p.prompt.fact_id
        if p.group == OWN or partner not in partners:
            placed.append(p)
            partners.add(partner)
    asked: dict[Neuron, dict[str, list[Pair]]] = {}
    for neuron in plan.chosen.neurons:
        groups = asked[neuron] = defaultdict(list)
        for p in placed:
            groups[p.group].append(questions.pair(p.prompt, (neuron,)))
    return asked


@dataclass(frozen=True)
class _Changes:
    """What suppression did to some prompts."""

    prompts: int
    delta_log_p: float
    relative_dp: float
    right_before: int
    right_to_wrong: int

    @classmethod
    def of(cls, answers: Answers, pairs: Sequence[Pair]) -> "_Changes":
        before, after = (np.array(numbers) for numbers in zip(*pairs, strict=True))
        delta = answers.log_p[after] - answers.log_p[before]
        right = answers.on_top[before]
        return cls(
            len(pairs),
            float(delta.mean()),
            float(np.expm1(delta).mean()),
            int(right.sum()),
            int((right & ~answers.on_top[after]).sum()),
        )


def _fact_row(selection_id: str, plan: FactPlan) -> SpecificityFact:
    own = [p for p in plan.prompts if p.group == OWN and plan.suppressed(p.prompt)]
    halves = {p.prompt.half: len(plan.suppressed(p.prompt)) for p in own}
    return SpecificityFact(
        selection_id,
        plan.fact.fact_id,
        sum(halves.values()) / len(halves) if halves else None,
        len(own),
        plan.controls,
        plan.seed,
        plan.asked,
    )


def _effect_row(
    selection_id: str, plan: FactPlan, kind: str, draw: int, group: str, changes: _Changes
) -> SpecificityEffect:
    return SpecificityEffect(
        selection_id,
        plan.fact.fact_id,
        kind,
        draw,
        group,
        changes.prompts,
        changes.delta_log_p,
        changes.relative_dp,
        changes.right_before,
        changes.right_to_wrong,
    )


def _neuron_row(
    selection_id: str, plan: FactPlan, neuron: Neuron, changes: dict[str, _Changes]
) -> NeuronSpecificity:
    effects = {group: changes[group].delta_log_p if group in changes else None for group in GROUPS}
    columns: dict[str, Any] = {**effects}
    for group in GROUPS:
        columns[f"{group}_prompts"] = changes[group].prompts if group in changes else 0
    return NeuronSpecificity(
        selection_id=selection_id,
        fact_id=plan.fact.fact_id,
        layer=neuron[0],
        neuron=neuron[1],
        label=label_of(effects),
        **columns,
    )
