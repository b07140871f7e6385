"""Asking prompts of the run's model and of a checkpoint, into the atlas, resumable.

Both answers are measured here, by the same code in the same batches: what differs between them is
the weights. How far the same weights differ in batches of another size is measured beside it.
"""

import time
from collections.abc import Iterator, Sequence

import numpy as np

from atlas.audit.scopes import AuditedPrompt
from atlas.audit.stored import AuditEffect, Noise, record_effects
from atlas.engine.probe import BATCH_TOKENS, probe
from atlas.models.language_model import LanguageModel
from atlas.progress import Advance
from atlas.store.atlas_file import AtlasFile

SECONDS = 2.0  # that a commit's prompts shall take, for they are what an interruption loses
FEWEST, MOST = 32, 4096  # prompts of a commit
NOISE = 256  # prompts that are asked twice


def noise_of(lm: LanguageModel, prompts: Sequence[AuditedPrompt]) -> Noise:
    """The first prompts asked of the same weights in large batches and in small ones."""
    some = prompts[:NOISE]
    encoded = [lm.targets(prompt.text, prompt.answer) for prompt in some]
    large, small = probe(lm, encoded), probe(lm, encoded, batch_tokens=BATCH_TOKENS // 64)
    flips = sum(a != b for a, b in zip(large.predicted, small.predicted, strict=True))
    return Noise(len(some), flips, float(np.abs(large.log_p - small.log_p).max()))


def ask_both(
    atlas: AtlasFile,
    base: LanguageModel,
    other: LanguageModel,
    audit_id: str,
    left: Sequence[AuditedPrompt],
    total: int,
) -> Iterator[Advance]:
    """Ask the prompts that are left, and store what comes out; yields where that stands."""
    started, computed, size = time.monotonic(), 0, FEWEST
    done = total - len(left)
    yield Advance("audit", done, total, complete=not left)
    while computed < len(left):
        some = left[computed : computed + size]
        begun = time.monotonic()
        effects = effects_on(base, other, some)
        with atlas.writing() as connection:
            record_effects(connection, audit_id, effects)
        now = time.monotonic()
        computed += len(some)
        pace = len(some) / max(now - begun, 1e-9)
        size = max(FEWEST, min(round(pace * SECONDS), 4 * size, MOST))
        yield Advance(
            "audit",
            done + computed,
            total,
            computed,
            now - started,
            complete=computed == len(left),
        )


def effects_on(
    base: LanguageModel, other: LanguageModel, prompts: Sequence[AuditedPrompt]
) -> list[AuditEffect]:
    """The prompts' answers by both models."""
    encoded = [base.targets(prompt.text, prompt.answer) for prompt in prompts]
    before, after = probe(base, encoded), probe(other, encoded)
    return [
        AuditEffect(
            prompt.prompt_id,
            float(before.p_answer[i]),
            float(after.p_answer[i]),
            int(before.answer_rank[i]),
            int(after.answer_rank[i]),
            before.predicted[i],
            after.predicted[i],
        )
        for i, prompt in enumerate(prompts)
    ]
