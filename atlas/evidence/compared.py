"""A prompt's stored numbers beside those measured again, and what may lie between them.

Rounding is stated as a share of the largest number of its kind, a prompt's largest score for
scores. Where the adaptive rule stopped at other points than before, which rounding may decide, the
scores may also differ by what both integrals left open: the sum of their completeness gaps.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from atlas.engine.answer_tokens import Attribution
from atlas.evidence.drawn import StoredPrompt, StoredScores

# Shares that rounding may come to with other batches, threads and machines, by dtype.
ROUNDING = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}
NEAR_RANKS = 0.01  # of a rank: so many answers may have changed places among those of nearly one P
EXACT_RANKS = 100  # up to here rounding is allowed none, beyond its share of the rank


@dataclass(frozen=True)
class Compared:
    """One quantity of a prompt, stored and measured again.

    difference, allowed: in the quantity's units; 1 and 0 for what is equal or not. layer, neuron:
    of the neuron where the difference is largest; None: of no neuron.
    """

    quantity: str
    stored: str
    again: str
    difference: float
    allowed: float
    layer: int | None = None
    neuron: int | None = None

    @property
    def holds(self) -> bool:
        """Whether the difference is within what is allowed; not if it is no number."""
        return self.difference <= self.allowed

    @property
    def excess(self) -> float:
        """The difference as a share of what is allowed; infinite where none is allowed."""
        if self.allowed > 0:
            return self.difference / self.allowed
        return 0.0 if self.difference == 0 else float("inf")


def compared(
    stored: StoredPrompt,
    scores: StoredScores,
    again: Attribution,
    i: int,
    *,
    dtype: str,
    floor: float,
) -> Iterator[Compared]:
    """Every quantity of the prompt; `i` is its row of `again`, `floor` the run's score floor."""
    rounding = ROUNDING[dtype]
    tied = dtype != "float32" and abs(stored.p_predicted - again.p_predicted[i]) <= rounding
    yield _number("P(answer)", stored.p_answer, again.p_answer[i], rounding)
    yield _number("P(top answer)", stored.p_predicted, again.p_predicted[i], rounding)
    yield equal("top answer", stored.predicted, again.predicted[i], may_differ=tied)
    yield _rank(stored, again, i, tied)
    yield equal("answer tokens", str(stored.answer_tokens), str(int(again.answer_tokens[i])))
    largest = float(again.scores[i].max())
    scale = rounding * float(np.abs(again.scores[i]).max())
    mass = rounding * float(np.abs(again.scores[i]).sum())
    left_open = 0.0
    gap = stored.completeness_gap
    if gap is not None and stored.gradient_evaluations != int(again.evaluations[i].sum()):
        left_open = abs(gap) + float(np.abs(again.completeness_gap[i]).max())
    allowed = scale + left_open
    yield _within("largest score", stored.max_score, largest, allowed)
    for name, held, sign in (
        ("positive mass", stored.positive_mass, 1),
        ("negative mass", stored.negative_mass, -1),
    ):
        if held is not None:
            now = sign * float(np.maximum(sign * again.scores[i], 0).sum(dtype=np.float64))
            yield _within(name, held, now, mass + left_open * again.scores.shape[1])
    if gap is not None and not left_open:
        worst = int(np.abs(again.completeness_gap[i]).argmax())
        yield _within(
            "gap",
            abs(gap),
            abs(float(again.completeness_gap[i][worst])),
            mass + rounding * abs(gap),
        )
    yield from _of_neurons(scores, again, i, allowed, rounding, floor)


def _of_neurons(
    stored: StoredScores,
    again: Attribution,
    i: int,
    allowed: float,
    rounding: float,
    floor: float,
) -> Iterator[Compared]:
    layers, width = again.scores.shape[1:]
    outside = (stored.layer >= layers) | (stored.neuron >= width)
    yield equal("neurons", str(int(outside.sum())), "0")
    layer, neuron = stored.layer[~outside], stored.neuron[~outside]
    for name, held, now, most in (
        ("score", stored.score[~outside], again.scores[i], allowed),
        (
            "activation",
            stored.activation[~outside],
            again.activations[i],
            rounding * float(np.abs(again.activations[i]).max()),
        ),
    ):
        if len(held):
            apart = np.abs(held.astype(np.float64) - now[layer, neuron])
            k = int(np.nan_to_num(apart, nan=np.inf).argmax())
            at = int(layer[k]), int(neuron[k])
            yield Compared(
                name, _short(held[k]), _short(now[at]), float(apart[k]), most, *at
            )  # fmt: skip
    # What must have been stored: at or above the floor, by more than rounding.
    due = np.abs(again.scores[i]) - floor * abs(float(again.scores[i].max()))
    due[layer, neuron] = 0.0
    row, column = np.unravel_index(int(due.argmax()), due.shape)
    at = int(row), int(column)
    yield Compared(
        "scores left out",
        "not stored" if due[at] > allowed else "",
        _short(again.scores[i][at]),
        max(float(due[at]), 0.0),
        allowed,
        layer=at[0],
        neuron=at[1],
    )


def _number(name: str, stored: float, again: float, rounding: float) -> Compared:
    return _within(name, stored, again, rounding * max(abs(float(again)), 1e-6))


def _within(name: str, stored: float, again: float, allowed: float) -> Compared:
    return Compared(
        name, _short(stored), _short(again), abs(float(stored) - float(again)), float(allowed)
    )


def equal(name: str, stored: str, again: str, *, may_differ: bool = False) -> Compared:
    """What must be the same; a difference of 1 if it is not."""
    return Compared(name, stored, again, float(stored != again), float(may_differ))


def _rank(stored: StoredPrompt, again: Attribution, i: int, tied: bool) -> Compared:
    now = int(again.answer_rank[i])
    allowed = float(tied)
    if max(now, stored.answer_rank) > EXACT_RANKS:
        allowed = NEAR_RANKS * now
    apart = float(abs(stored.answer_rank - now))
    return Compared("rank", str(stored.answer_rank), str(now), apart, allowed)


def _short(value: object) -> str:
    return f"{float(value):.6g}"  # type: ignore[arg-type]
