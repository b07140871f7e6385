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

from atlas.distributed.tables import rows_as_table, table_as_rows
from atlas.distributed.workers import Tables, Workers
from atlas.engine.attribution import attribute_targets
from atlas.evidence.compared import Compared, compared, equal
from atlas.evidence.drawn import (
    RunSettings,
    Sample,
    StoredPrompt,
    StoredScores,
    drawn_prompts,
    run_settings,
    scores_of,
)
from atlas.evidence.reselected import VerifiedTable, reselected
from atlas.given_up import NotMeasured
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
    threads: int  # used now, by each worker where there are any
    workers: int | None  # of a Ray cluster; None: measured by one process
    quantities: tuple[VerifiedQuantity, ...]
    wrong_values: tuple[WrongValue, ...]
    tables: tuple[VerifiedTable, ...]  # of the selection, made again
    given_up: tuple[NotMeasured, ...] = ()  # prompts that took their workers with them

    @property
    def holds(self) -> bool:
        """Whether all that was measured and selected again is as stored."""
        return not self.wrong_values and not any(t.only_stored or t.only_again for t in self.tables)


def verify(
    atlas: AtlasFile,
    workers: Workers,
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
    by_id = {prompt.prompt_id: prompt for prompt in drawn}
    found: list[tuple[StoredPrompt, Compared]] = []
    with _other_threads(workers, settings.threads):
        threads, count = workers.threads, workers.count
        started = time.monotonic()
        at = Advance("verify", 0, len(drawn), workers=count)
        report(at)
        steps = _tasks(atlas, selection.run_id, drawn)
        with contextlib.closing(workers.outcomes(Verifying(settings), steps)) as outcomes:
            for size, outcome in outcomes:
                found += [(by_id[prompt_id], one) for prompt_id, one in outcome.result or ()]
                at = replace(at, done=at.done + size, workers=workers.count)
                if outcome.given_up is None:
                    at = replace(at, computed=at.computed + size)
                else:
                    lost = NotMeasured.task(at.what, size, "prompt", outcome.given_up)
                    at = replace(at, given_up=(*at.given_up, lost))
                seconds = time.monotonic() - started
                at = replace(at, seconds=seconds, complete=at.done == len(drawn))
                report(at)
    report(Working("select again"))
    return VerifyReport(
        prompts=len(drawn),
        measured_prompts=measured,
        seed=seed,
        threads=threads,
        workers=count,
        quantities=_quantities(found),
        wrong_values=tuple(_wrong(*one) for one in found if not one[1].holds),
        tables=tuple(reselected(atlas, selection.selection_id)),
        given_up=at.given_up,
    )


Stored = tuple[StoredPrompt, StoredScores]
ComparedOf = tuple[int, Compared]  # with its prompt's id


def _tasks(
    atlas: AtlasFile, run_id: str, drawn: Sequence[StoredPrompt]
) -> Iterator[tuple[int, Sequence[Stored]]]:
    """The prompts in batches, with their stored scores, read as they are needed; and how many."""
    for start in range(0, len(drawn), BATCH):
        batch = drawn[start : start + BATCH]
        with atlas.reading() as connection:
            scores = scores_of(connection, run_id, [prompt.prompt_id for prompt in batch])
        yield len(batch), [(prompt, scores[prompt.prompt_id]) for prompt in batch]


@dataclass(frozen=True)
class Verifying:
    """Attribute a batch of prompts again, and hold it against what is stored; `Work` of verify."""

    settings: RunSettings

    def measure(self, lm: LanguageModel, task: Sequence[Stored]) -> list[ComparedOf]:
        found: list[ComparedOf] = []
        asked, encoded = [], []
        for prompt, scores in task:
            text = prompt.template.replace("[X]", prompt.subject)
            found.append((prompt.prompt_id, equal("prompt", prompt.text, text)))
            end = prompt.subject_end if self.settings.position == "subject" else None
            try:
                encoded.append(lm.targets(text, prompt.object, end))
                asked.append((prompt, scores))
            except UnusablePrompt as unusable:
                found.append((prompt.prompt_id, equal("prompt", "asked", unusable.reason)))
        if not asked:
            return found
        method, how, floor = self.settings.method, self.settings.integration, self.settings.floor
        again = attribute_targets(lm, encoded, method=method, how=how)
        for i, (prompt, scores) in enumerate(asked):
            own = compared(prompt, scores, again, i, dtype=lm.dtype, floor=floor)
            found += [(prompt.prompt_id, one) for one in own]
        return found

    def to_tables(self, result: list[ComparedOf]) -> Tables:
        table = rows_as_table(Compared, [one for _, one in result])
        return {"compared": table.append_column("prompt_id", [[id_ for id_, _ in result]])}

    def from_tables(self, tables: Tables) -> list[ComparedOf]:
        table = tables["compared"]
        ids = table["prompt_id"].to_pylist()
        return list(zip(ids, table_as_rows(Compared, table.drop(["prompt_id"])), strict=True))


@contextlib.contextmanager
def _other_threads(workers: Workers, stored: str | None) -> Iterator[None]:
    """Another number of torch's threads than the run had, as many as there are if that is so.

    Workers elsewhere keep the threads of their share.
    """
    if workers.count is not None:
        yield
        return
    available = torch.get_num_threads()
    threads = available
    if str(available) == stored:
        threads = available - 1 if available > 1 else 2
    torch.set_num_threads(threads)
    try:
        yield
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
