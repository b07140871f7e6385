"""What a neuron's facts have in common more often than chance: exact one-sided tests."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Of `total` facts, `marked` have a value; a neuron serves `drawn` of them, `found` marked.

    All arrays are [test]; `total` is one number.
    """

    total: int
    marked: Counts
    drawn: Counts
    found: Counts

    @property
    def expected(self) -> Floats:
        """The mean of `found` if the neuron's facts were drawn at random."""
        return self.marked * (self.drawn / self.total)


def over_represented(tests: Drawn) -> Floats:
    """P(X >= found) for the hypergeometric X, [test]: one-sided, exact up to rounding.

    P(X = j) = C(marked, j) C(total − marked, drawn − j) / C(total, drawn), in logarithms.
    """
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, tests.total + 1)))])

    def log_choose(n: Counts, k: Counts) -> Floats:
        return np.asarray(log_factorial[n] - log_factorial[k] - log_factorial[n - k])

    p = np.zeros(len(tests.found))
    least = np.maximum(tests.found, np.maximum(0, tests.drawn + tests.marked - tests.total))
    most = np.minimum(tests.marked, tests.drawn)
    whole = log_choose(np.full_like(tests.drawn, tests.total), tests.drawn)
    open_, j = np.flatnonzero(least <= most), least.copy()
    mode = (tests.drawn + 1) * ((tests.marked + 1) / (tests.total + 2))
    while len(open_):
        marked, drawn, at = tests.marked[open_], tests.drawn[open_], j[open_]
        term = np.exp(
            log_choose(marked, at) + log_choose(tests.total - marked, drawn - at) - whole[open_]
        )
        p[open_] += term
        # Behind the mode the terms only fall, and faster and faster.
        negligible = (term < 1e-18 * p[open_]) & (at > mode[open_])
        j[open_] += 1
        open_ = open_[(at < most[open_]) & ~negligible]
    return np.minimum(p, 1.0)


def false_discovery_rates(p: Floats, tests: int) -> Floats:
    """Benjamini and Hochberg's (1995) adjusted p values, [test].

    `tests` counts also those that are not in `p`, whose p values must be larger than all in it.
    """
    order = np.argsort(p, kind="stable")
    adjusted = p[order] * tests / np.arange(1, len(p) + 1)
    falling = np.minimum.accumulate(adjusted[::-1])[::-1]
    q = np.empty(len(p))
    q[order] = np.minimum(falling, 1.0)
    return q
