"""What a shift costs the answers that are to stay: the metric in which method spare's are short."""

from collections.abc import Sequence

import torch
from torch import Tensor

from atlas.edits.making.edited_model import EditedModel
from atlas.edits.making.questions import Questions
from atlas.models.language_model import LanguageModel

LEAST_LEAD = 0.5  # nats: a prompt whose answer leads by less counts as if it led by that
ALIKE = 0.3  # share of a metric in which all directions cost the same


def costs_of_shifts(
    lm: LanguageModel,
    neurons: Sequence[tuple[int, int]],
    directions: Tensor,
    kept: Questions,
) -> Tensor:
    """M [d_model, d_model] float64, tᵀ M t being what a shift t costs, 1 on average over t.

    directions: U [neuron, key]. With g_x the slope of the lead of prompt x's own answer along the
    shift,

        M ∝ mean_x g_x g_xᵀ / lead_x² + ALIKE · I

    to first order the squared share of its lead that a prompt loses, so that shifts that are short
    in it go where the kept answers do not look. I where nothing is kept.
    """
    unit = torch.eye(lm.d_model, dtype=torch.float64)
    rows = [target for targets in kept for target in targets]
    if not rows:
        return unit
    directions = directions.float().to(lm.model.device)
    with lm.frozen():
        model = EditedModel(lm, neurons, rows)
        shape = (len(rows), directions.shape[1], lm.d_model)
        shifts = torch.zeros(shape, device=directions.device, requires_grad=True)
        lead = leads(model.logits_along(directions, shifts), [target.token for target in rows])
        (slopes,) = torch.autograd.grad(lead.sum(), shifts)
    shares = slopes / lead.detach().clamp(min=LEAST_LEAD)[:, None, None]
    shares = shares.flatten(0, 1).double().cpu()  # [row and key, d_model]
    cost = shares.T @ shares
    mean = float(cost.diagonal().mean()) or 1.0
    return (cost / mean + ALIKE * unit) / (1 + ALIKE)


def leads(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """[row] each token's logit less the highest other one, for logits [row, vocabulary]."""
    at = torch.tensor(tokens, device=logits.device)[:, None]
    others = logits.scatter(1, at, -torch.inf).amax(-1)
    return logits.gather(1, at)[:, 0] - others
