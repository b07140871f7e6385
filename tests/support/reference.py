"""The slow obvious oracle: eq. 4 of Dai et al. 2022 as a loop, one layer and one α at a time.

It uses nothing of the engine: only transformers' model, plain hooks and autograd. Modules are
passed in by the caller, so that even the architecture table is checked.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Reference:
    """What eq. 4 gives for one target; the model computes in its own dtype.

    scores [layer, neuron]; activations [layer, neuron]; effect [layer], F(1) − F(0); p = F(1).
    """

    scores: np.ndarray
    activations: np.ndarray
    effect: np.ndarray
    p: float


def naive_attribution(
    model: Any,
    calls: list[tuple[torch.nn.Module, int]],
    token_ids: list[int],
    position: int,
    token: int,
    alphas: list[float],
    weights: list[float],
    site: int | None = None,
) -> Reference:
    """Attribute one answer token. `calls`: per layer its value projection and which call of that
    module is meant (0 but for ALBERT, whose layers share one module). `site`: where activations are
    scaled; None: at the answer position."""
    ids = torch.tensor([token_ids])
    site = position if site is None else site
    scores, activations, effects = [], [], []
    p_clean = probability(model, ids, position, token).item()
    for module, call in calls:
        w = activation(model, ids, module, call, site)
        total = torch.zeros_like(w)
        for alpha, weight in zip(alphas, weights, strict=True):
            scaled = (alpha * w).requires_grad_()
            with replaced(module, call, site, scaled):
                p = probability(model, ids, position, token)
            total += weight * torch.autograd.grad(p, scaled)[0]
        with replaced(module, call, site, torch.zeros_like(w)):
            p_zero = probability(model, ids, position, token).item()
        scores.append((w * total).double().numpy())
        activations.append(w.double().numpy())
        effects.append(p_clean - p_zero)
    return Reference(np.stack(scores), np.stack(activations), np.array(effects), p_clean)


def probability(model: Any, ids: torch.Tensor, position: int, token: int) -> torch.Tensor:
    """P(token) at the position; the softmax adds no rounding of its own."""
    return model(input_ids=ids).logits[0, position].double().softmax(-1)[token]


def activation(
    model: Any, ids: torch.Tensor, module: torch.nn.Module, call: int, position: int
) -> torch.Tensor:
    """The value projection's input at the position, [neuron]."""
    seen: list[torch.Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    try:
        with torch.no_grad():
            model(input_ids=ids)
    finally:
        handle.remove()
    return seen[call].reshape(ids.shape[1], -1)[position].clone()


class replaced:
    """Context in which one call of a value projection sees other activations at the position."""

    def __init__(self, module: torch.nn.Module, call: int, position: int, w: torch.Tensor) -> None:
        self.module, self.call, self.position, self.w = module, call, position, w
        self.calls = -1

    def __enter__(self) -> None:
        self.handle = self.module.register_forward_pre_hook(self.hook)

    def __exit__(self, *_: object) -> None:
        self.handle.remove()

    def hook(self, _: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        self.calls += 1
        if self.calls != self.call:
            return None
        flat = args[0].reshape(-1, args[0].shape[-1])
        keep = torch.arange(len(flat))[:, None] != self.position
        return (torch.where(keep, flat, self.w).reshape(args[0].shape), *args[1:])
