"""P(answer) and its slope at the last block's output, with as little rounding as float32 allows.

dP/d(logits) = P·(one-hot − softmax) sums to 0 over the vocabulary, so what all output embeddings
have in common cancels in dP/d(hidden). It is large, and where it does not cancel exactly it costs
up to 2e-4 of a layer's scores on SmolLM2. One of torch's CPU kernels needs help, see below.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.models.language_model import LanguageModel

HEAD_BYTES = 32 << 20  # logits at one time; the C library gives larger pieces fresh pages each time


@dataclass(frozen=True, eq=False)
class Answer:
    """What the head makes of last hidden states.

    p: [row] float32, P(token).
    gradient: [row, d_model] dP/d(hidden), in the model's dtype; empty if not asked for.
    """

    p: Tensor
    gradient: Tensor


def head_slices(hidden: Tensor, tokens: Tensor, vocabulary: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Hidden states [row, d_model] with their tokens [row], as many as the head may have."""
    rows = max(1, HEAD_BYTES // (4 * vocabulary))
    return zip(hidden.split(rows), tokens.split(rows), strict=True)


def ask_head(
    lm: LanguageModel, hidden: Tensor, tokens: Tensor, *, gradients: bool = True
) -> Answer:
    """Run the head, and its backward, on the last block's output [row, d_model]."""
    rows = len(hidden)
    padding = max(0, _fewest_rows(hidden) - rows) if gradients else 0
    leaf = torch.cat([hidden.detach(), hidden.detach()[:1].expand(padding, -1)])
    with torch.set_grad_enabled(gradients):
        logits = lm.head(leaf.requires_grad_(gradients)).float()
    tokens = torch.cat([tokens, tokens[:1].expand(padding)])
    p, slope = _probability_and_slope(logits.detach(), tokens)
    gradient = torch.autograd.grad(logits, leaf, slope)[0] if gradients else leaf[:, :0]
    return Answer(p[:rows], gradient[:rows])


def _fewest_rows(hidden: Tensor) -> int:
    """Rows from which MKL sums over the vocabulary in blocks rather than term after term.

    Measured: at 3 rows a thread (so up to 11 rows with two) it does not, at 4 it does.
    """
    return 8 * min(max(2, torch.get_num_threads()), 16) if hidden.device.type == "cpu" else 1


def _probability_and_slope(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """P(token) [row] of logits [row, vocabulary], and dP/d(logits), which takes the logits' place.

    In place, because fresh memory for as many numbers costs more than computing them. The slope at
    the token itself is P·(1 − P), with 1 − P as the sum of the rest: P may be near 1.
    """
    token = tokens[:, None]
    likely = logits.sub_(logits.amax(-1, keepdim=True)).exp_()
    own = likely.gather(1, token)
    rest = likely.scatter_(1, token, 0.0).sum(-1, keepdim=True)
    total = own + rest
    p, rest = own / total, rest / total
    slope = likely.mul_(-p / total).scatter_(1, token, p * rest)
    return p[:, 0], slope
