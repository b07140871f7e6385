"""The wave: one growing batch of patched rows through the blocks, one backward for all of them.

A row is a target with its activations at one layer scaled by α. Rows join behind the block they are
patched in, so no row runs a block that its patch cannot change (DESIGN, "Where the speed comes
from"). The head runs at the answer position alone, a slice of rows at a time, and its backward is
taken at once, so that the softmax of a slice is never kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.engine.answer import ask_head, head_slices
from atlas.engine.clean_pass import CleanPass
from atlas.engine.growing import run_growing
from atlas.engine.memory import token_bytes


@dataclass(frozen=True, eq=False)
class Rows:
    """Patched rows of one layer: which target, and by what its activations are scaled.

    targets: [row] index into the clean pass's targets.
    alphas: [row] float32.
    """

    layer: int
    targets: Tensor
    alphas: Tensor


@dataclass(frozen=True, eq=False)
class Patched:
    """What rows of one layer came to.

    p: [row] float32, P(target token).
    gradient: [row, d_model] float32, dP/d(value projection's output); empty if not asked for.
    """

    p: Tensor
    gradient: Tensor


def run_rows(
    clean: CleanPass, wanted: Sequence[Rows], memory_budget: int, *, gradients: bool = True
) -> list[Patched]:
    """Run patched rows in as few waves as the memory budget (bytes) allows; one result per entry.

    `wanted` is ascending in layer, with at most one entry a layer. No result depends on the budget.
    """
    pieces: dict[int, list[Patched]] = {rows.layer: [] for rows in wanted}
    for wave in _within(clean, wanted, memory_budget):
        for rows, patched in zip(wave, _run_wave(clean, wave, gradients), strict=True):
            pieces[rows.layer].append(patched)
    return [
        Patched(torch.cat([p.p for p in piece]), torch.cat([p.gradient for p in piece]))
        for piece in (pieces[rows.layer] for rows in wanted)
    ]


def run_pairs(
    clean: CleanPass,
    layer: Tensor,
    target: Tensor,
    alphas: Tensor,
    memory_budget: int,
    *,
    gradients: bool = True,
) -> tuple[Tensor, Tensor]:
    """P [pair, alpha] and its gradients [pair, alpha, d_model] of (layer, target) pairs.

    layer, target: [pair], in any order; alphas: [pair, alpha].
    """
    order = layer.argsort(stable=True)
    wanted = []
    for number in layer.unique().tolist():
        here = order[layer[order] == number]
        rows = target[here].repeat_interleave(alphas.shape[1])
        wanted.append(Rows(number, rows, alphas[here].flatten()))
    patched = run_rows(clean, wanted, memory_budget, gradients=gradients)
    back = order.argsort()
    p = torch.cat([rows.p for rows in patched]).view_as(alphas)
    gradient = torch.cat([rows.gradient for rows in patched]).view(*alphas.shape, -1)
    return p[back], gradient[back]


def row_bytes(clean: CleanPass, layer: int) -> int:
    """About what a row patched at a layer keeps for the backward, in bytes."""
    lm, blocks = clean.lm, clean.lm.layers - layer
    positions = clean.hidden[layer].shape[1]
    prefix = clean.length - positions
    keys = 4 * prefix * lm.d_model * blocks * clean.projected.element_size()
    return positions * token_bytes(lm, blocks) + keys


def _within(clean: CleanPass, wanted: Sequence[Rows], budget: int) -> Iterator[list[Rows]]:
    wave: list[Rows] = []
    left = budget
    for rows in wanted:
        cost = row_bytes(clean, rows.layer)
        start, stop = 0, len(rows.targets)
        while start < stop:
            if left < cost and wave:
                yield wave
                wave, left = [], budget
            take = max(1, min(stop - start, left // cost))
            part = slice(start, start + take)
            wave.append(Rows(rows.layer, rows.targets[part], rows.alphas[part]))
            start, left = start + take, left - take * cost
    if wave:
        yield wave


def _run_wave(clean: CleanPass, wanted: list[Rows], gradients: bool) -> list[Patched]:
    entries = {rows.layer: rows for rows in wanted}
    leaves: list[Tensor] = []

    def joining(layer: int) -> tuple[Tensor, Tensor] | None:
        if layer not in entries:
            return None
        leaves.append(_scaled(clean, entries[layer], gradients))
        return entries[layer].targets, leaves[-1]

    with torch.set_grad_enabled(gradients):
        answer, targets = run_growing(clean, wanted[0].layer, joining)
        p, upstream = _ask(clean, answer.detach(), targets, gradients)
        if gradients:
            grads = torch.autograd.grad(answer, leaves, upstream)
        else:
            grads = tuple(leaf[:, :0] for leaf in leaves)
    sizes = [len(rows.targets) for rows in wanted]
    return [Patched(p, g.float()) for p, g in zip(p.split(sizes), grads, strict=True)]


def _scaled(clean: CleanPass, rows: Rows, gradients: bool) -> Tensor:
    """The value projection's output [row, d_model] for activations scaled by α: linear in α."""
    linear = clean.linear[rows.layer, rows.targets]
    bias = clean.projected[rows.layer, rows.targets] - linear
    scaled = bias + rows.alphas[:, None].to(linear.dtype) * linear
    return scaled.requires_grad_(gradients)


def _ask(
    clean: CleanPass, hidden: Tensor, targets: Tensor, gradients: bool
) -> tuple[Tensor, Tensor]:
    """P [row] and dP/d(hidden) of the last block's output [row, d_model] at the answer position."""
    slices = head_slices(hidden, clean.tokens[targets], clean.logits.shape[1])
    answers = [ask_head(clean.lm, *some, gradients=gradients) for some in slices]
    return torch.cat([a.p for a in answers]), torch.cat([a.gradient for a in answers])
