"""A relation's prompts in batches: what the indexer measures and commits as one."""

from collections.abc import Sequence
from dataclasses import dataclass

from atlas.engine.clean_pass import carried, longest_beside
from atlas.facts import Fact, Relation, Template
from atlas.indexing.records import prompt_id
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target, UnusablePrompt, fill, subject_end

BATCH_FLOPS = 5e11  # a batch's rough work: some seconds on a laptop
LARGEST_BATCH = 64  # prompts


@dataclass(frozen=True)
class AskedPrompt:
    """A prompt of the dataset: its targets, or why the model cannot be asked."""

    prompt_id: int
    targets: Sequence[Target]
    skipped_because: str | None = None


def relation_batches(
    lm: LanguageModel, relation: Relation, position: str = "answer"
) -> list[list[AskedPrompt]]:
    """All prompts of a relation in batches of like lengths, with as many answer tokens each.

    position: where neurons are attributed, one of `POSITIONS`.

    Which prompts share a batch depends on the relation and the model alone, never on what an
    earlier call has measured: so an interrupted index ends up equal to an uninterrupted one.
    """
    asked = sorted(
        (
            _asked(lm, fact, template, position)
            for fact in relation.facts
            for template in relation.templates
        ),
        key=lambda prompt: _shape(lm, prompt),
    )
    batches: list[list[AskedPrompt]] = []
    for prompt in asked:
        if batches and _fits(lm, batches[-1], prompt):
            batches[-1].append(prompt)
        else:
            batches.append([prompt])
    return batches


def _shape(lm: LanguageModel, asked: AskedPrompt) -> tuple[int, int, int]:
    """Numbers of answer tokens, of tokens a patched row carries, and of input tokens.

    All 0 for a skipped prompt.
    """
    return (
        len(asked.targets),
        max((carried(lm, target) for target in asked.targets), default=0),
        max((len(target.token_ids) for target in asked.targets), default=0),
    )


def _fits(lm: LanguageModel, batch: list[AskedPrompt], prompt: AskedPrompt) -> bool:
    """Whether a prompt, no shorter than those of the batch, may join it."""
    (*alike, shortest), (tokens, row, length) = _shape(lm, batch[0]), _shape(lm, prompt)
    if [tokens, row] != alike or len(batch) >= _batch_size(lm, tokens, row):
        return False
    return tokens == 0 or length <= longest_beside(lm, shortest)


def _asked(lm: LanguageModel, fact: Fact, template: Template, position: str) -> AskedPrompt:
    identity = prompt_id(fact.fact_id, template.template_id)
    end = subject_end(template, fact) if position == "subject" else None
    if position == "subject" and end is None:
        return AskedPrompt(identity, (), "template names no subject")
    try:
        return AskedPrompt(identity, lm.targets(fill(template, fact), fact.object, end))
    except UnusablePrompt as unusable:
        return AskedPrompt(identity, (), unusable.reason)


def _batch_size(lm: LanguageModel, tokens: int, row: int) -> int:
    """Prompts per batch: as many as the work allows (two patched rows a layer, half the blocks).

    row: how many tokens a patched row carries.
    """
    block_flops = 2 * lm.d_model * (4 * lm.d_model + 3 * lm.neurons_per_layer)
    prompt_flops = 2 * tokens * row * lm.layers**2 * block_flops
    return max(1, min(LARGEST_BATCH, int(BATCH_FLOPS // max(prompt_flops, 1))))
