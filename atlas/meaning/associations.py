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


def false_discovery_rates(p: Floats, tests: int) -> Floats:
    """Benjamini and Hochberg's (1995) adjusted p values, [test].

    `tests` counts also those that are not in `p`, whose p values must be larger than all in it.
    """
    from scipy.stats import false_discovery_control

    among = np.asarray(false_discovery_control(p, method="bh"), np.float64)
    return np.minimum(among * (tests / len(p)), 1.0)
