"""The smallest shifts along given key directions that put new objects on top."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.edits.making.edited_model import EditedModel
from atlas.edits.making.questions import Questions
from atlas.models.language_model import LanguageModel

STEPS = 100  # at most
RATE = 0.3  # of a step of Adam, in `scale`
FASTER = 1.03  # growth of the rate per step, for what lies far away
SMALL = 1e-3  # weight of the shifts' size against what is missing


@dataclass(frozen=True, eq=False)
class Shifts:
    """What the descent found.

    deltas: [neuron, d_model] float32, the directions times the shifts, on the CPU.
    reached: share of the answer tokens that are on top. steps: gradient steps taken.
    """

    deltas: Tensor
    reached: float
    steps: int


def find_shifts(
    lm: LanguageModel,
    neurons: Sequence[tuple[int, int]],
    directions: Tensor,
    wanted: Questions,
    margin: float,
    scale: float,
) -> Shifts:
    """T [key, d_model] such that deltas U T put the wanted answers on top by `margin` nats.

    directions: U [neuron, key]. scale: size of an entry of T that would be felt, say that of what
        the layer writes on these prompts.

    Adam descends from T = 0 on the mean over wanted tokens of max(0, margin − lead), the lead being
    the new token's logit less the highest other one, and stops at the first T with which every lead
    suffices; a faint weight decay takes it there on a short way. Only the wanted prompts are asked:
    that others stay is the directions' work. Where no shift suffices within STEPS steps, the result
    is the one with most tokens on top. Nothing is random.
    """
    rows = [target for targets in wanted for target in targets]
    device = lm.model.device
    tokens = torch.tensor([target.token for target in rows], device=device)[:, None]
    directions = directions.float().to(device)
    with lm.frozen():
        model = EditedModel(lm, neurons, rows)
        with torch.no_grad():
            model.logits(None)  # what comes before the layer is run once
        theta = torch.zeros(directions.shape[1], lm.d_model, device=device, requires_grad=True)
        optimiser = torch.optim.Adam([theta], lr=RATE, betas=(0.9, 0.99))
        best, best_key, step = Shifts(torch.zeros(0), 0.0, 0), (2.0, 0.0), 0
        while True:
            deltas = directions @ (theta * scale)
            logits = model.logits(deltas)
            others = logits.scatter(1, tokens, -torch.inf).amax(-1)
            lead = logits.gather(1, tokens)[:, 0] - others
            missing = (margin - lead).clamp(min=0)
            reached = float((lead.detach() > 0).float().mean())
            key = (-reached, float(missing.detach().mean()))
            if key < best_key:
                best_key, best = key, Shifts(deltas.detach().cpu(), reached, step)
            if float(missing.detach().max()) == 0 or step >= STEPS:
                return Shifts(best.deltas, best.reached, step)
            loss = missing.mean() + SMALL * theta.square().sum() / len(theta)
            (theta.grad,) = torch.autograd.grad(loss, theta)
            optimiser.step()
            optimiser.param_groups[0]["lr"] *= FASTER
            step += 1
