"""The attribution integral along α for every layer of every target of a clean pass."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.engine.clean_pass import CleanPass
from atlas.engine.quadrature import Float, Quadrature, fixed, odds_weights
from atlas.engine.settings import Integration
from atlas.engine.wave import run_pairs

NOISE = 4.0  # in units of rounding: smaller differences of P are not resolved
OUTWEIGHS = 4.0  # |FFN output| / |what it is added to| from which no few points can be believed
INTERVALS = 4  # that such a path begins with
AIM = 0.8  # of what is allowed: gaps are halved until they are this small

Told = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Integral:
    """The integrated gradient with respect to the value projection's output, per layer and target.

    gradient: [layer, target, d_model] float32, ∫ dP/d(projected) dα.
    effect: [layer, target] float32, F(1) − F(0).
    p_zero: [layer, target] float32, F(0).
    evaluations: [layer, target] int64, gradient evaluations that the rule used.
    """

    gradient: Tensor
    effect: Tensor
    p_zero: Tensor
    evaluations: Tensor


def untold(share: float) -> None:
    """What is called of how far work has come where nobody asks."""


def integrate(
    clean: CleanPass, how: Integration, memory_budget: int, told: Told = untold
) -> Integral:
    """Integrate dP/d(projected) over α in [0, 1] for all layers and targets of a clean pass.

    told: called with the share of the paths that are done, as they get done.
    """
    if how.rule == "adaptive":
        return _adaptive(clean, how, memory_budget, told)
    return _fixed(clean, fixed(how.rule, how.points), memory_budget)


def _fixed(clean: CleanPass, rule: Quadrature, memory_budget: int) -> Integral:
    layers, targets, _ = clean.projected.shape
    layer, target = _all_pairs(clean)
    inner = rule.alphas < 1  # at α = 1 the clean pass has the gradient
    alphas = _like(clean.p, rule.alphas[inner]).expand(len(layer), -1)
    total = clean.gradient * float(rule.weights[~inner].sum())
    if alphas.shape[1]:
        p, gradient = run_pairs(clean, layer, target, alphas, memory_budget)
        weights = _like(clean.p, rule.weights[inner])
        total += torch.einsum("pkd,k->pd", gradient, weights).view_as(total)
    if not alphas.shape[1] or rule.alphas[0] != 0:
        zero = alphas.new_zeros(len(layer), 1)
        p, _ = run_pairs(clean, layer, target, zero, memory_budget, gradients=False)
    p_zero = p[:, 0].view(layers, targets)
    evaluations = torch.full((layers, targets), len(rule.alphas))
    return Integral(total, clean.p - p_zero, p_zero, evaluations)


def _adaptive(clean: CleanPass, how: Integration, memory_budget: int, told: Told) -> Integral:
    """`odds_weights` on intervals of a stretched path, halved where their own gap is large.

    An interval's ends have F as well as its gradient, so each interval has a completeness gap of
    its own: it tells where to refine. A path is done when its gaps sum to what is allowed at most,
    and so does the root of the sum of their squares, lest a few large ones cancel by chance. Every
    gradient is kept and used.

    Where the FFN outweighs the residual stream, P rises and falls along the path, and few points
    may fit its ends by chance: such a path begins with INTERVALS of them.
    """
    layers, targets, d_model = clean.projected.shape
    layer, target = _all_pairs(clean)
    linear = clean.linear.float().flatten(0, 1)  # [pair, d_model]
    path = _StretchedPath(clean.norm_ratio.flatten())
    cells = _first_cells(clean, path, how, memory_budget)
    p_zero = cells.p[cells.t[:, 0] == 0, 0]
    effect = clean.p[target] - p_zero
    allowed = AIM * how.tolerance * effect.view(layers, targets).abs().amax(0)[target]  # [pair]
    noise = NOISE * torch.finfo(clean.projected.dtype).eps * clean.p[target]  # [pair]
    evaluations = 1 + 2 * cells.pair.bincount()
    total = clean.gradient.new_zeros(len(layer), d_model)
    while True:
        estimate = cells.estimate(path, linear)
        gap = (estimate * linear[cells.pair]).sum(-1) - (cells.p[:, 2] - cells.p[:, 0])
        halved = _to_halve(cells.pair, gap, allowed) & (gap.abs() > noise[cells.pair])
        added = torch.zeros_like(evaluations).index_add(0, cells.pair, 2 * halved.long())
        halved &= (evaluations + added <= how.max_evaluations)[cells.pair]
        if not halved.any():
            total.index_add_(0, cells.pair, estimate)
            return Integral(
                gradient=total.view(layers, targets, d_model),
                effect=effect.view(layers, targets),
                p_zero=p_zero.view(layers, targets),
                evaluations=evaluations.view(layers, targets).cpu(),
            )
        refined = torch.zeros_like(layer, dtype=torch.bool).index_fill(0, cells.pair[halved], True)
        told(1 - float(refined.float().mean()))
        done = ~refined[cells.pair]  # a pair that needs no refinement now never will
        total.index_add_(0, cells.pair[done], estimate[done])
        evaluations += torch.where(refined, added, 0)
        left = cells.take(~done & ~halved)
        split = cells.take(halved)
        t = split.middles()
        p, gradient = run_pairs(
            clean,
            layer[split.pair],
            target[split.pair],
            path.alphas(split.pair, t),
            memory_budget,
        )
        cells = left.joined(split.halves(t, p, gradient))


def _to_halve(pair: Tensor, gap: Tensor, allowed: Tensor) -> Tensor:
    """Which intervals to halve, [cell]: all but the best, which fit half of what is allowed.

    pair: [cell]; gap: [cell], signed; allowed: [pair], for the sum of a pair's gaps as for the root
    of the sum of their squares. None of a pair that is within both.
    """
    gap, allowed = gap.to(_precise(gap)), allowed.to(_precise(gap))
    square = gap.square()
    none = gap.new_zeros(len(allowed))
    squares = none.index_add(0, pair, square)
    excess = torch.maximum(squares, none.index_add(0, pair, gap).square()) / allowed.square()
    order = square.argsort()
    order = order[pair[order].argsort(stable=True)]  # by pair, then by gap
    before = (squares.cumsum(0) - squares)[pair[order]]
    small = torch.empty_like(gap, dtype=torch.bool)
    small[order] = square[order].cumsum(0) - before <= (squares / excess / 2)[pair[order]]
    return ~small & (excess > 1)[pair]


@dataclass(frozen=True, eq=False)
class _Cells:
    """Intervals of paths, each with P and its gradient at both ends and in the middle.

    pair: [cell] the (layer, target) pair whose path it is; t: [cell, 3], where on it.
    p: [cell, 3]; gradient: [cell, 3, d_model].
    """

    pair: Tensor
    t: Tensor
    p: Tensor
    gradient: Tensor

    def estimate(self, path: "_StretchedPath", linear: Tensor) -> Tensor:
        """The integral of the gradient over each interval, [cell, d_model].

        linear: [pair, d_model], what α multiplies.
        """
        slopes = path.slopes(self.pair, self.t)  # dα/dt
        along = torch.einsum("ckd,cd->ck", self.gradient, linear[self.pair])  # dP/dα
        p, slope, width = (_numpy(x) for x in (self.p, along * slopes, self.widths()))
        weights = _like(slopes, odds_weights(p, slope, width[:, None])) * slopes
        return torch.einsum("ckd,ck->cd", self.gradient, weights.to(self.p.dtype))

    def take(self, which: Tensor) -> "_Cells":
        return _Cells(self.pair[which], self.t[which], self.p[which], self.gradient[which])

    def joined(self, other: "_Cells") -> "_Cells":
        return _Cells(
            torch.cat([self.pair, other.pair]),
            torch.cat([self.t, other.t]),
            torch.cat([self.p, other.p]),
            torch.cat([self.gradient, other.gradient]),
        )

    def widths(self) -> Tensor:
        """How much of the path each interval spans, [cell]."""
        return self.t[:, 2] - self.t[:, 0]

    def middles(self) -> Tensor:
        """The middles of both halves, [cell, 2]."""
        return (self.t[:, :-1] + self.t[:, 1:]) / 2

    def halves(self, t: Tensor, p: Tensor, gradient: Tensor) -> "_Cells":
        """Both halves of every interval, given what was found in their middles."""

        def pieces(known: Tensor, fresh: Tensor) -> Tensor:
            first = torch.stack([known[:, 0], fresh[:, 0], known[:, 1]], dim=1)
            second = torch.stack([known[:, 1], fresh[:, 1], known[:, 2]], dim=1)
            return torch.cat([first, second])

        return _Cells(
            self.pair.repeat(2),
            pieces(self.t, t),
            pieces(self.p, p),
            pieces(self.gradient, gradient),
        )


def _first_cells(
    clean: CleanPass, path: "_StretchedPath", how: Integration, memory_budget: int
) -> _Cells:
    """The intervals that paths begin with, by pair: one, or INTERVALS where the FFN outweighs.

    The end at α = 1 is the clean pass's, for all layers at once.
    """
    layer, target = _all_pairs(clean)
    many = (path.ratio > OUTWEIGHS) & (how.max_evaluations > 2 * INTERVALS)
    points = torch.where(many, 2 * INTERVALS, 2)  # [pair], but for the end
    pair = torch.arange(len(layer), device=layer.device).repeat_interleave(points)  # [row]
    row = torch.arange(len(pair), device=layer.device)
    place = row - (points.cumsum(0) - points)[pair]
    t = place.to(_precise(clean.p)) / points[pair]
    alphas = path.alphas(pair, t[:, None])
    p, gradient = run_pairs(clean, layer[pair], target[pair], alphas, memory_budget)
    start = row[place % 2 == 0]
    is_last = place[start] + 2 == points[pair[start]]
    end = torch.where(is_last, len(row) + pair[start], start + 2)  # ends follow all the rows
    cell = torch.stack([start, start + 1, end], dim=1)
    return _Cells(
        pair[start],
        torch.cat([t, t.new_ones(len(layer))])[cell],
        torch.cat([p[:, 0], clean.p[target]])[cell],
        torch.cat([gradient[:, 0], clean.gradient.flatten(0, 1)])[cell],
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

    def alphas(self, pair: Tensor, t: Tensor) -> Tensor:
        """α at points t [row, point] of the paths of `pair` [row]; float32."""
        u = self._stretch(pair)
        return ((u * t).sinh() / u.sinh()).to(self.ratio.dtype)

    def slopes(self, pair: Tensor, t: Tensor) -> Tensor:
        """dα/dt, shaped like `alphas`."""
        u = self._stretch(pair)
        return u * (u * t).cosh() / u.sinh()

    def _stretch(self, pair: Tensor) -> Tensor:
        u = self.ratio[pair].to(_precise(self.ratio)).asinh()
        return u.clamp(min=1e-3)[:, None]  # below, α = t


def _all_pairs(clean: CleanPass) -> tuple[Tensor, Tensor]:
    """Layer and target of every pair, [pair], sorted by layer."""
    layers, targets, _ = clean.projected.shape
    pairs = torch.arange(layers * targets, device=clean.p.device)
    return pairs // targets, pairs % targets


def _precise(tensor: Tensor) -> torch.dtype:
    return torch.float32 if tensor.device.type == "mps" else torch.float64  # MPS has no float64


def _numpy(tensor: Tensor) -> Float:
    return tensor.cpu().double().numpy()


def _like(tensor: Tensor, values: Tensor | Float) -> Tensor:
    return torch.as_tensor(values, dtype=tensor.dtype, device=tensor.device)
