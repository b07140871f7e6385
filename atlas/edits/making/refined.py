"""Shifts of many facts taken together: every one stays on top, others' answers stay in place."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.edits.making.edited_model import EditedModel
from atlas.edits.making.questions import Questions
from atlas.models.language_model import LanguageModel

STEPS = 80
RATE = 0.05  # of the first step of Adam, in `scale`; it falls to nothing
WEIGHT = 3.0  # of what is missing against the drift


@dataclass(frozen=True, eq=False)
class Refined:
    """What the descent found.

    moves: [key, d_model] float32 on the CPU, what it added to the shifts.
    drift: mean over the kept tokens of KL(before ‖ after) in nats, at the start and at the end.
    steps: gradient steps taken.
    """

    moves: Tensor
    drift: tuple[float, float]
    steps: int


def refine_shifts(
    lm: LanguageModel,
    neurons: Sequence[tuple[int, int]],
    directions: Tensor,
    deltas: Tensor,
    wanted: Questions,
    kept: Questions,
    margin: float,
    scale: float,
) -> Refined:
    """Moves M [key, d_model] of the shifts: deltas + U M do what deltas do, and break less.

    directions: U [neuron, key]. deltas: [neuron, d_model], to start from. Adam descends on

        WEIGHT · mean_p max(0, margin − lead_p) + mean_k KL(P_k ‖ P_k(M))

    (the terms of `solving`) for STEPS steps. The result is the one with most wanted tokens on top,
    of these the one that drifts least; M = 0 is among them. Nothing is random.
    """
    wanted_rows = [target for targets in wanted for target in targets]
    kept_rows = [target for targets in kept for target in targets]
    device = lm.model.device
    tokens = torch.tensor([target.token for target in wanted_rows], device=device)[:, None]
    directions, deltas = directions.float().to(device), deltas.float().to(device)
    with lm.frozen():
        model = EditedModel(lm, neurons, [*wanted_rows, *kept_rows])
        with torch.no_grad():
            before = model.logits(None)[len(wanted_rows) :].log_softmax(-1)
        moves = torch.zeros(directions.shape[1], lm.d_model, device=device, requires_grad=True)
        optimiser = torch.optim.Adam([moves], lr=RATE * scale, betas=(0.9, 0.99))
        best, best_key, first = moves.detach().clone(), (1.0, 0.0, 0.0), 0.0
        for step in range(STEPS + 1):
            logits = model.logits(deltas + directions @ moves)
            new, after = logits[: len(wanted_rows)], logits[len(wanted_rows) :].log_softmax(-1)
            others = new.scatter(1, tokens, -torch.inf).amax(-1)
            lead = new.gather(1, tokens)[:, 0] - others
            drift = (before.exp() * (before - after)).sum(-1).sum() / max(len(kept_rows), 1)
            missing = (margin - lead).clamp(min=0).mean()
            reached = float((lead.detach() > 0).float().mean())
            lacking = 0.0 if reached == 1 else float(missing.detach())
            key = (-reached, lacking, float(drift.detach()))
            first = key[2] if step == 0 else first
            if key < best_key:
                best, best_key = moves.detach().clone(), key
            if step == STEPS:
                break
            (moves.grad,) = torch.autograd.grad(WEIGHT * missing + drift, moves)
            optimiser.param_groups[0]["lr"] = RATE * scale * (1 - step / STEPS)
            optimiser.step()
    return Refined(best.cpu(), (first, best_key[2]), STEPS)
