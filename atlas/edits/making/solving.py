"""The smallest change of given value vectors that puts a new object on top: method solve."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from atlas.edits.making.edited_model import EditedModel
from atlas.edits.making.questions import Questions
from atlas.engine.interventions import check_neurons
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target

MARGIN = 0.5  # nats by which the new object shall lead the next answer
STEPS = 200  # at most, until it does
POLISH = 0.5  # of the steps that took, so many more to lessen the drift
RATE = 0.05  # of a step of Adam, in root-mean-square entries of the value vectors
FASTER = 1.01  # growth of the rate per step, for what lies far away
FIRST = 0.1  # weight of what is missing against the drift at the first step
GROWTH = 1.08  # of that weight, per step
SMALL = 1e-3  # weight of the change's size against the drift


@dataclass(frozen=True, eq=False)
class Solved:
    """What the optimiser found.

    deltas: [neuron, d_model] float32, on the CPU.
    reached: share of the answer tokens, over the prompts it was made from, that are on top.
    drift: mean over the tokens to keep of KL(before ‖ after), in nats.
    broken: share of the tokens to keep whose top answer is another one than before.
    steps: gradient steps taken.
    """

    deltas: Tensor
    reached: float
    drift: float
    broken: float
    steps: int


def solve_deltas(
    lm: LanguageModel,
    neurons: Sequence[tuple[int, int]],
    wanted: Questions,
    kept: Questions,
) -> Solved:
    """Deltas for the value vectors of `neurons` that put the wanted answers on top.

    With δ the deltas and s the root mean square of the value vectors' entries, the objective is

        w · mean_p max(0, MARGIN − lead_p(δ)) + mean_k KL(P_k ‖ P_k(δ)) + SMALL · |δ/s|² / neurons

    where lead_p is the new token's logit less the highest other one on the wanted token p, and P_k
    the model's distribution over the vocabulary at the kept token k. Adam descends from δ = 0 on
    all prompts at once while w grows from FIRST by GROWTH a step, so that the way leads through
    small changes to the first that suffices, and no strength is asked of anyone; its rate grows by
    FASTER a step, for what lies far away. Once every lead is MARGIN, w stays and further steps
    lessen the drift: the result is the change with every lead positive whose drift and size are
    smallest. Where no change suffices within STEPS steps, the result is the one with most tokens on
    top, and `reached` says how many.

    For causal models the deltas act at the answer position alone at first, because a row is then a
    single token; what is found is tried with the deltas at every position, where the descent goes
    on if it does not suffice.

    Nothing is random: equal input gives equal deltas up to the machine's rounding. The neurons act
    on a prompt through their activations there, so a prompt in which they are silent stays as it
    is, whatever δ; and neurons that are active everywhere may leave no change that spares the kept
    prompts: `broken` tells.
    """
    check_neurons(lm, neurons)
    wanted_rows = [target for targets in wanted for target in targets]
    kept_rows = [target for targets in kept for target in targets]
    solved, weight = None, FIRST
    with lm.frozen():
        for prefix_as_is in (True, False) if lm.objective == "causal" else (False,):
            solver = _Solver(lm, neurons, wanted_rows, kept_rows, prefix_as_is)
            solved, weight = solver.solve(solved, weight)
    assert solved is not None
    return solved


@dataclass(frozen=True, eq=False)
class _Terms:
    lead: Tensor  # [wanted token]
    drift: Tensor  # [kept token]
    size: Tensor  # scalar
    broken: float


class _Solver:
    def __init__(
        self,
        lm: LanguageModel,
        neurons: Sequence[tuple[int, int]],
        wanted: list[Target],
        kept: list[Target],
        prefix_as_is: bool,
    ) -> None:
        self.model = EditedModel(lm, neurons, [*wanted, *kept], prefix_as_is)
        self.wanted = len(wanted)
        self.tokens = torch.tensor([t.token for t in wanted], device=lm.model.device)[:, None]
        vectors = torch.stack([lm.value_vectors(layer)[i] for layer, i in neurons]).float()
        self.scale = vectors.square().mean().sqrt()
        self.theta = torch.zeros_like(vectors, requires_grad=True)
        with torch.no_grad():
            self.before = self.model.logits(None)[self.wanted :].log_softmax(-1)

    def terms(self) -> _Terms:
        logits = self.model.logits(self.theta * self.scale)
        new = logits[: self.wanted]
        others = new.scatter(1, self.tokens, -torch.inf).amax(-1)
        after = logits[self.wanted :].log_softmax(-1)
        broken = (after.argmax(-1) != self.before.argmax(-1)).float()
        return _Terms(
            lead=new.gather(1, self.tokens)[:, 0] - others,
            drift=(self.before.exp() * (self.before - after)).sum(-1),
            size=self.theta.square().sum() / len(self.theta),
            broken=float(broken.mean()) if len(broken) else 0.0,
        )

    def solve(self, start: Solved | None, weight: float) -> tuple[Solved, float]:
        """Descend from `start`, or from zero; returns with the weight that was arrived at."""
        if start is not None:
            with torch.no_grad():
                self.theta += start.deltas.to(self.theta.device) / self.scale
        optimiser = torch.optim.Adam([self.theta], lr=RATE, betas=(0.9, 0.99))
        taken = start.steps if start is not None else 0
        spare = STEPS // 4 if start is not None and start.reached == 1 else 0
        last, step, led = max(STEPS - taken, spare), 0, False
        best, best_key = None, (1.0, 0.0, 0.0)
        while True:
            terms = self.terms()
            missing = (MARGIN - terms.lead).clamp(min=0).mean()
            drift = terms.drift.mean() if len(terms.drift) else 0 * missing
            rest = drift + SMALL * terms.size
            reached = float((terms.lead.detach() > 0).float().mean())
            lacking = 0.0 if reached == 1 else float(missing.detach())
            key = (-reached, lacking, float(rest.detach()))
            if best is None or key < best_key:
                best_key = key
                deltas = (self.theta.detach() * self.scale).cpu()
                best = Solved(deltas, reached, float(drift.detach()), terms.broken, step)
            if not led and float(missing.detach()) == 0:
                led, last = True, step + int(POLISH * step)
            if step >= last or (start is not None and step == 0 and reached == 1):
                return replace(best, steps=taken + step), weight
            (self.theta.grad,) = torch.autograd.grad(weight * missing + rest, self.theta)
            optimiser.step()
            if not led:
                weight *= GROWTH
                optimiser.param_groups[0]["lr"] *= FASTER
            step += 1
