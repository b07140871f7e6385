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
    """P(X >= found) for the hypergeometric X, [test]: one-sided, exact up to rounding."""
    from scipy.stats import hypergeom  # half a second, which only who computes should pay

    p = hypergeom.sf(tests.found - 1, tests.total, tests.marked, tests.drawn)
    return np.asarray(p, np.float64)


@dataclass(frozen=True, eq=False)
class Strata:
    """What `Drawn` tells of all facts, within each set of facts that are alike in something else.

    Of the `total` facts of a stratum, `marked` have the value, and the neurons of a test serve
    `drawn`. A row is a stratum of a test; `test` says of which. All arrays are [row].
    """

    test: Counts
    total: Counts
    marked: Counts
    drawn: Counts


@dataclass(frozen=True, eq=False)
class Held:
    """Tests with the strata held fixed; both arrays are [test]."""

    expected: Floats  # the mean of `found` if each stratum's facts were drawn at random
    p: Floats  # 1 where the strata leave nothing to chance


def over_represented_within(strata: Strata, found: Counts) -> Held:
    """P(sum of X_s >= found), [test], for independent hypergeometric X_s, one a stratum.

    found: [test], over all of a test's strata. It is the exact test that Cochran, Mantel and
    Haenszel's statistic approximates: one-sided, by convolving the strata's distributions.
    """
    expected = np.zeros(len(found))
    np.add.at(expected, strata.test, strata.marked * (strata.drawn / strata.total))
    # What a stratum without a choice gives is certain.
    certain = (
        (strata.drawn == 0)
        | (strata.marked == 0)
        | (strata.drawn == strata.total)
        | (strata.marked == strata.total)
    )
    sure = np.zeros(len(found), np.int64)
    given = np.minimum(strata.marked, strata.drawn)[certain]
    np.add.at(sure, strata.test[certain], given)
    return Held(expected, _tails(_open(strata, ~certain), np.maximum(found - sure, 0)))


def _open(strata: Strata, rows: NDArray[np.bool_]) -> Strata:
    """These rows by test, those of the widest distributions first."""
    width = np.minimum(strata.marked, strata.drawn)
    order = np.lexsort((-width, strata.test))
    order = order[rows[order]]
    return Strata(*(column[order] for column in vars(strata).values()))


def _tails(strata: Strata, needed: Counts) -> Floats:
    """P(sum >= needed), [test]; rows by test. Tests that are nearly alike are convolved together.

    What exceeds the largest `needed` of those is summed up as it arises: no difference of near
    numbers is ever taken, so a tail far out keeps its digits.
    """
    p = np.ones(len(needed))
    widths, starts, chances = _distributions(strata)
    sizes = np.bincount(strata.test, minlength=len(needed))
    firsts = np.cumsum(sizes) - sizes
    order = np.lexsort((-sizes, needed))
    order = order[needed[order] > 0]
    while len(order):
        tests = order[: max(1, _AT_ONCE // int(needed[order[0]] + 1))]
        tests = tests[needed[tests] <= 2 * needed[tests[0]]]  # wider ones would widen all
        order = order[len(tests) :]
        tests = tests[np.argsort(-sizes[tests], kind="stable")]
        most = int(needed[tests].max())
        state = np.zeros((len(tests), most + 1))  # P(sum so far = column), in the last: or more
        state[:, 0] = 1
        for step in range(int(sizes[tests[0]])):
            rows = firsts[tests[sizes[tests] > step]] + step
            width, start, before = widths[rows], starts[rows], state[: len(rows)]
            after = np.zeros_like(before)
            for j in range(int(width.max()) + 1):
                chance = np.where(j <= width, chances[np.minimum(start + j, len(chances) - 1)], 0)
                moved = min(j, most)
                after[:, moved:] += chance[:, None] * before[:, : most + 1 - moved]
                after[:, most] += chance * before[:, most + 1 - moved :].sum(axis=1)
            state[: len(rows)] = after
        p[tests] = [row[least:].sum() for row, least in zip(state, needed[tests], strict=True)]
    return np.minimum(p, 1.0)


_AT_ONCE = 1 << 17  # numbers in hand, which a processor's cache holds


def _distributions(strata: Strata) -> tuple[Counts, Counts, Floats]:
    """Of each row the largest value, [row], and where P(X = 0) stands among all P(X = x), [row]."""
    from scipy.stats import hypergeom

    different, which = _different(np.stack([strata.total, strata.marked, strata.drawn]))
    total, marked, drawn = different
    width = np.minimum(marked, drawn)
    starts = np.cumsum(width + 1) - (width + 1)
    of = np.repeat(np.arange(len(width)), width + 1)
    values = np.arange(len(of)) - starts[of]
    chances = hypergeom.pmf(values, total[of], marked[of], drawn[of])
    return width[which], starts[which], np.asarray(chances, np.float64)


def _different(columns: Counts) -> tuple[Counts, Counts]:
    """The different columns of an array [counts, row], and which of them each row is.

    As `np.unique` tells it of an axis, by single numbers, which sort in a tenth of the time.
    """
    first, which = np.unique(columns[0], return_index=True, return_inverse=True)[1:]
    for counts in columns[1:]:
        key = which * (int(counts.max(initial=0)) + 1) + counts
        first, which = np.unique(key, return_index=True, return_inverse=True)[1:]
    return columns[:, first], which.ravel()


def false_discovery_rates(p: Floats, tests: int, times: Counts | None = None) -> Floats:
    """Benjamini and Hochberg's (1995) adjusted p values, [test].

    `tests` counts also those that are not in `p`, whose p values must be larger than all in it.
    times: how many tests each p is of; None: one.
    """
    order = np.argsort(p)
    rank = np.cumsum(np.ones(len(p), np.int64) if times is None else times[order])
    q = np.empty(len(p))
    q[order] = np.minimum.accumulate((p[order] * (tests / rank))[::-1])[::-1]
    return np.minimum(q, 1.0)
