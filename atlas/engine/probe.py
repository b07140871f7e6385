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
from atlas.engine.clean_pass import FrozenPrefix, carried
from atlas.engine.greedy import OwnAnswers
from atlas.engine.interventions import scaled
from atlas.errors import ModelError
from atlas.models.hooks import after_forward
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target

BATCH_TOKENS = 4096


@dataclass(frozen=True, eq=False)
class Probed:
    """What a model answered; every array's first axis is `prompt`.

    For answers of several tokens `p_answer` and `p_predicted` are products, `log_p` is the sum of
    logs and `answer_rank` the worst token's behind the answer's own, as in `Attribution`.
    """

    p_answer: NDArray[np.float32]  # [prompt]
    log_p: NDArray[np.float64]  # [prompt] natural logarithm of P(answer), finite where P underflows
    answer_rank: NDArray[np.int64]  # [prompt] 1 = the model's top answer
    p_predicted: NDArray[np.float32]  # [prompt]
    predicted: tuple[str, ...]  # [prompt] the model's top answer, of as many tokens: see `greedy`
    answer_tokens: NDArray[np.int64]  # [prompt]

    def __repr__(self) -> str:
        top = int((self.answer_rank == 1).sum())
        return f"Probed(prompts={len(self.answer_rank)}, answer_on_top={top})"


@dataclass(frozen=True)
class _Row:
    prompt: int
    index: int  # of the answer token in its answer
    target: Target


@dataclass(frozen=True, eq=False)
class _Asked:
    """What some rows were answered; first axis `row`."""

    prompts: list[int]
    log_p: NDArray[np.float64]  # of the answer token
    rank: NDArray[np.int64]  # the answer token's


def probe(
    lm: LanguageModel,
    encoded: Sequence[Sequence[Target]],
    *,
    neurons: Sequence[tuple[int, int]] = (),
    factors: Tensor | float = 0.0,
    batch_tokens: int = BATCH_TOKENS,
) -> Probed:
    """Ask prompts, with the activations of `neurons` scaled at their sites if any is named.

    encoded: per prompt its targets (`prompts.encode`), one per answer token; the same prompt may
        occur many times with other factors.
    factors: one number, or [prompt, neuron]; 0 suppresses, see `interventions.scaled`.
    batch_tokens: tokens a batch may hold; the numbers do not depend on it, but for rounding.

    Nothing is padded: a batch holds inputs of one length. A causal model runs each different prefix
    once, since nothing before the site changes. ModelError if the model returns NaN.
    """
    tokens = np.array([len(targets) for targets in encoded], np.int64)
    log_p, rank = np.zeros(len(encoded)), np.zeros(len(encoded), np.int64)
    own = OwnAnswers(lm, encoded)
    flat = [
        _Row(prompt, index, target)
        for prompt, targets in enumerate(encoded)
        for index, target in enumerate(targets)
    ]
    with lm.frozen():
        for found in _asked(lm, flat, own, neurons, factors, batch_tokens):
            np.add.at(log_p, found.prompts, found.log_p)
            np.maximum.at(rank, found.prompts, found.rank)
        complete(lm, own, neurons, factors, batch_tokens)
    return Probed(
        p_answer=np.exp(log_p).astype(np.float32),
        log_p=log_p,
        answer_rank=rank,
        p_predicted=np.exp(own.log_p()).astype(np.float32),
        predicted=own.texts(),
        answer_tokens=tokens,
    )


def complete(
    lm: LanguageModel,
    own: OwnAnswers,
    neurons: Sequence[tuple[int, int]] = (),
    factors: Tensor | float = 1.0,
    batch_tokens: int = BATCH_TOKENS,
) -> None:
    """Let the model say what its own answers lack yet; the arguments are those of `probe`."""
    for rows in own.rounds():
        for _ in _asked(lm, [_Row(*row) for row in rows], own, neurons, factors, batch_tokens):
            pass


@torch.no_grad()
def _asked(
    lm: LanguageModel,
    rows: list[_Row],
    own: OwnAnswers,
    neurons: Sequence[tuple[int, int]],
    factors: Tensor | float,
    batch_tokens: int,
) -> Iterator[_Asked]:
    """Ask the rows, batch by batch, and note their top tokens."""
    for chunk in _chunks(lm, rows, batch_tokens, changed=bool(neurons)):
        prompts = [row.prompt for row in chunk]
        theirs = factors[prompts] if isinstance(factors, Tensor) else factors
        hidden = _answer_states(lm, [row.target for row in chunk], neurons, theirs)
        wanted = torch.tensor([row.target.token for row in chunk], device=hidden.device)
        log_p, log_p_top, top, rank = _ask(lm, hidden, wanted)
        own.add(prompts, [row.index for row in chunk], top.tolist(), log_p_top.tolist())
        yield _Asked(prompts, log_p, rank)


def answer_states(lm: LanguageModel, targets: Sequence[Target]) -> Tensor:
    """The last block's output at the answer positions, [target, d_model], without a graph."""
    rows = [_Row(place, 0, target) for place, target in enumerate(targets)]
    with torch.no_grad():
        chunks = list(_chunks(lm, rows, BATCH_TOKENS, changed=False))
        states = [_answer_states(lm, [row.target for row in chunk], (), 1.0) for chunk in chunks]
    back = torch.tensor([row.prompt for chunk in chunks for row in chunk]).argsort()
    return torch.cat(states)[back.to(lm.model.device)]


def _chunks(
    lm: LanguageModel, flat: list[_Row], batch_tokens: int, *, changed: bool
) -> Iterator[list[_Row]]:
    """Batches of one input length, equal inputs side by side; if changed, at one site."""

    def shape(row: _Row) -> tuple[int, int]:
        return len(row.target.token_ids), carried(lm, row.target) if changed else 1

    ordered = sorted(flat, key=lambda row: (shape(row), row.target.token_ids))
    for (length, _), group in groupby(ordered, key=shape):
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
    answer_at = torch.tensor([target.position for target in targets], device=device)
    site = torch.tensor([target.site for target in targets], device=device)
    kwargs: dict[str, Any] = {}
    if lm.objective == "causal":
        start = min(target.site if neurons else target.position for target in targets)
        kwargs = lm.continuing(frozen_prefixes(lm, targets, start))
        ids = torch.tensor([target.token_ids[start:] for target in targets], device=device)
        answer_at, site = answer_at - start, site - start
    else:
        ids = torch.tensor([target.token_ids for target in targets], device=device)
    seen: list[Tensor] = []

    def note(_: Any, args: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        seen[:] = [hidden.reshape(len(targets), -1, hidden.shape[-1])]  # the last call's stays

    change = scaled(lm, neurons, factors, site) if neurons else nullcontext()
    with after_forward(lm.blocks[-1].module, note), change:
        lm.model.base_model(input_ids=ids, **kwargs)
    return seen[0][torch.arange(len(targets), device=device), answer_at]


def frozen_prefixes(lm: LanguageModel, targets: Sequence[Target], stop: int) -> FrozenPrefix:
    """Keys and values of the first `stop` tokens, run once for each different prefix.

    For a causal model and targets of one length.
    """
    numbers: dict[tuple[int, ...], int] = {}
    rows = [numbers.setdefault(target.token_ids[:stop], len(numbers)) for target in targets]
    filled = DynamicCache(config=lm.model.config)
    if next(iter(numbers)):
        ids = torch.tensor(list(numbers), device=lm.model.device)
        lm.model.base_model(input_ids=ids, **lm.continuing(filled))
    else:  # there is no prefix
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
