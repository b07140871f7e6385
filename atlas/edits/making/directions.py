"""Where a value vector must move to raise a token's logit: the paper's update rule."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from atlas.edits.making.questions import Questions
from atlas.engine.probe import answer_states
from atlas.models.hooks import after_forward
from atlas.models.language_model import LanguageModel


def paper_deltas(
    vectors: Tensor, e_old: Tensor, e_new: Tensor, lambda1: float, lambda2: float
) -> Tensor:
    """Deltas [neuron, d_model] float32 of the paper's rule for value vectors [neuron, d_model].

    v ← v − λ₁·|v|/|e_old|·e_old + λ₂·|v|/|e_new|·e_new, with e [d_model] the output embeddings of
    the old and the new object (Dai et al. 2022, section 5.2, which leaves the scale of λ open: here
    a λ of 1 is as long as the value vector itself). It is meant for neurons with positive
    activations: `basis.update_deltas` turns it round for the others.
    """
    unit_old, unit_new = (nn.functional.normalize(e.float(), dim=0) for e in (e_old, e_new))
    length: Tensor = vectors.float().norm(dim=-1, keepdim=True)
    step: Tensor = lambda2 * unit_new - lambda1 * unit_old
    return length * step


def pulled_back(lm: LanguageModel, questions: Questions) -> Tensor:
    """The mean slope of the answers' logits at the last block's output, [d_model] float32.

    The head's Jacobian at the prompts takes the rows of the output embedding back through all that
    stands before them, also through a masked head's dense layer and activation.
    """
    targets = [target for targets in questions for target in targets]
    tokens = torch.tensor([target.token for target in targets], device=lm.model.device)
    with lm.frozen():
        hidden = answer_states(lm, targets).requires_grad_(True)
        logits = lm.head(hidden).gather(1, tokens[:, None]).float()
        (slope,) = torch.autograd.grad(logits.sum(), hidden)
    return slope.float().mean(0)


def output_directions(lm: LanguageModel, tokens: Sequence[int]) -> Tensor:
    """Directions in the residual stream that raise the tokens' logits, [token, d_model] float32.

    Causal models: the rows of the output embedding, taken back through whatever linear map and
    final norm stand before it. A norm's gain multiplies them, and for a norm that subtracts the
    mean theirs is subtracted too: what it removes cannot raise a logit. (The division by the
    norm's scale depends on the prompt and is no direction.)

    Masked models: the bare rows, as in the paper. Their heads have a dense layer with an activation
    before the output embedding, which turns the space: on mini-bert a bare row has a cosine of 0.00
    with the slope of its token's logit (mean of 24 facts), so that the rule as published moves
    P(new) by a factor of 1.3 there and never to the top; with `pulled_back` it is a factor of 140,
    and 39 % of the prompts. Only where the rows have another width (ALBERT) are they taken back
    through the dense layer's weights.
    """
    embedding = lm.model.get_output_embeddings()
    rows: Tensor = embedding.weight.detach()[list(tokens)].float()
    if lm.objective == "masked" and rows.shape[-1] == lm.d_model:
        return rows
    module: nn.Module
    for module in reversed(_before(lm, embedding)):
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Linear):
            matrix: Tensor = module.weight
            rows = rows @ matrix.detach().float()
        elif isinstance(weight, Tensor) and weight.dim() == 1 and lm.objective == "causal":
            gain, centred = _gain(module, weight)
            rows = rows * gain
            rows = rows - rows.mean(-1, keepdim=True) if centred else rows
    return rows


def _before(lm: LanguageModel, embedding: nn.Module) -> list[nn.Module]:
    """The modules without children that run between the last block and the output embedding."""
    called: list[nn.Module] = []

    def note(module: nn.Module, *_: Any) -> None:
        called.append(module)

    leaves = [module for module in lm.model.modules() if not list(module.children())]
    blocks = [block.module for block in lm.blocks]
    with after_forward([*leaves, *blocks], note), torch.no_grad():
        lm.head(torch.zeros(1, lm.d_model, device=lm.model.device, dtype=lm.model.dtype))
    last_block = max(place for place, m in enumerate(called) if m is lm.blocks[-1].module)
    return called[last_block + 1 : called.index(embedding, last_block)]


def _gain(norm: nn.Module, weight: Tensor) -> tuple[Tensor, bool]:
    """A norm's gain [d_model], and whether it subtracts the mean: asked of it, not looked up.

    Gemma keeps its gain as the difference from 1, so the weight alone does not tell.
    """
    with torch.no_grad():
        signs = torch.ones_like(weight)
        signs[1::2] = -1
        gain = (norm(signs) - norm(-signs)).float() / (2 * signs.float())
        even = torch.arange(len(weight), device=weight.device).to(weight.dtype)
        centred = torch.allclose(norm(even), norm(even + 3 * len(even)), rtol=1e-2)
    return gain, centred
