"""Which prompts are asked with which neurons suppressed, of one fact.

The fact's neurons are selected by the prompts of one half of its relation's templates, and measured
on prompts of the other half, both ways: no prompt is asked with neurons that it helped to choose.
Prompts of others go by the halves of their own relations' templates.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from atlas.specificity.controls import Neuron, Neurons
from atlas.specificity.partners import HALVES, OWN, AskedPrompt, KnownFact, Pool

PARTNERS = 4  # facts of each group, each with a prompt of either half
OWN_PROMPTS = 4  # of either half, at most
_VERSION = 1  # counted up where the same questions come to other numbers


@dataclass(frozen=True)
class ChosenNeurons:
    """A fact's knowledge neurons, and those that the prompts of either half choose alone.

    object: the answer that they were chosen for, of a null a false one.
    """

    fact_id: str
    neurons: Neurons
    by_half: tuple[Neurons, ...]
    object: str


@dataclass(frozen=True)
class PlacedPrompt:
    """A prompt and the group, of `partners.GROUPS`, for which it stands."""

    group: str
    prompt: AskedPrompt


@dataclass(frozen=True)
class FactPlan:
    """What is asked about one fact's neurons."""

    fact: KnownFact
    chosen: ChosenNeurons
    commonest: Neurons  # neurons of other facts of the relation, those of most facts first
    prompts: tuple[PlacedPrompt, ...]
    seed: int
    controls: int  # random draws

    def suppressed(self, prompt: AskedPrompt) -> Neurons:
        """The neurons that prompts of the other half choose."""
        return self.chosen.by_half[1 - prompt.half]

    @property
    def draws(self) -> random.Random:
        """What the random controls are drawn with, the same each time."""
        return random.Random(f"controls {self.seed} {self.fact.fact_id}")

    @property
    def asked(self) -> str:
        """Digest of everything that decides the answers, but for the model."""
        content = [
            _VERSION,
            self.seed,
            self.controls,
            self.chosen.neurons,
            self.chosen.by_half,
            self.commonest[: max(map(len, self.chosen.by_half), default=0)],
            [
                (p.group, p.prompt.text, p.prompt.object, p.prompt.subject_end, p.prompt.half)
                for p in self.prompts
            ],
        ]
        if self.chosen.object != self.fact.object:
            content.append(self.chosen.object)
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def plan_facts(
    known: Sequence[KnownFact],
    chosen: Sequence[ChosenNeurons],
    of_relations: Mapping[str, Counter[Neuron]],
    controls: int,
    seed: int,
) -> list[FactPlan]:
    """A plan for each of the chosen, all of them known facts, in their order.

    of_relations: how many of a relation's facts have each neuron.
    """
    pool = Pool(known)
    facts = {fact.fact_id: fact for fact in known}
    plans = []
    for one in chosen:
        fact = facts[one.fact_id]
        draw = random.Random(f"partners {seed} {fact.fact_id}")
        plans.append(
            FactPlan(
                fact,
                one,
                _commonest(of_relations[fact.relation_id], one.neurons),
                tuple(_prompts(fact, pool, draw)),
                seed,
                controls,
            )
        )
    return plans


def _prompts(fact: KnownFact, pool: Pool, draw: random.Random) -> list[PlacedPrompt]:
    own = [_of_half(fact, half) for half in range(HALVES)]
    placed = [
        PlacedPrompt(OWN, prompt)
        for prompts in own
        for prompt in draw.sample(prompts, min(OWN_PROMPTS, len(prompts)))
    ]
    for group, partners in pool.partners(fact, PARTNERS, draw).items():
        halves = [[_of_half(partner, half) for partner in partners] for half in range(HALVES)]
        placed += [
            PlacedPrompt(group, draw.choice(prompts))
            for prompts in chain.from_iterable(halves)
            if prompts
        ]
    return placed


def _of_half(fact: KnownFact, half: int) -> list[AskedPrompt]:
    return [prompt for prompt in fact.prompts if prompt.half == half]


def _commonest(of_relation: Counter[Neuron], own: Neurons) -> Neurons:
    others = of_relation - Counter(own)
    return tuple(sorted(others, key=lambda neuron: (-others[neuron], neuron)))
