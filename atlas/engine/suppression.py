"""Many prompts with many sets of neurons suppressed, by forward passes that share their beginnings.

A row is a prompt's target with the activations of some neurons set to 0 at its site.
It starts from the unpatched run at the lowest of their layers, so that no row runs a block that it
cannot change: where all neurons lie in the last layer, only the head runs. The numbers are those of
`probe` with factors of 0.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.engine.answer import head_slices
from atlas.engine.clean_pass import CleanPass, carried, run_clean
from atlas.engine.growing import run_growing
from atlas.errors import ModelError
from atlas.models.hooks import before_forward
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target

Neuron = tuple[int, int]  # layer, index
TARGETS, TOKENS = 64, 8192  # of one clean pass; that a batch of rows may hold


@dataclass(frozen=True)
class Suppressed:
    """A prompt, as its targets, asked with these neurons suppressed."""

    targets: Sequence[Target]
    neurons: tuple[Neuron, ...]


@dataclass(frozen=True, eq=False)
class Answers:
    """What the model answered; every array's first axis is that of the questions."""

    log_p: NDArray[np.float64]  # [row] natural logarithm of P(answer), all its tokens
    on_top: NDArray[np.bool_]  # [row] the answer is the model's top answer


@dataclass(frozen=True)
class _Row:
    """One target of one question."""

    question: int
    target: Target
    neurons: tuple[Neuron, ...]

    def starts_at(self, last: int) -> int:
        """The lowest layer that it changes; the last one if it changes nothing."""
        return min(self.neurons, default=(last, 0))[0]


def ask_suppressed(lm: LanguageModel, questions: Sequence[Suppressed]) -> Answers:
    """Ask every prompt with its neurons suppressed; ModelError if the model returns NaN."""
    log_p, on_top = np.zeros(len(questions)), np.ones(len(questions), np.bool_)
    rows = [_Row(i, target, q.neurons) for i, q in enumerate(questions) for target in q.targets]
    with lm.frozen():
        for batch in _batches(lm, rows):
            targets = list(dict.fromkeys(row.target for row in batch))
            clean = run_clean(lm, targets)
            at = {target: number for number, target in enumerate(targets)}
            # the lowest layer first, so that rows join behind the block they start at
            batch.sort(key=lambda row: row.starts_at(lm.layers - 1))
            size = max(1, TOKENS // clean.hidden[0].shape[1])
            for start in range(0, len(batch), size):
                some = batch[start : start + size]
                number = torch.tensor([at[row.target] for row in some], device=lm.model.device)
                with torch.no_grad():
                    answer, top = _Wave(clean, number, some).answers()
                of = [row.question for row in some]
                np.add.at(log_p, of, answer)
                np.logical_and.at(on_top, of, top)
    if not np.isfinite(log_p).all():
        raise ModelError("the model returns NaN or infinity: check its weights, and try float32")
    return Answers(log_p, on_top)


def _batches(lm: LanguageModel, rows: list[_Row]) -> Iterator[list[_Row]]:
    """Rows of inputs of one length that carry as many tokens, of so many different targets."""
    by_shape: dict[tuple[int, int], dict[Target, list[_Row]]] = {}
    for row in rows:
        shape = len(row.target.token_ids), carried(lm, row.target)
        by_shape.setdefault(shape, {}).setdefault(row.target, []).append(row)
    for _, of_shape in sorted(by_shape.items()):
        groups = list(of_shape.values())
        for start in range(0, len(groups), TARGETS):
            yield [row for group in groups[start : start + TARGETS] for row in group]


class _Wave:
    """Rows in ascending order of the layer they start at; target: [row] index into `clean`."""

    def __init__(self, clean: CleanPass, target: Tensor, rows: Sequence[_Row]) -> None:
        self.clean, self.target = clean, target
        starts = [row.starts_at(clean.lm.layers - 1) for row in rows]
        self.starts = torch.tensor(starts, device=target.device)
        flat: dict[int, list[tuple[int, int]]] = {}  # layer -> (row, index) of what is suppressed
        for number, row in enumerate(rows):
            for layer, index in row.neurons:
                flat.setdefault(layer, []).append((number, index))
        self.suppressed = {
            layer: torch.tensor(pairs, device=target.device).T for layer, pairs in flat.items()
        }

    def answers(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Log P(token), and whether it is the top token; [row]."""
        return self._ask(*run_growing(self.clean, 0, self._joining, self._without))

    def _joining(self, layer: int) -> tuple[Tensor, Tensor] | None:
        targets = self.target[self.starts == layer]
        return (targets, self._projected(layer, targets)) if len(targets) else None

    def _projected(self, layer: int, targets: Tensor) -> Tensor:
        """The value projection's output [row, d_model] without the neurons of the rows' sets."""
        clean = self.clean
        if layer not in self.suppressed:
            return clean.projected[layer, targets]
        row, index = self.suppressed[layer]
        first = int((self.starts < layer).sum())
        here = (row >= first) & (self.starts[row] == layer)
        row, index = row[here] - first, index[here]
        activation = clean.activations[layer, targets[row], index]
        parts = activation[:, None] * clean.lm.value_vectors(layer)[index]
        return clean.projected[layer, targets].index_add(0, row, -parts)

    @contextmanager
    def _without(self, layer: int, moving: int) -> Iterator[None]:
        """A block leaves out the neurons of the rows that move through it, within the context."""
        if layer not in self.suppressed:
            yield
            return
        row, index = self.suppressed[layer]
        row, index = row[row < moving], index[row < moving]
        site = self.clean.site[self.target[row]]
        at_answer = site == self.clean.answer_at[self.target[row]]

        def leave_out(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            activations = args[0].clone()
            by_row = activations.view(moving, -1, activations.shape[-1])  # OPT flattens them
            if by_row.shape[1] > 1:
                by_row[row, site, index] = 0
            else:  # the answer position alone
                by_row[row[at_answer], 0, index[at_answer]] = 0
            return (activations, *args[1:])

        projection = self.clean.lm.blocks[layer].value_projection
        with before_forward(projection, leave_out):
            yield

    def _ask(
        self, hidden: Tensor, targets: Tensor
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        log_p, on_top = [], []
        clean = self.clean
        for some, tokens in head_slices(hidden, clean.tokens[targets], clean.logits.shape[1]):
            scores = clean.lm.head(some).float().log_softmax(-1)
            answer = scores.gather(1, tokens[:, None])
            log_p.append(answer[:, 0])
            on_top.append(answer[:, 0] >= scores.max(-1).values)
        return torch.cat(log_p).double().cpu().numpy(), torch.cat(on_top).cpu().numpy()
