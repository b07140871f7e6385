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


@dataclass(frozen=True)
class Quadrature:
    """Points in [0, 1], ascending, and their weights; both [point]."""

    alphas: Float
    weights: Float


# what the adaptive rule uses on each of its intervals: exact for cubics
SIMPSON = Quadrature(np.array([0.0, 0.5, 1.0]), np.array([1.0, 4.0, 1.0]) / 6)


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
