"""What a model answers, by forward passes alone: P, rank and top answer of many prompts at once."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import DynamicCache

from atlas.engine.answer import head_slices
from atlas.engine.clean_pass import FrozenPrefix
from atlas.engine.interventions import scaled
from atlas.errors import ModelError
from atlas.models.hooks import after_forward
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target

BATCH_TOKENS = 4096


@dataclass(frozen=True, eq=False)
class Probed:
    """What a model answered; every array's first axis is `prompt`.

    For answers of several tokens `p_answer` and `p_predicted` are products, `answer_rank` is the
    worst token's and `log_p` the sum of logs, as in `Attribution`.
    """

    p_answer: NDArray[np.float32]  # [prompt]
    log_p: NDArray[np.float64]  # [prompt] natural logarithm of P(answer), finite where P underflows
    answer_rank: NDArray[np.int64]  # [prompt] 1 = the model's top answer
    p_predicted: NDArray[np.float32]  # [prompt]
    predicted: tuple[str, ...]  # [prompt] the model's top answer
    answer_tokens: NDArray[np.int64]  # [prompt]

    def __repr__(self) -> str:
        top = int((self.answer_rank == 1).sum())
        return f"Probed(prompts={len(self.answer_rank)}, answer_on_top={top})"


@dataclass(frozen=True)
class _Row:
    prompt: int
    target: Target


def probe(
    lm: LanguageModel,
    encoded: Sequence[Sequence[Target]],
    *,
    neurons: Sequence[tuple[int, int]] = (),
    factors: Tensor | float = 0.0,
    batch_tokens: int = BATCH_TOKENS,
) -> Probed:
    """Ask prompts, with the activations of `neurons` scaled at the answer position if any is named.

    encoded: per prompt its targets (`prompts.encode`), one per answer token; the same prompt may
        occur many times with other factors.
    factors: one number, or [prompt, neuron]; 0 suppresses, see `interventions.scaled`.
    batch_tokens: tokens a batch may hold; the numbers do not depend on it, but for rounding.

    Nothing is padded: a batch holds inputs of one length. A causal model runs each different prefix
    once, since nothing before the answer position changes. ModelError if the model returns NaN.
    """
    tokens = np.array([len(targets) for targets in encoded], np.int64)
    log_p, log_p_predicted = np.zeros(len(encoded)), np.zeros(len(encoded))
    rank = np.zeros(len(encoded), np.int64)
    predicted = [[0] * len(targets) for targets in encoded]
    flat = [_Row(prompt, target) for prompt, targets in enumerate(encoded) for target in targets]
    with lm.frozen(), torch.no_grad():
        for chunk in _chunks(flat, batch_tokens):
            prompts = [row.prompt for row in chunk]
            theirs = factors[prompts] if isinstance(factors, Tensor) else factors
            hidden = _answer_states(lm, [row.target for row in chunk], neurons, theirs)
            wanted = torch.tensor([row.target.token for row in chunk], device=hidden.device)
            answer, top_p, top, ranks = _ask(lm, hidden, wanted)
            np.add.at(log_p, prompts, answer)
            np.add.at(log_p_predicted, prompts, top_p)
            np.maximum.at(rank, prompts, ranks)
            for row, token in zip(chunk, top.tolist(), strict=True):
                predicted[row.prompt][row.target.index] = token
    return Probed(
        p_answer=np.exp(log_p).astype(np.float32),
        log_p=log_p,
        answer_rank=rank,
        p_predicted=np.exp(log_p_predicted).astype(np.float32),
        predicted=tuple(lm.tokenizer.decode(ids).strip() for ids in predicted),
        answer_tokens=tokens,
    )


def answer_states(lm: LanguageModel, targets: Sequence[Target]) -> Tensor:
    """The last block's output at the answer positions, [target, d_model], without a graph."""
    rows = [_Row(place, target) for place, target in enumerate(targets)]
    with torch.no_grad():
        chunks = list(_chunks(rows, BATCH_TOKENS))
        states = [_answer_states(lm, [row.target for row in chunk], (), 1.0) for chunk in chunks]
    back = torch.tensor([row.prompt for chunk in chunks for row in chunk]).argsort()
    return torch.cat(states)[back.to(lm.model.device)]


def _chunks(flat: list[_Row], batch_tokens: int) -> Iterator[list[_Row]]:
    """Batches of one input length, equal inputs side by side."""
    ordered = sorted(flat, key=lambda row: (len(row.target.token_ids), row.target.token_ids))
    for length, group in groupby(ordered, key=lambda row: len(row.target.token_ids)):
        entries = list(group)
        size = max(1, batch_tokens // length)
        yield from (entries[start : start + size] for start in range(0, len(entries), size))


def _answer_states(
    lm: LanguageModel,
    targets: list[Target],
    neurons: Sequence[tuple[int, int]],
    factors: Tensor | float,
) -> Tensor:
    """The last block's output at the answer positions, [target, d_model]."""
    device = lm.model.device
    at = torch.tensor([target.position for target in targets], device=device)
    kwargs: dict[str, Any] = {}
    if lm.objective == "causal":
        kwargs = lm.continuing(frozen_prefixes(lm, targets))
        ids, at = torch.tensor([t.token_ids[-1:] for t in targets], device=device), 0 * at
    else:
        ids = torch.tensor([target.token_ids for target in targets], device=device)
    seen: list[Tensor] = []

    def note(_: Any, args: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        seen[:] = [hidden.reshape(len(targets), -1, hidden.shape[-1])]  # the last call's stays

    change = scaled(lm, neurons, factors, at) if neurons else nullcontext()
    with after_forward(lm.blocks[-1].module, note), change:
        lm.model.base_model(input_ids=ids, **kwargs)
    return seen[0][torch.arange(len(targets), device=device), at]


def frozen_prefixes(lm: LanguageModel, targets: Sequence[Target]) -> FrozenPrefix:
    """Keys and values of all but the last token, run once for each different prefix.

    For a causal model and targets of one length.
    """
    numbers: dict[tuple[int, ...], int] = {}
    rows = [numbers.setdefault(target.token_ids[:-1], len(numbers)) for target in targets]
    filled = DynamicCache(config=lm.model.config)
    if next(iter(numbers)):
        ids = torch.tensor(list(numbers), device=lm.model.device)
        lm.model.base_model(input_ids=ids, **lm.continuing(filled))
    else:  # prompts of a single token
        filled.layers = []
    return FrozenPrefix(filled, torch.tensor(rows, device=lm.model.device))


def _ask(
    lm: LanguageModel, hidden: Tensor, tokens: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64], Tensor, NDArray[np.int64]]:
    """Log P of the tokens, log P of the top tokens, those tokens, and the tokens' ranks; [row]."""
    parts = []
    for some, theirs in head_slices(hidden, tokens, lm.model.config.vocab_size):
        logits = lm.head(some).float()
        if not torch.isfinite(logits).all():
            raise ModelError(
                "the model returns NaN or infinity: check its weights and edits, and try float32"
            )
        log_p = logits.log_softmax(-1)
        answer = log_p.gather(1, theirs[:, None])
        top_p, top = log_p.max(-1)
        parts.append((answer[:, 0], top_p, top, 1 + (log_p > answer).sum(-1)))
    answers, tops, ids, ranks = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
    return answers.double().numpy(), tops.double().numpy(), ids, ranks.numpy()
