"""Verifying an atlas: stored rows drawn at random, measured again on this machine.

Prompts of a seeded draw are attributed again in other batches and on another number of threads than
they were, and held against what is stored; the selection is made again from all stored scores.
Nothing is written. An atlas that somebody else made, on another machine, is verified likewise.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from atlas.engine.attribution import attribute_targets
from atlas.evidence.compared import Compared, compared, equal
from atlas.evidence.drawn import (
    RunSettings,
    Sample,
    StoredPrompt,
    drawn_prompts,
    run_settings,
    scores_of,
)
from atlas.evidence.reselected import VerifiedTable, reselected
from atlas.models.language_model import LanguageModel
from atlas.progress import Advance, Reporter, Working
from atlas.prompts import UnusablePrompt
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.store.atlas_file import AtlasFile

BATCH = 24  # prompts attributed together, as they come in the draw: of all relations and lengths


@dataclass(frozen=True)
class VerifiedQuantity:
    """What became of one quantity over all drawn prompts.

    largest, allowed: the difference that comes nearest to what is allowed, or exceeds it most, and
    what is allowed there, in the quantity's units. wrong: prompts in which it is exceeded.
    """

    quantity: str
    prompts: int
    largest: float
    allowed: float
    wrong: int


@dataclass(frozen=True)
class WrongValue:
    """A quantity of a prompt that is not what it was stored as."""

    relation_id: str
    subject: str
    template: str
    prompt_id: int
    quantity: str
    layer: int | None  # of the neuron where the difference is largest; None: of no neuron
    neuron: int | None
    stored: str
    again: str
    difference: float
    allowed: float


@dataclass(frozen=True)
class VerifyReport(OfSelection, rows="quantities"):
    """What verifying came to."""

    prompts: int  # drawn
    measured_prompts: int  # drawn from
    seed: int
    threads: int  # used now
    quantities: tuple[VerifiedQuantity, ...]
    wrong_values: tuple[WrongValue, ...]
    tables: tuple[VerifiedTable, ...]  # of the selection, made again

    @property
    def holds(self) -> bool:
        """Whether all that was measured and selected again is as stored."""
        return not self.wrong_values and not any(t.only_stored or t.only_again for t in self.tables)


def verify(
    atlas: AtlasFile,
    lm: LanguageModel,
    selection: ChosenSelection,
    sample: Sample,
    seed: int,
    report: Reporter,
) -> VerifyReport:
    """Measure the drawn prompts again and select again; tells `report` where it stands.

    Raises NotFound for a run without measured prompts, ModelError if the model returns NaN.
    """
    with atlas.reading() as connection:
        settings = run_settings(connection, selection.run_id)
        drawn, measured = drawn_prompts(connection, selection.run_id, sample, seed)
    found: list[tuple[StoredPrompt, Compared]] = []
    with _other_threads(settings.threads) as threads:
        started = time.monotonic()
        at = Advance("verify", 0, len(drawn))
        report(at)
        for start in range(0, len(drawn), BATCH):
            found += _again(atlas, lm, selection.run_id, settings, drawn[start : start + BATCH])
            done = min(start + BATCH, len(drawn))
            seconds = time.monotonic() - started
            at = replace(at, done=done, computed=done, seconds=seconds, complete=done == len(drawn))
            report(at)
    report(Working("select again"))
    return VerifyReport(
        prompts=len(drawn),
        measured_prompts=measured,
        seed=seed,
        threads=threads,
        quantities=_quantities(found),
        wrong_values=tuple(_wrong(*one) for one in found if not one[1].holds),
        tables=tuple(reselected(atlas, selection.selection_id)),
    )


def _again(
    atlas: AtlasFile,
    lm: LanguageModel,
    run_id: str,
    settings: RunSettings,
    batch: Sequence[StoredPrompt],
) -> list[tuple[StoredPrompt, Compared]]:
    """The prompts of a batch, each with every quantity stored and measured again."""
    found: list[tuple[StoredPrompt, Compared]] = []
    asked, encoded = [], []
    for prompt in batch:
        text = prompt.template.replace("[X]", prompt.subject)
        found.append((prompt, equal("prompt", prompt.text, text)))
        end = prompt.subject_end if settings.position == "subject" else None
        try:
            encoded.append(lm.targets(text, prompt.object, end))
            asked.append(prompt)
        except UnusablePrompt as unusable:
            found.append((prompt, equal("prompt", "asked", unusable.reason)))
    if not asked:
        return found
    with atlas.reading() as connection:
        scores = scores_of(connection, run_id, [prompt.prompt_id for prompt in asked])
    again = attribute_targets(lm, encoded, method=settings.method, how=settings.integration)
    for i, prompt in enumerate(asked):
        own = scores[prompt.prompt_id]
        found += [
            (prompt, one)
            for one in compared(prompt, own, again, i, dtype=lm.dtype, floor=settings.floor)
        ]
    return found


@contextlib.contextmanager
def _other_threads(stored: str | None) -> Iterator[int]:
    """Another number of torch's threads than the run had, as many as there are if that is so."""
    available = torch.get_num_threads()
    threads = available
    if str(available) == stored:
        threads = available - 1 if available > 1 else 2
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(available)


def _quantities(found: Sequence[tuple[StoredPrompt, Compared]]) -> tuple[VerifiedQuantity, ...]:
    by_name: dict[str, list[Compared]] = {}
    for _, one in found:
        by_name.setdefault(one.quantity, []).append(one)
    rows = []
    for name, several in by_name.items():
        worst = max(several, key=lambda one: one.excess)
        rows.append(
            VerifiedQuantity(
                name,
                len(several),
                worst.difference,
                worst.allowed,
                sum(not one.holds for one in several),
            )
        )
    return tuple(rows)


def _wrong(prompt: StoredPrompt, one: Compared) -> WrongValue:
    return WrongValue(
        relation_id=prompt.relation_id,
        subject=prompt.subject,
        template=prompt.template,
        prompt_id=prompt.prompt_id,
        quantity=one.quantity,
        layer=one.layer,
        neuron=one.neuron,
        stored=one.stored,
        again=one.again,
        difference=one.difference,
        allowed=one.allowed,
    )
