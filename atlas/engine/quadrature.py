"""Quadrature rules on [0, 1]: rule → (alphas, weights), in pure numpy.

The attribution integral (eq. 4 of Dai et al. 2022) is approximated by Σ_k weights[k]·f(alphas[k]).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.errors import SettingsError

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Quadrature:
    """Points in [0, 1], ascending, and their weights; both [point]."""

    alphas: Float
    weights: Float


# both ends and the middle: where the adaptive rule looks on each of its intervals
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
    return _FIXED[rule](points)


def _gauss_legendre(points: int) -> Quadrature:
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return Quadrature((nodes + 1) / 2, weights / 2)


def _equally_weighted(alphas: Float) -> Quadrature:
    return Quadrature(alphas, np.full(len(alphas), 1 / len(alphas)))


_FIXED: dict[str, Callable[[int], Quadrature]] = {
    "riemann-left": lambda points: _equally_weighted(np.arange(points) / points),
    "riemann-right": lambda points: _equally_weighted(np.arange(points) / points + 1 / points),
    "riemann-linspace": lambda points: _equally_weighted(np.linspace(0, 1, points)),
    "gauss-legendre": _gauss_legendre,
}
FIXED_RULES = tuple(_FIXED)
RULES = ("adaptive", *FIXED_RULES)


LEAST_P = 1e-30  # below, gradients of P have lost their digits in float32
LEAST_REST = 1e-5  # of 1 − P: below, P itself has lost those of it


def odds_weights(p: Float, slope: Float, width: Float) -> Float:
    """Weights of SIMPSON's points for the gradient of a probability P; all [interval, 3].

    A gradient of P is P·(1 − P) times that of its log-odds. The first factor has peaks that three
    points miss, but P and dP/dt at the points tell its course: the log-odds are taken to be the
    quintic that has these values and slopes. The second, a vector, changes little: it is taken to
    be the parabola through the points. Their product is integrated.

    p: P at the points; slope: dP/dt there; width: [interval, 1]. Where P is so near 0 or 1 that
    its log-odds say nothing, the weights are Simpson's.
    """
    spread = p * (1 - p)
    sound = (spread > LEAST_P) & (1 - p > LEAST_REST) & np.isfinite(slope)
    usable = sound.all(1, keepdims=True)
    p, spread = np.where(usable, p, 0.5), np.where(usable, spread, 0.25)
    slope = np.where(usable, slope, 0.0)
    odds = np.log(p) - np.log1p(-p)
    course = np.concatenate([odds, slope * width / spread], axis=1) @ _QUINTIC  # [interval, node]
    # between the points a quintic may shoot up, where P·(1 − P) would be anything
    course = np.clip(course, -700, odds.max(1, keepdims=True) + 3)
    likely = 1 / (1 + np.exp(-course))
    weights: Float = width * ((likely * (1 - likely)) @ _PARABOLAS) / spread
    return np.where(usable, weights, width * SIMPSON.weights)


def _bases() -> tuple[Float, Float]:
    """At the nodes of a Gauss-Legendre rule on [0, 1], for values at SIMPSON's points:

    the quintics with these values and slopes, [2 · point, node], and the parabolas through the
    values times the nodes' weights, [node, point].
    """
    nodes, points = fixed("gauss-legendre", 48), SIMPSON.alphas
    powers = np.arange(6)
    values = points[:, None] ** powers
    slopes = powers * points[:, None] ** np.maximum(powers - 1, 0)
    quintics = np.linalg.inv(np.concatenate([values, slopes])).T @ (nodes.alphas ** powers[:, None])
    parabolas = np.linalg.inv(points[:, None] ** powers[:3]).T @ (nodes.alphas ** powers[:3, None])
    return quintics, (parabolas * nodes.weights).T


_QUINTIC, _PARABOLAS = _bases()
