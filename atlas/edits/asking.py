"""Questions typed by hand: a model's top answers without edits and with them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from atlas.answers import Answer
from atlas.edits.applying import applied
from atlas.edits.edit import Edit, Overlap, overlapping
from atlas.edits.in_force import EditInterference
from atlas.errors import PromptError
from atlas.models.language_model import LanguageModel
from atlas.prompts import MASK, cloze, encode

LONGEST_WORD = 8  # tokens
_ANY = "a"  # an answer to encode a causal question with; its tokens come after the question's


@dataclass(frozen=True)
class TopAnswer:
    """One token that a model may answer with; of a causal model, the word that it begins."""

    text: str
    p: float  # of the token


@dataclass(frozen=True)
class Asked:
    """A question's top answers before and after some edits, likeliest first."""

    question: str
    before: Sequence[TopAnswer]
    after: Sequence[TopAnswer]


@dataclass(frozen=True)
class AskedReport(Answer, rows="answers"):
    """Questions with their answers, and what the edits are to each other."""

    answers: tuple[Asked, ...]
    edits: tuple[int, ...]
    overlaps: tuple[Overlap, ...]  # edits that change the same value vectors
    interference: tuple[EditInterference, ...]  # edits that disturb another's fact


def ask_all(
    lm: LanguageModel,
    edits: Sequence[Edit],
    questions: Sequence[str],
    count: int = 5,
    interference: Sequence[EditInterference] = (),
) -> AskedReport:
    """`ask` for each question. PromptError where there is none."""
    require_questions(questions)
    return AskedReport(
        tuple(ask(lm, edits, question, count) for question in questions),
        tuple(edit.edit_id or 0 for edit in edits),
        tuple(overlapping(edits)),
        tuple(interference),
    )


def require_questions(questions: Sequence[str]) -> None:
    """PromptError where there is nothing to ask."""
    if not questions:
        raise PromptError(
            "these edits have no prompt of their own here: say what to ask", parameters=["texts"]
        )


def ask(lm: LanguageModel, edits: Edit | Sequence[Edit], question: str, count: int = 5) -> Asked:
    """Ask without the edits and with them; the weights are the model's own again after.

    PromptError for a question that the model cannot be asked, EditError for an edit that does not
    fit the model.
    """
    before = top_answers(lm, question, count)
    with applied(lm, edits):
        after = top_answers(lm, question, count)
    return Asked(question, before, after)


def top_answers(lm: LanguageModel, question: str, count: int = 5) -> tuple[TopAnswer, ...]:
    """The likeliest tokens at the question's one `[MASK]` or `[Y]`, likeliest first.

    A causal question ends where its answer begins; a mask there, and a full stop behind it, may be
    left out. PromptError if it cannot be asked.
    """
    ids, position = _encoded(lm, question.strip())
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
    if "[Y]" not in text:
        if lm.objective == "masked":
            raise PromptError(
                f"a masked model fills in a {MASK}: write one, as in 'The capital of Ireland is "
                f"{MASK}.'"
            )
        text = f"{text} [Y]"
    if lm.objective == "causal":
        target = encode(cloze(text, _ANY, "causal"), lm.tokenizer, "causal", lm.context)[0]
        return list(target.token_ids), target.position
    mask = lm.tokenizer.mask_token
    ids = lm.tokenizer(text.replace("[Y]", mask), verbose=False)["input_ids"]
    if ids.count(lm.tokenizer.mask_token_id) != 1:
        raise PromptError(f"ask for one thing at a time: write one {MASK}, not {mask} besides")
    if len(ids) > lm.context:
        raise PromptError(
            f"the question has {len(ids)} tokens but the model reads at most {lm.context}"
        )
    return list(ids), ids.index(lm.tokenizer.mask_token_id)
