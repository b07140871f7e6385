"""Asking a model a case's questions: held to the answer, and left to itself.

Teacher-forced, a model reads the answer's tokens so far before it is asked for the next: a causal
one in the text, a masked one in place of its masks. Free-running, a causal model writes on by its
likeliest tokens; a masked one fills as many masks as the answer has tokens, all at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from transformers.cache_utils import DynamicCache

from atlas.benchmarks.askable import cloze_of
from atlas.benchmarks.metrics import begins_with
from atlas.engine.probe import BATCH_TOKENS, answer_states, probe
from atlas.facts import as_name
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target, cloze, question_ids

BEYOND = 3  # tokens that are written behind an answer's, so that its end can be told
ROWS = 256  # of the head at once


@dataclass(frozen=True)
class Forced:
    """An answer that a model was held to.

    log_p: mean of its tokens' log-probabilities. right: by token, whether it was the likeliest one;
    top: by token, which one was.
    """

    log_p: float
    right: tuple[bool, ...]
    top: tuple[int, ...]


@dataclass(frozen=True)
class Said:
    """What a model says by itself. right: it begins with one of the answers.

    tokens: the first of it, as many as the first answer has.
    """

    text: str
    right: bool
    tokens: tuple[int, ...]


def forced(lm: LanguageModel, asked: Sequence[tuple[str, str]]) -> list[Forced]:
    """What the model gives each answer behind its text, read token by token."""
    encoded = [_with_answer_before(lm, lm.targets(cloze_of(text), a)) for text, a in asked]
    flat = [target for targets in encoded for target in targets]
    if not flat:
        return []
    log_p: list[float] = []
    top: list[int] = []
    with lm.frozen(), torch.no_grad():
        states = answer_states(lm, flat)
        for start in range(0, len(flat), ROWS):
            logits = lm.head(states[start : start + ROWS]).float().log_softmax(-1)
            tokens = torch.tensor([t.token for t in flat[start : start + ROWS]])
            log_p += logits.gather(1, tokens.to(logits.device)[:, None])[:, 0].tolist()
            top += logits.argmax(-1).tolist()
    found, start = [], 0
    for targets in encoded:
        own = slice(start, start + len(targets))
        right = [target.token == token for target, token in zip(targets, top[own], strict=True)]
        found.append(Forced(sum(log_p[own]) / len(targets), tuple(right), tuple(top[own])))
        start += len(targets)
    return found


def said(lm: LanguageModel, asked: Sequence[tuple[str, Sequence[str]]]) -> list[Said]:
    """What the model says behind each text, held against its answers."""
    encoded = [lm.targets(cloze_of(text), answers[0]) for text, answers in asked]
    lengths = [len(targets) for targets in encoded]
    if lm.objective == "masked":
        found = probe(lm, encoded).predicted if encoded else ()
        return [
            Said(text, any(as_name(text) == as_name(a) for a in answers), _ids(lm, text))
            for text, (_, answers) in zip(found, asked, strict=True)
        ]
    longest = [max(len(_ids(lm, f" {a}")) for a in answers) for _, answers in asked]
    written = continuations(
        lm, [text for text, _ in asked], max([*longest, *lengths], default=0) + BEYOND
    )
    return [
        Said(
            lm.tokenizer.decode(ids[: most + BEYOND]).strip(),
            any(begins_with(lm.tokenizer.decode(ids), answer) for answer in answers),
            tuple(ids[:length]),
        )
        for ids, length, most, (_, answers) in zip(written, lengths, longest, asked, strict=True)
    ]


def texts_written(lm: LanguageModel, texts: Sequence[str], tokens: int) -> list[str]:
    """Each text with what the model writes on behind it, so many tokens in all."""
    given = [len(_question(lm, text)) for text in texts]
    written = continuations(lm, texts, max((tokens - length for length in given), default=0))
    return [
        text + lm.tokenizer.decode(ids[: max(0, tokens - length)])
        for text, length, ids in zip(texts, given, written, strict=True)
    ]


def continuations(lm: LanguageModel, texts: Sequence[str], tokens: int) -> list[list[int]]:
    """The likeliest next token, again and again, behind each text; fewer where it ends its text."""
    inputs = [_question(lm, text) for text in texts]
    found: list[list[int]] = [[] for _ in texts]
    order = sorted(range(len(texts)), key=lambda place: len(inputs[place]))
    for length, group in groupby(order, key=lambda place: len(inputs[place])):
        places = list(group)
        size = max(1, BATCH_TOKENS // (length + tokens))
        for start in range(0, len(places), size):
            some = places[start : start + size]
            rows = _greedy(lm, [inputs[place] for place in some], min(tokens, lm.context - length))
            for place, row in zip(some, rows, strict=True):
                found[place] = row
    return found


def _greedy(lm: LanguageModel, inputs: list[list[int]], tokens: int) -> list[list[int]]:
    """Greedy continuations of inputs of one length."""
    ends = _ends(lm)
    written: list[list[int]] = [[] for _ in inputs]
    going = set(range(len(inputs)))
    with lm.frozen(), torch.no_grad():
        kept = lm.continuing(DynamicCache(config=lm.model.config))
        ids = torch.tensor(inputs, device=lm.model.device)
        for _ in range(tokens):
            following = lm.model(input_ids=ids, **kept).logits[:, -1].argmax(-1)
            for row, token in enumerate(following.tolist()):
                if token in ends:
                    going.discard(row)
                elif row in going:
                    written[row].append(token)
            if not going:
                break
            ids = following[:, None]
    return written


def _with_answer_before(lm: LanguageModel, targets: list[Target]) -> list[Target]:
    """The targets, of a masked model with the answer's earlier tokens in place of their masks."""
    if lm.objective == "causal" or len(targets) == 1:
        return targets
    first = targets[0].position
    answer = [target.token for target in targets]
    return [
        replace(
            target,
            token_ids=(
                *target.token_ids[:first],
                *answer[: target.index],
                *target.token_ids[first + target.index :],
            ),
        )
        for target in targets
    ]


def _question(lm: LanguageModel, text: str) -> list[int]:
    return question_ids(cloze(cloze_of(text), "", "causal").text, lm.tokenizer)


def _ids(lm: LanguageModel, text: str) -> tuple[int, ...]:
    return tuple(lm.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _ends(lm: LanguageModel) -> set[int]:
    config = getattr(lm.model, "generation_config", None)
    own = getattr(config, "eos_token_id", None)
    several = own if isinstance(own, list | tuple) else [own]
    return {token for token in (*several, lm.tokenizer.eos_token_id) if token is not None}
