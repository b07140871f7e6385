"""The smallest shifts along given key directions that put new objects on top."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from atlas.edits.making.edited_model import EditedModel
from atlas.edits.making.least_step import least_step
from atlas.edits.making.questions import Questions
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target

LEAST_STEPS = 12  # of a causal model, which shorten what holds already
ENOUGH = 0.75  # of the margin, where such a step has shortened the shift
STEPS = 100  # at most; of a causal model half of them behind the unedited prefix
RATE = 0.3  # of a step of Adam, in `scale`
FASTER = 1.03  # growth of the rate per step, for what lies far away
FOR_KEPT = 4  # steps more, once all wanted answers lead, for those to keep that do not
KEPT_MARGIN = 0.5  # nats by which an answer to keep is to lead
AIM = 1.5  # of what leads lack, that a step of a causal model is to gain: leads saturate
DECAY = 0.1  # of a causal model's shift, which every step takes back if leads let it
FARTHEST = 0.7  # length of such a step, in `scale` an entry
SMALL = 1e-3  # weight of the shifts' size against what is missing


@dataclass(frozen=True, eq=False)
class Shifts:
    """What the descent found.

    shifts: T [key, d_model] float32. deltas: [neuron, d_model], the directions times the shifts;
    both on the CPU. reached: share of the answer tokens that are on top. steps: gradient steps.
    """

    shifts: Tensor
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
    start: Tensor | None = None,
    kept: Sequence[Sequence[Target]] = (),
) -> Shifts:
    """T [key, d_model] such that deltas U T put the wanted answers on top by `margin` nats.

    directions: U [neuron, key]. scale: size of an entry of T that would be felt, say that of what
        the layer writes on these prompts. start: where T starts; None: at 0. kept: prompts whose
        own answer is to go on leading by KEPT_MARGIN: those most at risk.

    Adam descends on the mean over wanted tokens of max(0, margin − lead), the lead being the new
    token's logit less the highest other one, and stops at the first T with which every lead
    suffices; a faint weight decay takes it there on a short way. That prompts which are not asked
    stay is the directions' work. Where no shift suffices within STEPS steps, the result
    is the one with most tokens on top. Nothing is random.

    For causal models, whose steps are dear, each step is the one with which every lead would grow
    by AIM times what it lacks if it were linear, and that takes back as much as it can of earlier
    ones (`least_step`): LEAST_STEPS in place of dozens, of which the shortest shift that has ENOUGH
    of the margin is taken, as the first steps go too far. The deltas act from the targets' sites on at first, because a row is then a few tokens;
    what is found is tried with the deltas at every position, where the descent goes on if it does
    not put every token on top.
    """
    found, taken = None, 0
    for prefix_as_is in (True, False) if lm.objective == "causal" else (False,):
        found = descend(
            lm, neurons, directions, wanted, margin, scale, start, kept, prefix_as_is, taken
        )
        start, taken = found.shifts, found.steps
    assert found is not None
    return found


def descend(
    lm: LanguageModel,
    neurons: Sequence[tuple[int, int]],
    directions: Tensor,
    wanted: Questions,
    margin: float,
    scale: float,
    start: Tensor | None = None,
    kept: Sequence[Sequence[Target]] = (),
    prefix_as_is: bool = False,
    taken: int = 0,
) -> Shifts:
    """One part of `find_shifts`, after `taken` steps: of a causal model's behind the unedited
    prefix if `prefix_as_is`, else with the deltas at every position.
    """
    rows = [target for targets in (*wanted, *kept) for target in targets]
    count = sum(map(len, wanted))
    directions = directions.float().to(lm.model.device)
    theta = torch.zeros(directions.shape[1], lm.d_model, device=directions.device)
    if start is not None:
        theta += start.to(theta.device) / scale
    margins = torch.full((len(rows),), margin, device=theta.device)
    margins[count:] = KEPT_MARGIN
    causal = lm.objective == "causal"
    most = STEPS // 2 if prefix_as_is else STEPS - taken
    with lm.frozen():
        model = EditedModel(lm, neurons, rows, prefix_as_is)
        descent = _Descent(model, rows, count, directions, margins, scale)
        found = descent.run(theta, most, causal and not prefix_as_is, by_least_steps=causal)
    return replace(found, steps=taken + found.steps)


@dataclass(frozen=True, eq=False)
class _Descent:
    """Towards shifts with which every lead is its margin; the first `count` rows are wanted."""

    model: EditedModel
    rows: Sequence[Target]
    count: int
    directions: Tensor  # [neuron, key]
    margins: Tensor  # [row]
    scale: float

    def run(self, start: Tensor, most: int, again: bool, by_least_steps: bool) -> Shifts:
        """At most `most` steps from `start` (in `scale`), few of them for rows to keep alone.

        again: where `start` puts the wanted on top, it is left at that.
        """
        theta = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([theta], lr=RATE, betas=(0.9, 0.99))
        best, best_key, step = None, (2.0, 0.0), 0
        while True:
            each = theta.detach().expand(len(self.rows), -1, -1).clone().requires_grad_()
            lead = self._leads(each if by_least_steps else theta)
            missing = (self.margins - lead).clamp(min=0)
            lacking = missing.detach()
            reached = float((lead.detach()[: self.count] > 0).float().mean())
            key = (-reached, float(lacking.mean()))
            if by_least_steps:
                enough = (lead >= ENOUGH * self.margins)[: self.count]
                if bool(enough.all()):
                    key = (-2.0, float(theta.detach().norm()))
                    most = min(most, max(step, LEAST_STEPS))
            elif float(lacking[: self.count].max()) == 0:
                most = min(most, step + FOR_KEPT)
            if best is None or key < best_key:
                best_key, shifts = key, (theta * self.scale).detach()
                best = Shifts(shifts.cpu(), (self.directions @ shifts).cpu(), reached, step)
            suffices = float(lacking.max()) == 0 and not by_least_steps
            if suffices or step >= most or (again and step == 0 and reached == 1):
                return replace(best, steps=step)
            if by_least_steps:
                (gradients,) = torch.autograd.grad(lead.sum(), each)
                with torch.no_grad():
                    theta += self._least_step(theta, gradients, lead.detach())
            else:
                loss = missing.mean() + SMALL * theta.square().sum() / len(theta)
                (theta.grad,) = torch.autograd.grad(loss, theta)
                optimiser.step()
                optimiser.param_groups[0]["lr"] *= FASTER
            step += 1

    def _leads(self, theta: Tensor) -> Tensor:
        """[row] for one theta [key, d_model], or [row, key, d_model]."""
        if theta.dim() == 2:
            logits = self.model.logits(self.directions @ (theta * self.scale))
        else:
            logits = self.model.logits_along(self.directions, theta * self.scale)
        tokens = torch.tensor([target.token for target in self.rows], device=logits.device)
        others = logits.scatter(1, tokens[:, None], -torch.inf).amax(-1)
        return logits.gather(1, tokens[:, None])[:, 0] - others

    def _least_step(self, theta: Tensor, gradients: Tensor, lead: Tensor) -> Tensor:
        """The step with which leads gain AIM times what they lack, to first order, and theta is
        then as near as can be to what DECAY leaves of it.
        """
        lacking = (self.margins - lead).double().cpu().numpy()
        growth = np.where(lacking > 0, AIM * lacking, lacking / 2)  # half of what is left over
        along = gradients.flatten(1).double().cpu().numpy()
        less = DECAY * theta.detach().flatten().double().cpu().numpy()
        found = least_step(along, growth + along @ less) - less
        step = torch.from_numpy(found).to(gradients).view_as(theta)
        longest = FARTHEST * step.numel() ** 0.5
        shortened: Tensor = step * min(1.0, longest / max(float(step.norm()), 1e-12))
        return shortened
