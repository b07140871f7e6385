"""A fact's prompts as questions about an object, and which of them an edit may learn from."""

from collections.abc import Sequence

from atlas.edits.making.sources import MeasuredPrompt
from atlas.errors import EditError
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target, UnusablePrompt, cloze, encode

Questions = list[list[Target]]  # per prompt one target per answer token


def held_apart(
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
    lm: LanguageModel, prompts: Sequence[MeasuredPrompt], answer: str | None = None
) -> Questions:
    """The prompts encoded with `answer` as the answer, else each with its own fact's object.

    EditError if the model's tokenizer cannot express it.
    """
    questions = []
    for prompt in prompts:
        asked = prompt.object if answer is None else answer
        try:
            cloze_prompt = cloze(prompt.text, asked, lm.objective)
            questions.append(encode(cloze_prompt, lm.tokenizer, lm.objective, lm.context))
        except UnusablePrompt as unusable:
            raise EditError(f"{lm.name} cannot be asked for '{asked}': {unusable}") from unusable
    return questions
