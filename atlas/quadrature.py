"""Quadrature rules on [0, 1]: rule → (alphas, weights), in pure numpy.

The attribution integral (eq. 4 of Dai et al. 2022) is approximated by Σ_k weights[k]·f(alphas[k]).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.errors import SettingsError

Float = NDArray[np.float64]
FIXED_RULES = ("riemann-left", "riemann-right", "riemann-linspace", "gauss-legendre")
RULES = ("adaptive", *FIXED_RULES)
COARSEST, FINEST = 2, 128  # intervals of the adaptive rule: each level halves the one before


@dataclass(frozen=True)
class Quadrature:
    """Points in [0, 1], ascending, and their weights; both [point]."""

    alphas: Float
    weights: Float


def fixed(rule: str, points: int) -> Quadrature:
    """Return one of the fixed rules with so many points.

    `riemann-right` is the paper's own sum (k/m, k = 1…m); `riemann-left` the original code's
    (k/m, k = 0…m-1); `riemann-linspace` that of EleutherAI's package (0…1 inclusive, weight 1/m);
    `gauss-legendre` is exact for polynomials of degree 2m-1.

    Raises SettingsError if the rule is unknown or `points` < 1.
    """
    if rule not in FIXED_RULES:
        raise SettingsError(f"unknown rule '{rule}'; choose one of {', '.join(RULES)}")
    if points < 1:
        raise SettingsError(f"points must be at least 1, got {points}")
    if rule == "gauss-legendre":
        nodes, weights = np.polynomial.legendre.leggauss(points)
        return Quadrature((nodes + 1) / 2, weights / 2)
    steps = np.arange(points) / points
    alphas = {
        "riemann-left": steps,
        "riemann-right": steps + 1 / points,
        "riemann-linspace": np.linspace(0, 1, points),
    }[rule]
    return Quadrature(alphas, np.full(points, 1 / points))


def clenshaw_curtis(intervals: int) -> Quadrature:
    """Return the Clenshaw-Curtis rule with `intervals` + 1 points (`intervals` even).

    Its points contain those of every rule with half as many intervals, and both ends: 0, which
    gives F(0), and 1, where the model is the clean model and one backward serves all layers. Exact
    for polynomials of degree `intervals`. Weights after Waldvogel 2006, "Fast construction of the
    Fejér and Clenshaw-Curtis quadrature rules", eq. 2.4, as an explicit cosine sum.
    """
    if intervals < 2 or intervals % 2:
        raise SettingsError(f"intervals must be even and at least 2, got {intervals}")
    k = np.arange(intervals + 1)
    j = np.arange(1, intervals // 2 + 1)
    b = np.where(j == intervals // 2, 1.0, 2.0)
    cosines = np.cos(2 * np.pi * np.outer(k, j) / intervals)
    weights = (1 - cosines @ (b / (4 * j**2 - 1))) / intervals
    weights[1:-1] *= 2
    alphas = (1 - np.cos(np.pi * k / intervals)) / 2
    return Quadrature(alphas, weights / 2)
