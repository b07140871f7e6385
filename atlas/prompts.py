"""Prompts: what a model is asked, as text and as token ids."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from atlas.counted import counted
from atlas.errors import PromptError
from atlas.facts import Fact, Template
from atlas.scripts import blank_between, closes

MASK = "[MASK]"
Objective = Literal["masked", "causal"]


@dataclass(frozen=True)
class Prompt:
    """A question to a model and the answer that is attributed.

    text: for a masked model a text with one `[MASK]` (or one per answer token), for a causal model
        a text that ends where the answer begins, with all its white space but `between`.
    answer: the answer without surrounding blanks, e.g. "Paris".
    between: the blank between a causal model's text and the answer, or "" for none. None: what the
        text ends in or the answer begins with, else a blank where running text has one.
    subject_end: index into `text` behind the subject's last character. Neurons are then measured at
        the token in which the subject ends; None: at the answer position.
    """

    text: str
    answer: str
    between: str | None = None
    subject_end: int | None = None


@dataclass(frozen=True)
class Target:
    """One answer token to predict: what the attribution engine works on.

    token_ids: the whole input; for a causal model it ends with the token before the answer token.
    position: the answer position: index into `token_ids` of the one whose output predicts `token`.
    token: id of the answer token; `index` tells which of the answer's tokens it is.
    across: in running text a token reaches across the answer's edge. A causal model is then asked
        for the text's own tokens, of which the first brings the prompt's end with it; a masked
        one for the answer tokenised by itself.
    subject_token: index into `token_ids` of the token in which the subject ends, if neurons are
        measured there; None: at the answer position.
    """

    token_ids: tuple[int, ...]
    position: int
    token: int
    index: int = 0
    across: bool = False
    subject_token: int | None = None

    @property
    def site(self) -> int:
        """Index into `token_ids` of the position at which neurons are attributed and changed."""
        return self.position if self.subject_token is None else self.subject_token


class UnusablePrompt(PromptError):
    """A prompt that this model cannot be asked; `reason` is what the atlas records."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def as_prompts(prompts: Prompt | Iterable[Prompt]) -> list[Prompt]:
    """The prompts, of which a single one need not be in a list; PromptError for anything else."""
    several = [prompts] if isinstance(prompts, Prompt | str) else list(prompts)
    for prompt in several:
        if not isinstance(prompt, Prompt):
            raise PromptError(
                f"{prompt!r} is no prompt: give Prompt(text, answer), for example "
                "Prompt('The capital of Ireland is [MASK].', 'Dublin')"
            )
    return several


def fill(template: Template, fact: Fact) -> str:
    """The template with the fact's subject in place of `[X]`; `[Y]` stays."""
    return template.text.replace("[X]", fact.subject)


def ends_in_object(text: str) -> bool:
    """Whether nothing but closing punctuation follows `[Y]`, so that a causal model can answer."""
    before, found, after = text.rpartition("[Y]")
    return bool(found and before.strip()) and closes(after)


def subject_end(template: Template, fact: Fact) -> int | None:
    """Index into `fill(template, fact)` behind the subject; None if the template names none."""
    start = template.text.find("[X]")
    return None if start < 0 else start + len(fact.subject)


def cloze(text: str, answer: str, objective: Objective, subject_end: int | None = None) -> Prompt:
    """Turn a filled template (with `[Y]`) into a prompt for a masked or a causal model.

    White space stays as it is written; a causal answer has a blank before it if `[Y]` has.
    subject_end: index into `text` behind the subject, to measure there; see `Prompt`.

    Raises UnusablePrompt if a causal model cannot be asked because text follows `[Y]`.
    """
    if objective == "masked":
        if subject_end is not None:
            subject_end += text.count("[Y]", 0, subject_end) * (len(MASK) - len("[Y]"))
        return Prompt(text.replace("[Y]", MASK), answer, subject_end=subject_end)
    if not ends_in_object(text):
        raise UnusablePrompt(
            "template does not end in [Y]",
            f"a causal model needs a template that ends in [Y], got '{text}'",
        )
    before = text.rpartition("[Y]")[0]
    between = " " if before.endswith(" ") else ""
    return Prompt(before.removesuffix(" "), answer, between, subject_end)


def read_anew(template: str, objective: Objective, tokenizer: Any) -> bool:
    """Whether the template was asked otherwise before white space and special tokens were kept.

    What was measured of it then is not what is measured now.
    """
    if any(token in template for token in tokenizer.all_special_tokens):
        return True
    if objective == "masked" or not ends_in_object(template):
        return False
    before, _, after = template.rpartition("[Y]")
    return not before.endswith(" ") or after.strip(" .!?") != ""


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
            f"the prompt has {counted(longest, 'token')} but the model reads at most {context}",
        )
    return targets


def question_ids(text: str, tokenizer: Any) -> list[int]:
    """The token ids that a causal model reads before it answers; `text` as `cloze` leaves it.

    Raises UnusablePrompt where there are none.
    """
    return _question(text, tokenizer).ids


def _question(text: str, tokenizer: Any) -> "_Tokens":
    tokens = _tokens(tokenizer, text, ended=False)
    if not tokens.ids:
        raise UnusablePrompt("empty prompt", f"the prompt '{text}' tokenises to nothing")
    return tokens


def _masked_targets(prompt: Prompt, tokenizer: Any) -> list[Target]:
    answer = prompt.answer.strip()
    text = prompt.text.replace(tokenizer.mask_token, MASK)
    masks = text.count(MASK)
    if masks == 0:
        raise UnusablePrompt("no mask", f"a masked prompt needs {MASK}, got '{text}'")
    before, _, rest = text.partition(MASK)
    between, _, after = rest.rpartition(MASK)
    if between.replace(MASK, "").strip():
        raise UnusablePrompt(
            "masks stand apart",
            f"the masks of one answer must stand side by side, got '{text}'",
        )
    cloze_tokens = _tokens(tokenizer, before + tokenizer.mask_token + after)
    around = list(cloze_tokens.ids)
    start = around.index(tokenizer.mask_token_id)
    subject = None
    if prompt.subject_end is not None:
        end = prompt.subject_end
        if end > len(before):  # behind the masks, which may be written in other words
            end += len(before + tokenizer.mask_token + after) - len(prompt.text)
        subject = _subject_token(cloze_tokens, end, prompt, tokenizer)
    tail = len(around) - start - 1
    # the answer is tokenised where it stands, so that a leading blank counts as it does in text
    whole = _ids(tokenizer, before + answer + after)
    stop = len(whole) - tail
    across = whole[:start] != around[:start] or whole[stop:] != around[start + 1 :]
    if across:
        blank = " " if before.endswith(" ") else ""
        tokens = _own_ids(tokenizer, blank + answer)
    else:
        own = _first_of_answer(tokenizer, before, whole[start:stop])
        around[start:start] = whole[start : start + own]
        start += own
        tokens = whole[start:stop]
    if masks > 1 and masks != len(tokens):
        raise UnusablePrompt(
            "masks do not match the answer",
            f"the prompt has {counted(masks, 'mask')} but the answer '{answer}' has "
            f"{counted(len(tokens), 'token')}",
        )
    ids = [*around[:start], *[tokenizer.mask_token_id] * len(tokens), *around[start + 1 :]]
    if subject is not None and subject >= len(cloze_tokens.ids) - tail:
        subject += len(ids) - len(cloze_tokens.ids)
    return [
        Target(tuple(ids), start + j, token, j, across, subject) for j, token in enumerate(tokens)
    ]


def _first_of_answer(tokenizer: Any, before: str, tokens: list[int]) -> int:
    """How many of the tokens are white space of the prompt's.

    The mask of some tokenizers takes all white space before it; one blank is the answer's.
    """
    if before[len(before.rstrip()) :] in ("", " "):
        return 0
    count = 0
    while count < len(tokens) - 1 and not tokenizer.decode([tokens[count]]).strip():
        count += 1
    return count


def _causal_targets(prompt: Prompt, tokenizer: Any) -> list[Target]:
    text, between, answer = _joined(prompt)
    question = _question(text, tokenizer)
    prefix = question.ids
    whole = _ids(tokenizer, text + between + answer, ended=False)
    across = whole[: len(prefix)] != prefix
    if across:  # the model reads the text's own tokens
        same = [a == b for a, b in zip(prefix, whole, strict=False)]
        prefix = prefix[: [*same, False].index(False)]
        if not prefix:
            raise UnusablePrompt(
                "no token before the answer",
                f"'{text}{between}{answer}' begins with a token that holds some of the answer",
            )
    tokens = whole[len(prefix) :]
    subject = None
    if prompt.subject_end is not None:
        subject = _subject_token(question, prompt.subject_end, prompt, tokenizer)
        if subject >= len(prefix):
            raise UnusablePrompt(
                "subject has no token of its own",
                f"the token in which the subject of '{text}' ends holds some of the answer",
            )
    return [
        Target((*prefix, *tokens[:j]), len(prefix) + j - 1, token, j, across, subject)
        for j, token in enumerate(tokens)
    ]


def _joined(prompt: Prompt) -> tuple[str, str, str]:
    """Text, what stands between, and answer of a causal prompt."""
    text, answer = prompt.text, prompt.answer.strip()
    if prompt.between is not None:
        return text, prompt.between, answer
    if text.endswith(" "):
        return text[:-1], " ", answer
    if prompt.answer[:1].isspace() and not text[-1:].isspace():
        return text, " ", answer
    return text, blank_between(text, answer), answer


@dataclass(frozen=True)
class _Tokens:
    """A text's tokens. spans: each one's characters (start, stop); None: not known."""

    ids: list[int]
    spans: list[tuple[int, int]] | None

    def part(self, start: int, stop: int) -> "_Tokens":
        return _Tokens(self.ids[start:stop], self.spans and self.spans[start:stop])


def _ids(tokenizer: Any, text: str, *, ended: bool = True) -> list[int]:
    return _tokens(tokenizer, text, ended=ended).ids


def _tokens(tokenizer: Any, text: str, *, ended: bool = True) -> _Tokens:
    """The text's tokens with what the tokenizer adds around it, unless the text has that itself.

    ended: with what it appends, too; nothing could follow that.
    """
    # not verbose: it would warn on stderr of texts beyond the context, which `encode` refuses
    spanned = bool(tokenizer.is_fast)
    encoded = tokenizer(text, verbose=False, return_offsets_mapping=spanned)
    ids = list(encoded["input_ids"])
    tokens = _Tokens(ids, list(encoded["offset_mapping"]) if spanned else None)
    ends = set() if ended else {tokenizer.eos_token_id, tokenizer.sep_token_id}
    typed = ids.count(ids[0]) > 1 or ids.count(ids[-1]) > 1 if ids else False
    if not typed and (not ids or ids[-1] not in ends):
        return tokens
    own = _own_ids(tokenizer, text)
    start = next((i for i in range(len(ids) - len(own) + 1) if ids[i : i + len(own)] == own), None)
    if start is None:
        return tokens.part(0, len(ids) - 1 if len(ids) > 1 and ids[-1] in ends else len(ids))
    first, last = ids[:start], ids[start + len(own) :]
    begin, end = 0, len(ids)
    if own[: len(first)] == first:
        begin = start
    if not ended or own[len(own) - len(last) :] == last:
        end = start + len(own)
    return tokens.part(begin, end)


def _subject_token(tokens: _Tokens, end: int, prompt: Prompt, tokenizer: Any) -> int:
    """The last of the tokens that hold the character before `end`, where the subject ends.

    Where a tokenizer does not tell which characters a token holds, the text up to there is
    tokenised by itself, and counts if the whole text begins with the same tokens.
    """
    if tokens.spans is not None:
        holding = [i for i, (start, stop) in enumerate(tokens.spans) if start < end <= stop]
        if holding:
            return holding[-1]
    else:
        text = prompt.text.replace(MASK, tokenizer.mask_token or MASK)
        begin = _ids(tokenizer, text[:end], ended=False)
        if begin and tokens.ids[: len(begin)] == begin:
            return len(begin) - 1
    raise UnusablePrompt(
        "subject has no token",
        f"no token of '{prompt.text}' can be told to be the one in which its subject ends",
    )


def _own_ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
