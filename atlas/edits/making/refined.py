"""Shifts of many facts found together: every one is to be on top, others' answers stay in place.

Each fact's own shift says nothing of what the others' do to its prompts, and all of them together
move what none of them moves alone. So they are found with what is to stay before their eyes: as
many right prompts as the atlas has, since those of facts that nobody showed it stay only as far as
those shown stand for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.edits.making.edited_model import EditedModel
from atlas.edits.making.questions import Questions
from atlas.edits.making.shift_costs import leads
from atlas.models.language_model import LanguageModel
from atlas.progress import Advance, Reporter
from atlas.prompts import Target

STEPS = 300
RATE = 0.1  # of the first step of Adam, in `scale`; it falls to nothing
WEIGHT = 3.0  # of what is missing against the drift
BATCH = 256  # rows of each kind a step


@dataclass(frozen=True, eq=False)
class Refined:
    """What the descent found.

    shifts: T [key, d_model] float32 on the CPU. drift: mean over the last batches of kept tokens of
    KL(before ‖ after) in nats. steps: gradient steps taken.
    """

    shifts: Tensor
    drift: float
    steps: int


def refined_shifts(
    lm: LanguageModel,
    neurons: Sequence[tuple[int, int]],
    directions: Tensor,
    wanted: Questions,
    kept: Questions,
    margin: float,
    scale: float,
    report: Reporter = lambda event: None,
) -> Refined:
    """Shifts T [key, d_model] such that deltas U T put what is wanted on top, and break little.

    directions: U [neuron, key]. kept: prompts whose answers are to stay, in no telling order. From
    T = 0 Adam descends on

        WEIGHT · mean_p max(0, margin − lead_p) + mean_k KL(P_k ‖ P_k(T))

    (the terms of `solving`), with one batch of wanted and one of kept tokens after the other, for
    STEPS steps. Nothing is random.
    """
    wants, keeps = (_batches(lm, neurons, questions) for questions in (wanted, kept))
    device = lm.model.device
    directions = directions.float().to(device)
    theta = torch.zeros(directions.shape[1], lm.d_model, device=device, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=RATE, betas=(0.9, 0.99))
    drifts: list[float] = []
    with lm.frozen():
        for step in range(STEPS):
            deltas = directions @ (theta * scale)
            leading = wants[step % len(wants)].leads(deltas)
            missing = (margin - leading).clamp(min=0).mean()
            drift = keeps[step % len(keeps)].drift(deltas) if keeps else 0 * missing
            (theta.grad,) = torch.autograd.grad(WEIGHT * missing + drift, theta)
            optimiser.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
            optimiser.step()
            drifts = [*drifts, float(drift.detach())][-max(len(keeps), 1) :]
            done = step + 1
            report(Advance("shifts of all", done, STEPS, unit="steps", complete=done == STEPS))
    return Refined((theta.detach() * scale).cpu(), sum(drifts) / len(drifts), STEPS)


def _batches(
    lm: LanguageModel, neurons: Sequence[tuple[int, int]], questions: Questions
) -> list["_Batch"]:
    """The tokens dealt into batches of about BATCH, each with some of every stretch of them."""
    rows = [target for targets in questions for target in targets]
    count = -(-len(rows) // BATCH)
    return [_Batch(lm, neurons, rows[first::count]) for first in range(count)]


class _Batch:
    """Tokens that are looked at together."""

    def __init__(
        self, lm: LanguageModel, neurons: Sequence[tuple[int, int]], rows: Sequence[Target]
    ) -> None:
        self.model = EditedModel(lm, neurons, rows)
        self.tokens = [target.token for target in rows]

    def leads(self, deltas: Tensor) -> Tensor:
        """[row], see `shift_costs`."""
        return leads(self.model.logits(deltas), self.tokens)

    def drift(self, deltas: Tensor) -> Tensor:
        """Mean KL(before ‖ after) of the rows in nats."""
        with torch.no_grad():
            before = self.model.logits(None).log_softmax(-1)
        after = self.model.logits(deltas).log_softmax(-1)
        return (before.exp() * (before - after)).sum(-1).mean()
