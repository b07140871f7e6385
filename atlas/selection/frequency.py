"""How firmly a fact's prompts choose its neurons, from how many of them each passes. No SQL here.

A bootstrap draws as many prompts as the fact has, with replacement, and chooses a neuron if enough
of those drawn are ones that it passes. Their number is binomial, so that the share of bootstraps
that choose it is known exactly and none is drawn.
"""

from dataclasses import dataclass
from functools import cache
from math import comb

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


@cache
def chance_of_choice(prompts: int, passed: int, needed: int) -> float:
    """P(X >= needed) for X binomial, `prompts` draws at `passed` / `prompts`; exactly rounded."""
    missed = prompts - passed
    ways: int = sum(
        comb(prompts, drawn) * passed**drawn * missed ** (prompts - drawn)
        for drawn in range(needed, prompts + 1)
    )
    return float(ways / prompts**prompts)  # whole numbers, however large


def selection_frequency(prompts: Counts, passed: Counts, needed: Counts) -> Floats:
    """How often a neuron is chosen, over ratios and bootstraps, [neuron], from 0 to 1.

    prompts: the fact's, [neuron]. passed: in how many the neuron passes, [neuron, ratio]. needed:
    in how many it must, [neuron].
    """
    ratios = passed.shape[1]
    # Facts have few prompts, so that most questions are alike. As one number each: sorted faster.
    base = int(max(prompts.max(initial=0), needed.max(initial=0))) + 1
    asked = ((prompts * base + needed) * base)[:, None] + passed
    different, which = np.unique(asked, return_inverse=True)
    chances = [
        chance_of_choice(code // base**2, code % base, code // base % base)
        for code in different.tolist()
    ]
    frequency: Floats = np.array(chances)[which.reshape(-1, ratios)].mean(axis=1)
    return frequency


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far the halves of facts' prompts choose the same neurons; both arrays are [fact]."""

    jaccard: Floats  # mean over the splits that count; NaN where there is none
    splits: Counts  # in which either half chose a neuron


def agreement(fact: Counts, facts: int, lower: Flags, upper: Flags) -> Agreement:
    """Jaccard index of what both halves choose, fact by fact, as the mean over splits.

    fact: whose neuron it is, from 0 to `facts` - 1, [neuron]. lower, upper: whether either half of
    the prompts chooses it, [neuron, split].
    """
    total = np.zeros(facts)
    splits = np.zeros(facts, np.int64)
    for one, other in zip(lower.T, upper.T, strict=True):
        both = np.bincount(fact[one & other], minlength=facts)
        either = np.bincount(fact[one | other], minlength=facts)
        total += both / np.maximum(either, 1)
        splits += either > 0
    return Agreement(np.where(splits > 0, total / np.maximum(splits, 1), np.nan), splits)
