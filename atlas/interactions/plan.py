"""How a fact's knowledge neurons work together: effects of suppressing each, each pair, and all.

effect(S) is the mean over prompts of log P(answer) with the neurons S suppressed (activation 0 at
the answer position) minus log P(answer), in nats; below 0 where S helps the answer. And

    interaction(i, j) = effect(i, j) − effect(i) − effect(j)

    negative: they back each other up; losing both hurts more than the sum of losing each
    positive: they work in series; losing one already costs what losing both would

A pair is called independent while |interaction| ≤ INDEPENDENT × (|effect(i)| + |effect(j)|), or
≤ SMALLEST nats. The prompts are those of the fact whose top answer it is: the others have nothing
to lose. A set *removes* the answer if it is the top answer of none of those prompts any more.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

INDEPENDENT, SMALLEST = 0.1, 0.001
EXACT_UP_TO = 10  # neurons; beyond, 2^n sets are too many

Subset = tuple[int, ...]  # which of the fact's neurons are suppressed, ascending


@dataclass(frozen=True)
class Question:
    """One prompt of the fact with some of its neurons suppressed, both by number."""

    prompt: int
    suppressed: Subset


@dataclass(frozen=True)
class Reply:
    """What the model answered to a question."""

    log_p: float
    on_top: bool


@dataclass(frozen=True)
class Pair:
    """Two neurons of the fact, by number, a < b."""

    a: int
    b: int
    effect_a: float
    effect_b: float
    effect_ab: float
    kept_a: int  # prompts whose top answer it still is without a
    kept_b: int
    kept_ab: int

    @property
    def interaction(self) -> float:
        """effect(a, b) − effect(a) − effect(b); see the module for its sign."""
        return self.effect_ab - self.effect_a - self.effect_b


@dataclass(frozen=True)
class Examined:
    """What suppression showed of one fact. `prompts` counts those whose top answer it is."""

    prompts: int
    log_p: float | None  # mean over prompts; None without a prompt
    effect_all: float | None
    kept_all: int | None
    pairs: tuple[Pair, ...]
    greedy: Subset | None  # a set that removes the answer; None: not even all neurons do
    exact: tuple[Subset, ...] | None  # all smallest sets that remove it; None: not searched for


def kind_of(interaction: float, effect_a: float, effect_b: float) -> str:
    """backing-up, serial or independent."""
    bound = max(INDEPENDENT * (abs(effect_a) + abs(effect_b)), SMALLEST)
    if abs(interaction) <= bound:
        return "independent"
    return "backing-up" if interaction < 0 else "serial"


def examine(neurons: int, prompts: int) -> Generator[Sequence[Question], Sequence[Reply], Examined]:
    """Examine a fact: yields questions, is sent their replies in that order, returns the result.

    So many facts can be examined in one batch. Each of the prompts has to be one whose top answer
    it is; those that turn out not to be are left out.
    """
    facts = _Replies(prompts)
    yield from facts.ask([()])
    facts.keep_prompts_on_top()
    if not facts.prompts:
        return Examined(0, None, None, None, (), None, None)
    everything = tuple(range(neurons))
    singles = [(i,) for i in everything]
    couples = list(combinations(everything, 2))
    yield from facts.ask([*singles, *couples, everything])
    pairs = tuple(
        Pair(
            a,
            b,
            facts.effect((a,)),
            facts.effect((b,)),
            facts.effect((a, b)),
            facts.kept((a,)),
            facts.kept((b,)),
            facts.kept((a, b)),
        )
        for a, b in couples
    )
    greedy = None if facts.kept(everything) else (yield from _greedy(facts, neurons))
    exact = (yield from _exact(facts, neurons)) if neurons <= EXACT_UP_TO else None
    return Examined(
        prompts=len(facts.prompts),
        log_p=float(facts.log_p(()).mean()),
        effect_all=facts.effect(everything),
        kept_all=facts.kept(everything),
        pairs=pairs,
        greedy=greedy,
        exact=exact,
    )


def _greedy(
    facts: "_Replies", neurons: int
) -> Generator[Sequence[Question], Sequence[Reply], Subset]:
    """Add the neuron that leaves fewest prompts on top (then: the lowest log P) until none is."""
    taken: Subset = ()
    while facts.kept(taken):  # ends, for all neurons together remove it
        rest = [i for i in range(neurons) if i not in taken]
        following = {i: tuple(sorted((*taken, i))) for i in rest}
        yield from facts.ask(list(following.values()))
        best = min(rest, key=lambda i: (facts.kept(following[i]), facts.effect(following[i]), i))
        taken = following[best]
    return taken


def _exact(
    facts: "_Replies", neurons: int
) -> Generator[Sequence[Question], Sequence[Reply], tuple[Subset, ...]]:
    """All smallest sets that remove the answer; none if no set does.

    A set is asked first of the prompt that keeps its answer best without all the neurons; most
    sets keep it there too, and are done with.
    """
    everything = tuple(range(neurons))
    hardest = facts.prompts[int(np.argmax(facts.log_p(everything)))]
    for size in range(1, neurons + 1):
        sets = list(combinations(everything, size))
        yield from facts.ask(sets, [hardest])
        left = [s for s in sets if not facts.replies[s][hardest].on_top]
        yield from facts.ask(left)
        removing = tuple(s for s in left if not facts.kept(s))
        if removing:
            return removing
    return ()


class _Replies:
    """Replies so far, by set and prompt; nothing is asked twice."""

    def __init__(self, prompts: int) -> None:
        self.prompts = list(range(prompts))
        self.replies: dict[Subset, dict[int, Reply]] = {}

    def ask(
        self, sets: Sequence[Subset], prompts: Sequence[int] | None = None
    ) -> Generator[Sequence[Question], Sequence[Reply], None]:
        """Let every set be asked of the prompts (None: of all)."""
        questions = [
            Question(prompt, chosen)
            for chosen in sets
            for prompt in (self.prompts if prompts is None else prompts)
            if prompt not in self.replies.setdefault(chosen, {})
        ]
        if questions:
            replies = yield questions
            for question, reply in zip(questions, replies, strict=True):
                self.replies[question.suppressed][question.prompt] = reply

    def keep_prompts_on_top(self) -> None:
        self.prompts = [prompt for prompt in self.prompts if self.replies[()][prompt].on_top]

    def log_p(self, chosen: Subset) -> NDArray[np.float64]:
        """[prompt]"""
        return np.array([self.replies[chosen][prompt].log_p for prompt in self.prompts])

    def effect(self, chosen: Subset) -> float:
        return float((self.log_p(chosen) - self.log_p(())).mean())

    def kept(self, chosen: Subset) -> int:
        """Prompts whose top answer it still is."""
        return sum(self.replies[chosen][prompt].on_top for prompt in self.prompts)


Examination = Generator[Sequence[Question], Sequence[Reply], Examined]


def examine_together(
    examinations: Mapping[str, Examination],
) -> Generator[
    Mapping[str, Sequence[Question]], Mapping[str, Sequence[Reply]], dict[str, Examined]
]:
    """Many examinations side by side: yields all their open questions at once."""
    done: dict[str, Examined] = {}
    replies: Mapping[str, Sequence[Reply] | None] = dict.fromkeys(examinations)
    while True:
        questions: dict[str, Sequence[Question]] = {}
        for key, reply in replies.items():
            examination = examinations[key]
            try:
                questions[key] = next(examination) if reply is None else examination.send(reply)
            except StopIteration as end:
                done[key] = end.value
        if not questions:
            return done
        replies = yield questions
