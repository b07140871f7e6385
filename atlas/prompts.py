"""Prompts: what a model is asked, as text and as token ids."""

from dataclasses import dataclass
from typing import Any, Literal

from atlas.errors import PromptError
from atlas.facts import Fact, Template

MASK = "[MASK]"
Objective = Literal["masked", "causal"]


@dataclass(frozen=True)
class Prompt:
    """A question to a model and the answer that is attributed.

    text: for a masked model a text with one `[MASK]` (or one per answer token), for a causal model
        a text that ends where the answer begins.
    answer: the answer without surrounding blanks, e.g. "Paris".
    """

    text: str
    answer: str


@dataclass(frozen=True)
class Target:
    """One answer token to predict: what the attribution engine works on.

    token_ids: the whole input; for a causal model it ends with the token before the answer token.
    position: index into `token_ids` of the position whose output predicts `token`.
    token: id of the answer token; `index` tells which of the answer's tokens it is.
    """

    token_ids: tuple[int, ...]
    position: int
    token: int
    index: int = 0


class UnusablePrompt(PromptError):
    """A prompt that this model cannot be asked; `reason` is what the atlas records."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def fill(template: Template, fact: Fact) -> str:
    """The template with the fact's subject in place of `[X]`; `[Y]` stays."""
    return template.text.replace("[X]", fact.subject)


def ends_in_object(text: str) -> bool:
    """Whether nothing but closing punctuation follows `[Y]`, so that a causal model can answer."""
    before, found, after = text.rpartition("[Y]")
    return bool(found and before.strip()) and after.strip(" .!?") == ""


def cloze(text: str, answer: str, objective: Objective) -> Prompt:
    """Turn a filled template (with `[Y]`) into a prompt for a masked or a causal model.

    Raises UnusablePrompt if a causal model cannot be asked because text follows `[Y]`.
    """
    if objective == "masked":
        return Prompt(text.replace("[Y]", MASK), answer)
    if not ends_in_object(text):
        raise UnusablePrompt(
            "template does not end in [Y]",
            f"a causal model needs a template that ends in [Y], got '{text}'",
        )
    return Prompt(text.rpartition("[Y]")[0].rstrip(), answer)


def encode(prompt: Prompt, tokenizer: Any, objective: Objective, context: int) -> list[Target]:
    """Return one target per answer token.

    Masked models get one mask per answer token and predict each in place; causal models are
    teacher-forced, so that the target of answer token j sees the answer tokens before it.
    `context` is the model's longest input in tokens.

    Raises UnusablePrompt, with the reason, where the model cannot be asked.
    """
    if not prompt.text.strip():
        raise UnusablePrompt("empty prompt", "the prompt is empty")
    if not prompt.answer.strip():
        raise UnusablePrompt("empty answer", f"the prompt '{prompt.text}' has an empty answer")
    encode_one = _masked_targets if objective == "masked" else _causal_targets
    targets = encode_one(prompt, tokenizer)
    if not targets:
        raise UnusablePrompt(
            "answer has no token", f"the answer '{prompt.answer}' tokenises to nothing"
        )
    unknown = tokenizer.unk_token_id
    if unknown is not None and any(target.token == unknown for target in targets):
        raise UnusablePrompt(
            "answer has an unknown token",
            f"the model's vocabulary cannot express the answer '{prompt.answer}'",
        )
    longest = max(len(target.token_ids) for target in targets)
    if longest > context:
        raise UnusablePrompt(
            "prompt is longer than the model's context",
            f"the prompt has {longest} tokens but the model reads at most {context}",
        )
    return targets


def _masked_targets(prompt: Prompt, tokenizer: Any) -> list[Target]:
    answer = prompt.answer.strip()
    masks = prompt.text.count(MASK)
    if masks == 0:
        raise UnusablePrompt("no mask", f"a masked prompt needs {MASK}, got '{prompt.text}'")
    before, _, rest = prompt.text.partition(MASK)
    between, _, after = rest.rpartition(MASK)
    if between.replace(MASK, "").strip():
        raise UnusablePrompt(
            "masks stand apart",
            f"the masks of one answer must stand side by side, got '{prompt.text}'",
        )
    around = _ids(tokenizer, before + tokenizer.mask_token + after)
    start = around.index(tokenizer.mask_token_id)
    tail = len(around) - start - 1
    # the answer is tokenised where it stands, so that a leading blank counts as it does in text
    whole = _ids(tokenizer, before + answer + after)
    stop = len(whole) - tail
    if whole[:start] == around[:start] and whole[stop:] == around[start + 1 :]:
        tokens = whole[start:stop]
    else:  # a token reaches across the answer's edge
        blank = before[len(before.rstrip()) :][:1]
        tokens = _ids(tokenizer, blank + answer, add_special_tokens=False)
    if masks > 1 and masks != len(tokens):
        raise UnusablePrompt(
            "masks do not match the answer",
            f"the prompt has {masks} masks but the answer '{answer}' has {len(tokens)} token(s)",
        )
    ids = [*around[:start], *[tokenizer.mask_token_id] * len(tokens), *around[start + 1 :]]
    return [Target(tuple(ids), start + j, token, j) for j, token in enumerate(tokens)]


def _causal_targets(prompt: Prompt, tokenizer: Any) -> list[Target]:
    text, answer = prompt.text.rstrip(), prompt.answer.strip()
    prefix = _without_end(_ids(tokenizer, text), tokenizer)
    whole = _without_end(_ids(tokenizer, f"{text} {answer}"), tokenizer)
    if whole[: len(prefix)] == prefix:
        tokens = whole[len(prefix) :]
    else:
        tokens = _ids(tokenizer, f" {answer}", add_special_tokens=False)
    if not prefix:
        raise UnusablePrompt("empty prompt", f"the prompt '{text}' tokenises to nothing")
    return [
        Target((*prefix, *tokens[:j]), len(prefix) + j - 1, token, j)
        for j, token in enumerate(tokens)
    ]


def _ids(tokenizer: Any, text: str, add_special_tokens: bool = True) -> list[int]:
    # not verbose: it would warn on stderr of texts beyond the context, which `encode` refuses
    return list(tokenizer(text, add_special_tokens=add_special_tokens, verbose=False)["input_ids"])


def _without_end(ids: list[int], tokenizer: Any) -> list[int]:
    """Drop the token that some tokenizers append to a text: nothing could follow it."""
    ends = {tokenizer.eos_token_id, tokenizer.sep_token_id} - {None}
    return ids[:-1] if len(ids) > 1 and ids[-1] in ends else ids
