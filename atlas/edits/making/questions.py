"""A fact's prompts as questions about an object, and which of them an edit may learn from."""

from collections.abc import Mapping, Sequence

from atlas.edits.making.sources import MeasuredPrompt
from atlas.errors import EditError
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target, UnusablePrompt

Questions = list[list[Target]]  # per prompt one target per answer token


def split_held_out(
    prompts: Sequence[MeasuredPrompt], share: float
) -> tuple[list[MeasuredPrompt], list[MeasuredPrompt]]:
    """The prompts that an edit is made from, and those held out: ⌊share · prompts⌋ of them.

    Held out are the first by prompt id, which is a hash of fact and template: the same ones every
    time, of no particular kind.
    """
    count = int(share * len(prompts) + 1e-9)
    ordered = sorted(prompts, key=lambda prompt: prompt.prompt_id)
    return ordered[count:], ordered[:count]


def ask_for(
    lm: LanguageModel,
    prompts: Sequence[MeasuredPrompt],
    answer: str | Mapping[str, str] | None = None,
    *,
    at_subject: bool = False,
) -> Questions:
    """The prompts encoded with `answer` as the answer, else each with its own fact's object.

    answer: one for all, or by fact id. at_subject: the targets' site is the token in which the
        subject ends, not the answer position.

    EditError if the model's tokenizer cannot express it.
    """
    questions = []
    for prompt in prompts:
        wanted = answer if isinstance(answer, str) else (answer or {}).get(prompt.fact_id)
        wanted = prompt.object if wanted is None else wanted
        try:
            end = prompt.subject_end if at_subject else None
            questions.append(lm.targets(prompt.text, wanted, end))
        except UnusablePrompt as unusable:
            raise EditError(f"{lm.name} cannot be asked for '{wanted}': {unusable}") from unusable
    return questions
