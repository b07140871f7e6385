"""Which cases of a benchmark a model can be asked: those whose answers its tokenizer expresses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from atlas.benchmarks.case import BenchmarkCase, Question
from atlas.prompts import UnusablePrompt

if TYPE_CHECKING:
    from atlas.models.language_model import LanguageModel


@dataclass(frozen=True)
class InexpressibleAnswer:
    """Something that a model cannot be asked. whole_case: the case falls with it."""

    case: int
    text: str
    answer: str
    reason: str
    whole_case: bool


def cloze_of(text: str) -> str:
    """The text with the answer's place behind it: what follows is a full stop alone.

    A masked model gets its mask there; a causal one is asked the text as it stands.
    """
    return f"{text.rstrip()} [Y]."


def askable_case(
    lm: "LanguageModel", case: BenchmarkCase
) -> tuple[BenchmarkCase | None, tuple[InexpressibleAnswer, ...]]:
    """The case without the questions that cannot be asked, and those; None for none of it."""
    wanted = [case.new_object, *([case.true_object] if case.true_object else [])]
    own = _unusable(lm, case.number, case.prompt, wanted, whole_case=True)
    if own is not None:
        return None, (own,)
    lost: list[InexpressibleAnswer] = []

    def kept(text: str, answers: Sequence[str]) -> bool:
        problem = _unusable(lm, case.number, text, answers, whole_case=False)
        lost.extend([problem] if problem else [])
        return problem is None

    def questions(some: Sequence[Question], *more: str) -> tuple[Question, ...]:
        return tuple(q for q in some if kept(q.text, [q.answers[0], *more]))

    return replace(
        case,
        paraphrases=tuple(text for text in case.paraphrases if kept(text, wanted)),
        neighbourhood=questions(case.neighbourhood, case.new_object),
        portability=questions(case.portability),
    ), tuple(lost)


def _unusable(
    lm: "LanguageModel", number: int, text: str, answers: Sequence[str], *, whole_case: bool
) -> InexpressibleAnswer | None:
    for answer in answers:
        try:
            lm.targets(cloze_of(text), answer)
        except UnusablePrompt as unusable:
            return InexpressibleAnswer(number, text, answer, unusable.reason, whole_case)
    return None
