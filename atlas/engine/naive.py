"""The slow obvious way to the engine's numbers: the model's own plain forward pass, repeated.

It shares nothing with the engine but the list of value projections: no cached prefix, no patched
rows, no shortened head. What the engine says of a model is held against this.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from atlas.engine.quadrature import Quadrature
from atlas.models.hooks import before_forward
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target


def plain_logits(lm: LanguageModel, target: Target) -> Tensor:
    """The model's own logits at the answer position, [vocabulary] float32."""
    ids = torch.tensor([target.token_ids], device=lm.model.device)
    logits: Tensor = lm.model(input_ids=ids).logits[0, target.position]
    return logits.float()


def naive_scores(lm: LanguageModel, target: Target, layer: int, rule: Quadrature) -> Tensor:
    """A layer's scores for one target by eq. 4 of Dai et al. 2022, [neuron] float32.

    The activations at the target's site are scaled, whichever position that is.

    One forward and one backward of the whole model for each point of the rule.
    """
    with lm.frozen():
        with torch.no_grad():
            activations = _activations(lm, target, layer)
        total = torch.zeros_like(activations)
        for alpha, weight in zip(rule.alphas.tolist(), rule.weights.tolist(), strict=True):
            scaled = (alpha * activations).requires_grad_()
            with torch.enable_grad(), _replaced(lm, target, layer, scaled):
                p = plain_logits(lm, target).double().softmax(-1)[target.token]
            total += weight * torch.autograd.grad(p, scaled)[0]
    return (activations * total).float()


def _activations(lm: LanguageModel, target: Target, layer: int) -> Tensor:
    """The value projection's input at the target's site, [neuron]."""
    projection, call = _call(lm, layer)
    seen: list[Tensor] = []
    with before_forward(projection, lambda _, args: seen.append(args[0].detach())):
        plain_logits(lm, target)
    return seen[call].reshape(-1, seen[call].shape[-1])[target.site].clone()


def _replaced(
    lm: LanguageModel, target: Target, layer: int, activations: Tensor
) -> AbstractContextManager[None]:
    """The layer's value projection sees other activations [neuron] at the target's site."""
    projection, call = _call(lm, layer)
    calls: list[int] = []

    def replace(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        calls.append(1)
        if len(calls) - 1 != call:
            return None
        flat = args[0].reshape(-1, args[0].shape[-1])
        others = torch.arange(len(flat), device=flat.device)[:, None] != target.site
        return (torch.where(others, flat, activations).reshape(args[0].shape), *args[1:])

    return before_forward(projection, replace)


def _call(lm: LanguageModel, layer: int) -> tuple[Any, int]:
    """A layer's value projection, and which of that module's calls is the layer's."""
    projections = [block.value_projection for block in lm.blocks]
    return projections[layer], sum(p is projections[layer] for p in projections[:layer])
