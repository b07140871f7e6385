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

    # Most tests are alike: few neurons serve many facts, and few values are common.
    alike = np.stack([tests.marked, tests.drawn, tests.found], axis=1)
    different, which = np.unique(alike, axis=0, return_inverse=True)
    marked, drawn, found = different.T
    p = np.asarray(hypergeom.sf(found - 1, tests.total, marked, drawn), np.float64)
    return p[which.ravel()]


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
    distributions = [np.ones(1) for _ in found]
    open_ = np.flatnonzero(~certain)
    alike = np.stack([strata.total, strata.marked, strata.drawn], axis=1)[open_]
    different, which = np.unique(alike, axis=0, return_inverse=True)
    of_stratum = [_distribution(*row) for row in different.tolist()]
    for row, one in zip(open_, which.ravel(), strict=True):
        test = strata.test[row]
        distributions[test] = np.convolve(distributions[test], of_stratum[one])
    needed = np.maximum(found - sure, 0)
    tails = [
        # Summed from its small end, so that a tail far out keeps its digits.
        float(distribution[least:][::-1].sum()) if least else 1.0
        for distribution, least in zip(distributions, needed, strict=True)
    ]
    return Held(expected, np.minimum(np.array(tails, np.float64), 1.0))


def _distribution(total: int, marked: int, drawn: int) -> Floats:
    """P(X = 0), P(X = 1), … of a hypergeometric X."""
    from scipy.stats import hypergeom

    values = np.arange(min(marked, drawn) + 1)
    return np.asarray(hypergeom.pmf(values, total, marked, drawn), np.float64)


def false_discovery_rates(p: Floats, tests: int) -> Floats:
    """Benjamini and Hochberg's (1995) adjusted p values, [test].

    `tests` counts also those that are not in `p`, whose p values must be larger than all in it.
    """
    from scipy.stats import false_discovery_control

    among = np.asarray(false_discovery_control(p, method="bh"), np.float64)
    return np.minimum(among * (tests / len(p)), 1.0)
