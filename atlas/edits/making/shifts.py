"""The smallest shifts along given key directions that put new objects on top."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from atlas.edits.making.edited_model import EditedModel
from atlas.edits.making.least_step import least_step
from atlas.edits.making.questions import Questions
from atlas.edits.making.shift_costs import leads
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target

STEPS = 100  # at most; of a causal model half of them behind the unedited prefix
FOR_KEPT = 4  # steps more, once all wanted answers lead, for those to keep that do not
KEPT_MARGIN = 0.5  # nats by which an answer to keep is to lead


@dataclass(frozen=True)
class Pace:
    """How a descent steps.

    aim: of what leads lack, that a step is to gain: they saturate. farthest: length of a step, in
    `scale` an entry. decay: of the shift, which every step takes back if leads let it.
    shortening: steps that go on where the shift suffices already, to shorten it; the shortest of
    those with `enough` of the margin is taken.
    """

    aim: float
    farthest: float
    decay: float = 0.0
    shortening: int = 0
    enough: float = 1.0


PACES = {"masked": Pace(1.0, 0.5), "causal": Pace(1.5, 0.7, decay=0.1, shortening=12, enough=0.75)}


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
    costs: Tensor | None = None,
) -> Shifts:
    """T [key, d_model] such that deltas U T put the wanted answers on top by `margin` nats.

    directions: U [neuron, key]. scale: size of an entry of T that would be felt, say that of what
        the layer writes on these prompts. start: where T starts; None: at 0. kept: prompts whose
        own answer is to go on leading by KEPT_MARGIN: those most at risk. costs: [d_model, d_model]
        in which shifts are to be short (`shift_costs`); None: as they are long.

    Each step is the shortest with which every lead, the new token's logit less the highest other
    one, would grow by `aim` times what it lacks if it were linear (`least_step`), and no longer
    than `farthest`, for it is not; the first T with which every lead suffices is taken. That
    prompts which are not asked stay is the directions' work, and that of a short T. Where no shift
    suffices within STEPS steps, the result is the one with most tokens on top. Nothing is random.

    In causal models the deltas act from the targets' sites on at first, because a row is then a few
    tokens; what is found is tried with the deltas at every position, where the descent goes on if
    it does not put every token on top. Their first steps go too far, so that each takes back as
    much of the earlier ones as it can, and some more are made where the shift suffices.
    """
    found, taken = None, 0
    for prefix_as_is in (True, False) if lm.objective == "causal" else (False,):
        found = descend(
            lm, neurons, directions, wanted, margin, scale, start, kept, costs, prefix_as_is, taken
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
    costs: Tensor | None = None,
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
    cheap = None if costs is None else _root(costs).to(theta.device)
    again = lm.objective == "causal" and not prefix_as_is
    with lm.frozen():
        model = EditedModel(lm, neurons, rows, prefix_as_is)
        pace = PACES[lm.objective]
        descent = _Descent(model, rows, count, directions, margins, scale, cheap, pace)
        found = descent.run(theta, STEPS // 2 if prefix_as_is else STEPS - taken, again)
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
    cheap: Tensor | None  # [d_model, d_model], the costs to the power of −½; None: all alike
    pace: Pace

    def run(self, start: Tensor, most: int, again: bool) -> Shifts:
        """At most `most` steps from `start` (in `scale`), few of them for rows to keep alone.

        again: where `start` puts the wanted on top, it is left at that.
        """
        theta = start
        best, best_key, step = None, (2.0, 0.0), 0
        while True:
            each = theta.expand(len(self.rows), -1, -1).clone().requires_grad_()
            lead = self._leads(each)
            lacking = (self.margins - lead.detach()).clamp(min=0)
            reached = float((lead.detach()[: self.count] > 0).float().mean())
            key = (-reached, float(lacking.mean()))
            if bool((lead >= self.pace.enough * self.margins)[: self.count].all()):
                if self.pace.shortening:
                    key = (-2.0, float(theta.norm()))
                    most = min(most, max(step, self.pace.shortening))
                else:
                    most = min(most, step + FOR_KEPT)
            if best is None or key < best_key:
                best_key, shifts = key, theta * self.scale
                best = Shifts(shifts.cpu(), (self.directions @ shifts).cpu(), reached, step)
            suffices = float(lacking.max()) == 0 and not self.pace.shortening
            if suffices or step >= most or (again and step == 0 and reached == 1):
                return replace(best, steps=step)
            (gradients,) = torch.autograd.grad(lead.sum(), each)
            theta = theta + self._least_step(theta, gradients, lead.detach())
            step += 1

    def _leads(self, theta: Tensor) -> Tensor:
        """[row] for theta [row, key, d_model]."""
        logits = self.model.logits_along(self.directions, theta * self.scale)
        return leads(logits, [target.token for target in self.rows])

    def _least_step(self, theta: Tensor, gradients: Tensor, lead: Tensor) -> Tensor:
        """The step with which leads gain, to first order, what they are to, and theta is then as
        near as can be to what `decay` leaves of it.
        """
        lacking = (self.margins - lead).double()
        # half of what is left over may go
        growth = torch.where(lacking > 0, self.pace.aim * lacking, lacking / 2)
        slopes, less = gradients.double(), self.pace.decay * theta.double()
        growth = growth + (slopes * less).flatten(1).sum(1)
        if self.cheap is not None:  # what costs the same is as long
            slopes = slopes @ self.cheap
        found = least_step(slopes.flatten(1).cpu().numpy(), growth.cpu().numpy())
        gained = torch.from_numpy(found).to(slopes).view_as(less)
        if self.cheap is not None:
            gained = gained @ self.cheap
        step = (gained - less).to(gradients)
        longest = self.pace.farthest * step.numel() ** 0.5
        shortened: Tensor = step * min(1.0, longest / max(float(step.norm()), 1e-12))
        return shortened


def _root(costs: Tensor) -> Tensor:
    """The inverse square root of a symmetric positive matrix, in float64."""
    values, vectors = torch.linalg.eigh(costs.double())
    root: Tensor = (vectors * values.rsqrt()) @ vectors.T
    return root
