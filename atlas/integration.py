"""The attribution integral along α for every layer of every target of a clean pass."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.clean_pass import CleanPass
from atlas.errors import SettingsError
from atlas.quadrature import (
    COARSEST,
    FINEST,
    RULES,
    Float,
    Quadrature,
    clenshaw_curtis,
    fixed,
)
from atlas.wave import Rows, run_rows


@dataclass(frozen=True)
class Integration:
    """How the integral is taken.

    rule: one of `quadrature.RULES`; `adaptive` refines a layer until its completeness gap is at
        most `tolerance` × the largest effect of any layer, or `max_evaluations` would be exceeded.
    points: number of points of the fixed rules.
    """

    rule: str = "adaptive"
    points: int = 20
    tolerance: float = 0.01
    max_evaluations: int = 160

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise SettingsError(f"unknown rule '{self.rule}'; choose one of {', '.join(RULES)}")
        if self.points < 1:
            raise SettingsError(f"points must be at least 1, got {self.points}")
        if not 0 < self.tolerance < 1:
            raise SettingsError(f"tolerance must lie between 0 and 1, got {self.tolerance}")
        if self.max_evaluations <= COARSEST:
            raise SettingsError(
                f"max evaluations must be above {COARSEST}, got {self.max_evaluations}"
            )


@dataclass(frozen=True, eq=False)
class Integral:
    """The integrated gradient with respect to the value projection's output, per layer and target.

    gradient: [layer, target, d_model] float32, ∫ dP/d(projected) dα.
    effect: [layer, target] float32, F(1) − F(0).
    evaluations: [layer, target] int64, gradient evaluations that the rule used.
    """

    gradient: Tensor
    effect: Tensor
    evaluations: Tensor


def integrate(clean: CleanPass, how: Integration, memory_budget: int) -> Integral:
    """Integrate dP/d(projected) over α in [0, 1] for all layers and targets of a clean pass."""
    if how.rule == "adaptive":
        return _adaptive(clean, how, memory_budget)
    return _fixed(clean, fixed(how.rule, how.points), memory_budget)


def _fixed(clean: CleanPass, rule: Quadrature, memory_budget: int) -> Integral:
    layers, targets = clean.projected.shape[:2]
    inner = rule.alphas < 1  # at α = 1 the clean pass has the gradient
    alphas, weights = rule.alphas[inner], rule.weights[inner]
    total = clean.gradient * float(rule.weights[~inner].sum())
    p_zero = clean.p.new_zeros(layers, targets)
    if len(alphas):
        grid = _all_rows(clean, alphas)
        weight = _like(clean.gradient, weights)
        for layer, patched in enumerate(run_rows(clean, grid, memory_budget)):
            gradient = patched.gradient.view(targets, len(alphas), -1)
            total[layer] += torch.einsum("tkd,k->td", gradient, weight)
            p_zero[layer] = patched.p.view(targets, len(alphas))[:, 0]
    if not len(alphas) or alphas[0] != 0:
        zero = run_rows(clean, _all_rows(clean, np.zeros(1)), memory_budget, gradients=False)
        p_zero = torch.stack([patched.p for patched in zero])
    evaluations = torch.full((layers, targets), len(rule.alphas))
    return Integral(total, clean.p - p_zero, evaluations)


def _adaptive(clean: CleanPass, how: Integration, memory_budget: int) -> Integral:
    """Nested Clenshaw-Curtis rules: each level keeps every gradient of the one before."""
    layers, targets, d_model = clean.projected.shape
    rule = clenshaw_curtis(COARSEST)
    first = run_rows(clean, _all_rows(clean, rule.alphas[:-1]), memory_budget)
    p_zero = torch.stack([patched.p.view(targets, COARSEST)[:, 0] for patched in first])
    effect = clean.p - p_zero
    allowed = how.tolerance * effect.abs().amax(0)
    linear = clean.linear.float()
    total = torch.empty_like(clean.gradient)
    evaluations = torch.full((layers, targets), COARSEST + 1)

    # (layer, target) pairs still refined, sorted by layer, with all their gradients so far
    pairs = torch.arange(layers * targets, device=clean.p.device)
    layer, target = pairs // targets, pairs % targets
    inner = torch.stack([patched.gradient.view(targets, COARSEST, d_model) for patched in first])
    known = torch.cat([inner, clean.gradient[:, :, None]], dim=2).flatten(
        0, 1
    )  # [pair, k, d_model]
    while True:
        estimate = torch.einsum("pkd,k->pd", known, _like(known, rule.weights))
        total[layer, target] = estimate
        evaluations[layer.cpu(), target.cpu()] = len(rule.alphas)
        gap = (estimate * linear[layer, target]).sum(-1) - effect[layer, target]
        unsettled = gap.abs() > allowed[target]
        intervals = 2 * (len(rule.alphas) - 1)
        if not unsettled.any() or intervals > FINEST or intervals >= how.max_evaluations:
            return Integral(total, effect, evaluations)
        layer, target, known = layer[unsettled], target[unsettled], known[unsettled]
        rule = clenshaw_curtis(intervals)
        fresh = _pair_gradients(clean, layer, target, rule.alphas[1::2], memory_budget)
        known = torch.cat(
            [torch.stack([known[:, :-1], fresh], dim=2).flatten(1, 2), known[:, -1:]], dim=1
        )


def _all_rows(clean: CleanPass, alphas: Float) -> list[Rows]:
    everyone = torch.arange(len(clean.targets), device=clean.p.device)
    return [_rows(clean, layer, everyone, alphas) for layer in range(clean.lm.layers)]


def _pair_gradients(
    clean: CleanPass, layer: Tensor, target: Tensor, alphas: Float, memory_budget: int
) -> Tensor:
    """Gradients [pair, alpha, d_model] of (layer, target) pairs that are sorted by layer."""
    wanted = [_rows(clean, int(value), target[layer == value], alphas) for value in layer.unique()]
    patched = run_rows(clean, wanted, memory_budget)
    gradient = torch.cat([rows.gradient for rows in patched])
    return gradient.view(len(layer), len(alphas), -1)


def _rows(clean: CleanPass, layer: int, targets: Tensor, alphas: Float) -> Rows:
    """Every target with every alpha, alphas fastest."""
    return Rows(
        layer,
        targets.repeat_interleave(len(alphas)),
        _like(clean.p, alphas).repeat(len(targets)),
    )


def _like(tensor: Tensor, values: Float) -> Tensor:
    return torch.as_tensor(values, dtype=tensor.dtype, device=tensor.device)
