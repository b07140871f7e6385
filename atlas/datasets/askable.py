"""Which prompts of a dataset a model can be asked, and with which tokens."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.facts import Dataset
from atlas.models.asked import AskedTokens, asked_tokens
from atlas.prompts import UnusablePrompt, fill

if TYPE_CHECKING:
    from atlas.models.language_model import LanguageModel

EXAMPLES = 5


@dataclass(frozen=True)
class Unaskable:
    """Why prompts cannot be asked, how many, and the first of them."""

    reason: str
    prompts: int
    text: str


@dataclass(frozen=True)
class Askable:
    """What a model can be asked of a dataset's prompts.

    across: prompts whose answer shares a token with the text beside it, see `prompts.Target`.
    examples: the first fact's prompts of each relation in turn, those first that are `across`.
    """

    model: str
    objective: str
    prompts: int
    askable: int
    across: int
    skipped: tuple[Unaskable, ...]  # commonest reason first
    examples: tuple[AskedTokens, ...]


def askable(lm: "LanguageModel", dataset: Dataset, examples: int = EXAMPLES) -> Askable:
    """Encode every prompt of the dataset, as indexing would; nothing is measured."""
    reasons: Counter[str] = Counter()
    first: dict[str, str] = {}
    prompts = 0
    across: list[tuple[str, str]] = []
    for relation in dataset.relations:
        for fact in relation.facts:
            for template in relation.templates:
                text = fill(template, fact)
                prompts += 1
                try:
                    if lm.targets(text, fact.object)[0].across:
                        across.append((text, fact.object))
                except UnusablePrompt as unusable:
                    reasons[unusable.reason] += 1
                    first.setdefault(unusable.reason, text)
    return Askable(
        model=lm.name,
        objective=lm.objective,
        prompts=prompts,
        askable=prompts - reasons.total(),
        across=len(across),
        skipped=tuple(Unaskable(r, count, first[r]) for r, count in reasons.most_common()),
        examples=_examples(lm, dataset, across, examples),
    )


def _examples(
    lm: "LanguageModel", dataset: Dataset, across: list[tuple[str, str]], most: int
) -> tuple[AskedTokens, ...]:
    """At most so many askable prompts, half of them `across` where there are such."""
    longest = max((len(relation.templates) for relation in dataset.relations), default=0)
    plain = (
        (fill(relation.templates[turn], relation.facts[0]), relation.facts[0].object)
        for turn in range(longest)
        for relation in dataset.relations
        if relation.facts and turn < len(relation.templates)
    )
    found: dict[str, AskedTokens] = {}
    for text, answer in (*across[: (most + 1) // 2], *plain):
        if len(found) == most:
            break
        asked = asked_tokens(lm, text, answer)
        if asked.skipped_because is None:
            found.setdefault(text, asked)
    return tuple(found.values())
