"""The attribution integral along α for every layer of every target of a clean pass."""

from dataclasses import dataclass

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
    layers, targets, _ = clean.projected.shape
    layer, target = _all_pairs(clean)
    inner = rule.alphas < 1  # at α = 1 the clean pass has the gradient
    alphas = _like(clean.p, rule.alphas[inner]).expand(len(layer), -1)
    total = clean.gradient * float(rule.weights[~inner].sum())
    if alphas.shape[1]:
        p, gradient = _run(clean, layer, target, alphas, memory_budget)
        weights = _like(clean.p, rule.weights[inner])
        total += torch.einsum("pkd,k->pd", gradient, weights).view_as(total)
    if not alphas.shape[1] or rule.alphas[0] != 0:
        zero = alphas.new_zeros(len(layer), 1)
        p, _ = _run(clean, layer, target, zero, memory_budget, gradients=False)
    effect = clean.p - p[:, 0].view(layers, targets)
    return Integral(total, effect, torch.full((layers, targets), len(rule.alphas)))


def _adaptive(clean: CleanPass, how: Integration, memory_budget: int) -> Integral:
    """Nested Clenshaw-Curtis rules on a stretched path: each level keeps every gradient so far."""
    layers, targets, _ = clean.projected.shape
    layer, target = _all_pairs(clean)  # the pairs still refined, sorted by layer
    path = _StretchedPath(clean.norm_ratio.flatten())
    rule = clenshaw_curtis(COARSEST)
    p, inner = _run(clean, layer, target, path.alphas(rule)[:, :-1], memory_budget)
    effect = clean.p - p[:, 0].view(layers, targets)
    allowed = how.tolerance * effect.abs().amax(0)
    linear = clean.linear.float()
    total = torch.empty_like(clean.gradient)
    evaluations = torch.empty(layers, targets, dtype=torch.long)
    known = torch.cat([inner, clean.gradient.flatten(0, 1)[:, None]], dim=1)  # [pair, k, d_model]
    while True:
        estimate = torch.einsum("pkd,pk->pd", known, path.weights(rule))
        total[layer, target] = estimate
        evaluations[layer.cpu(), target.cpu()] = len(rule.alphas)
        gap = (estimate * linear[layer, target]).sum(-1) - effect[layer, target]
        unsettled = gap.abs() > allowed[target]
        intervals = 2 * (len(rule.alphas) - 1)
        if not unsettled.any() or intervals > FINEST or intervals >= how.max_evaluations:
            return Integral(total, effect, evaluations)
        layer, target, known = layer[unsettled], target[unsettled], known[unsettled]
        path = _StretchedPath(path.ratio[unsettled])
        rule = clenshaw_curtis(intervals)
        _, fresh = _run(clean, layer, target, path.alphas(rule)[:, 1::2], memory_budget)
        known = torch.cat(
            [torch.stack([known[:, :-1], fresh], dim=2).flatten(1, 2), known[:, -1:]], dim=1
        )


@dataclass(frozen=True, eq=False)
class _StretchedPath:
    """α = sinh(u·t) / sinh(u) for t in [0, 1], with u = asinh(ratio) for each pair.

    What reads the FFN's output is a norm of base + α·output. Its slope changes on the scale
    α ≈ |base| / |output| = 1 / ratio, which an even path misses where the FFN outweighs the
    residual stream (massive activations) or is normed alone (Gemma 2 and 3, OLMo 2). There the
    gradient falls like 1 / sqrt(1 + (ratio·α)²), and dα/dt rises by the same factor. A small ratio
    leaves the path as it is.
    """

    ratio: Tensor  # [pair]

    def alphas(self, rule: Quadrature) -> Tensor:
        """The rule's points along the path, [pair, point]."""
        u, t = self._stretch(rule)
        return _like(self.ratio, (u * t).sinh() / u.sinh())

    def weights(self, rule: Quadrature) -> Tensor:
        """The rule's weights times dα/dt, [pair, point]."""
        u, t = self._stretch(rule)
        weights = torch.as_tensor(rule.weights, device=u.device)
        return _like(self.ratio, weights * u * (u * t).cosh() / u.sinh())

    def _stretch(self, rule: Quadrature) -> tuple[Tensor, Tensor]:
        u = self.ratio.double().asinh().clamp(min=1e-3)[:, None]  # below, the path is even
        return u, torch.as_tensor(rule.alphas, device=u.device)


def _all_pairs(clean: CleanPass) -> tuple[Tensor, Tensor]:
    """Layer and target of every pair, [pair], sorted by layer."""
    layers, targets, _ = clean.projected.shape
    pairs = torch.arange(layers * targets, device=clean.p.device)
    return pairs // targets, pairs % targets


def _run(
    clean: CleanPass,
    layer: Tensor,
    target: Tensor,
    alphas: Tensor,
    memory_budget: int,
    *,
    gradients: bool = True,
) -> tuple[Tensor, Tensor]:
    """P [pair, alpha] and its gradients [pair, alpha, d_model]; pairs are sorted by layer."""
    wanted = []
    for number in layer.unique().tolist():
        here = layer == number
        rows = target[here].repeat_interleave(alphas.shape[1])
        wanted.append(Rows(number, rows, alphas[here].flatten()))
    patched = run_rows(clean, wanted, memory_budget, gradients=gradients)
    p = torch.cat([rows.p for rows in patched])
    gradient = torch.cat([rows.gradient for rows in patched])
    return p.view_as(alphas), gradient.view(*alphas.shape, -1)


def _like(tensor: Tensor, values: Tensor | Float) -> Tensor:
    return torch.as_tensor(values, dtype=tensor.dtype, device=tensor.device)
