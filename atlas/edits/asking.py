"""Questions typed by hand: a model's top answers without edits and with them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from atlas.counted import counted
from atlas.edits.applying import applied
from atlas.edits.edit import Edit, Overlap, overlapping
from atlas.edits.in_force import EditInterference
from atlas.errors import PromptError
from atlas.models.language_model import LanguageModel
from atlas.prompts import MASK, cloze, question_ids
from atlas.selection.chosen import ChosenSelection, OfSelection

LONGEST_WORD = 8  # tokens


@dataclass(frozen=True)
class TopAnswer:
    """One token that a model may answer with; of a causal model, the word that it begins."""

    text: str
    p: float  # of the token


@dataclass(frozen=True)
class Asked:
    """A question's top answers before and after some edits, likeliest first.

    continued_before, continued_after: what a causal model goes on to write behind the question,
    taking the likeliest token every time; None unless tokens were asked for.
    """

    question: str
    before: Sequence[TopAnswer]
    after: Sequence[TopAnswer]
    continued_before: str | None = None
    continued_after: str | None = None


@dataclass(frozen=True)
class AskedReport(OfSelection, rows="answers"):
    """Questions with their answers, and what the edits are to each other.

    `selection` is the one whose neurons the edits change, if it is one.
    """

    answers: tuple[Asked, ...]
    model: str
    model_id: str
    edits: tuple[int, ...]
    overlaps: tuple[Overlap, ...]  # edits that change the same value vectors
    interference: tuple[EditInterference, ...]  # edits that disturb another's fact


def ask_all(
    lm: LanguageModel,
    edits: Sequence[Edit],
    questions: Sequence[str],
    count: int = 5,
    tokens: int = 0,
    interference: Sequence[EditInterference] = (),
    selection: ChosenSelection | None = None,
) -> AskedReport:
    """`ask` for each question. PromptError where there is none."""
    require_questions(questions)
    return AskedReport(
        answers=tuple(ask(lm, edits, question, count, tokens) for question in questions),
        model=lm.name,
        model_id=lm.model_id,
        edits=tuple(edit.edit_id or 0 for edit in edits),
        overlaps=tuple(overlapping(edits)),
        interference=tuple(interference),
        selection=selection,
    )


def require_questions(questions: Sequence[str]) -> None:
    """PromptError where there is nothing to ask."""
    if not questions:
        raise PromptError(
            "these edits have no prompt of their own here: say what to ask", parameters=["texts"]
        )


def ask(
    lm: LanguageModel,
    edits: Edit | Sequence[Edit],
    question: str,
    count: int = 5,
    tokens: int = 0,
) -> Asked:
    """Ask without the edits and with them; the weights are the model's own again after.

    tokens: how many a causal model writes on behind the question, at most.

    PromptError for a question that the model cannot be asked, EditError for an edit that does not
    fit the model.
    """
    require_writer(lm.objective, tokens)
    before = top_answers(lm, question, count)
    text_before = continued(lm, question, tokens) if tokens else None
    with applied(lm, edits):
        after = top_answers(lm, question, count)
        text_after = continued(lm, question, tokens) if tokens else None
    return Asked(question, before, after, text_before, text_after)


def require_writer(objective: str, tokens: int) -> None:
    """PromptError unless a model of this objective can write so many tokens."""
    if tokens < 0:
        raise PromptError(f"tokens is {tokens}: use 0 or more", parameters=["tokens"])
    if tokens and objective != "causal":
        raise PromptError(
            f"a masked model fills in a {MASK} and writes no text: ask it without tokens to write",
            parameters=["tokens"],
        )


def continued(lm: LanguageModel, question: str, tokens: int) -> str:
    """What a causal model writes behind the question: its likeliest next token, again and again.

    It stops after `tokens` of them, where the model ends its text, and where its context does.
    """
    ids, _ = _encoded(lm, question)
    given, ends = len(ids), _end_tokens(lm)
    with lm.frozen(), torch.no_grad():
        for _ in range(min(tokens, lm.context - given)):
            inputs = torch.tensor([ids], device=lm.model.device)
            following = int(lm.model(input_ids=inputs).logits[0, -1].argmax())
            if following in ends:
                break
            ids = [*ids, following]
    text: str = lm.tokenizer.decode(ids)
    return text[len(lm.tokenizer.decode(ids[:given])) :]


def _end_tokens(lm: LanguageModel) -> set[int]:
    """The tokens with which the model ends a text."""
    config = getattr(lm.model, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    several = ends if isinstance(ends, list | tuple) else [ends]
    return {token for token in (*several, lm.tokenizer.eos_token_id) if token is not None}


def top_answers(lm: LanguageModel, question: str, count: int = 5) -> tuple[TopAnswer, ...]:
    """The likeliest tokens at the question's one `[MASK]` or `[Y]`, likeliest first.

    A causal question ends where its answer begins; a mask there, and a full stop behind it, may be
    left out. PromptError if it cannot be asked.
    """
    ids, position = _encoded(lm, question)
    with lm.frozen(), torch.no_grad():
        inputs = torch.tensor([ids], device=lm.model.device)
        logits = lm.model(input_ids=inputs).logits[0, position].float()
        p, tokens = logits.softmax(-1).topk(min(count, len(logits)))
        answers = [[token] for token in tokens.tolist()]
        if lm.objective == "causal":
            answers = _completed(lm, ids, answers)
    return tuple(
        TopAnswer(lm.tokenizer.decode(answer).strip(), share)
        for answer, share in zip(answers, p.tolist(), strict=True)
    )


def _completed(lm: LanguageModel, ids: list[int], answers: list[list[int]]) -> list[list[int]]:
    """Each answer's first token with the likeliest next ones, to the end of the word."""
    longer = [list(answer) for answer in answers]
    words = [list(answer) for answer in answers]
    going = set(range(len(answers)))
    for _ in range(min(LONGEST_WORD, lm.context - len(ids)) - 1):
        rows = torch.tensor([ids + answer for answer in longer], device=lm.model.device)
        following = lm.model(input_ids=rows).logits[:, -1].argmax(-1).tolist()
        for row, token in enumerate(following):
            before = lm.tokenizer.decode(longer[row])
            longer[row].append(token)
            added = lm.tokenizer.decode(longer[row])[len(before) :]
            if row in going and before[-1:].isalnum() and added[:1].isalnum():
                words[row].append(token)
            else:
                going.discard(row)
        if not going:
            break
    return words


def _encoded(lm: LanguageModel, question: str) -> tuple[list[int], int]:
    """The question's token ids, and the position whose output is the answer."""
    text = question.replace(MASK, "[Y]")
    if text.count("[Y]") > 1:
        raise PromptError(f"ask for one thing at a time: write one {MASK}, not several")
    if "[Y]" not in text and lm.objective == "masked":
        raise PromptError(
            f"a masked model fills in a {MASK}: write one, as in 'The capital of Ireland is "
            f"{MASK}.'"
        )
    if lm.objective == "causal":
        asked = cloze(text, "", "causal").text if "[Y]" in text else text.removesuffix(" ")
        ids = question_ids(asked, lm.tokenizer)
        position = len(ids) - 1
    else:
        mask = lm.tokenizer.mask_token
        ids = list(lm.tokenizer(text.replace("[Y]", mask), verbose=False)["input_ids"])
        if ids.count(lm.tokenizer.mask_token_id) != 1:
            raise PromptError(f"ask for one thing at a time: write one {MASK}, not {mask} besides")
        position = ids.index(lm.tokenizer.mask_token_id)
    if len(ids) > lm.context:
        raise PromptError(
            f"the question has {counted(len(ids), 'token')} but the model reads at most "
            f"{lm.context}"
        )
    return ids, position
