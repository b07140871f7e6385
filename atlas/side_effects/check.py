"""Side effects of an edit: indexed prompts asked before and after it, into the atlas, resumable.

Both answers are measured here, by the same code in the same batches, and never taken from the
index: what differs between them is the edit and nothing else, neither rounding nor another dtype
nor another machine. The file is open only while a commit is made; a prompt that has its row is not
asked again.
"""

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from atlas.distributed.tables import rows_as_table, table_as_rows
from atlas.distributed.workers import Outcome, Tables, Workers, lone
from atlas.edits.applying import applied, check_fits
from atlas.edits.edit import Edit
from atlas.edits.in_force import edits_in_force
from atlas.engine.probe import Probed, probe
from atlas.given_up import NotMeasured
from atlas.models.language_model import LanguageModel
from atlas.progress import Advance
from atlas.side_effects.scopes import Scope, ScopedPrompt, checked_by, scoped_prompts
from atlas.side_effects.stored import SideEffect, checked_prompts, record_side_effects
from atlas.store.atlas_file import AtlasFile

COMMIT_EVERY = 2.0  # seconds between commits: what a kill can cost
COMMIT_WAIT = 600.0  # seconds that a commit waits for readers
FEWEST, MOST = 8, 4096  # prompts asked between two looks at the clock
AIM = 2.0  # seconds between them


def check(
    atlas: AtlasFile,
    lm: LanguageModel,
    edit_id: int,
    scope: Scope | None = None,
    workers: Workers | None = None,
) -> Generator[Advance, None, None]:
    """Measure an edit on the prompts of a scope (default: neighbours), most concerned facts first.

    The prompts are those that the edit's run measured. Yields at the start and after every part of
    them; what is measured is committed every few seconds, at the end, and when the generator is
    closed or fails.

    Raises NotFound for the edit or its run, and what `edits_in_force` and `applied` raise: for an
    edit that is reverted, or made for other weights.
    """
    with atlas.reading() as connection:
        (edit,) = edits_in_force(connection, [edit_id])
        check_fits(lm, edit)
        prompts = scoped_prompts(connection, checked_by(connection, edit_id), scope or Scope())
    yield from check_prompts(atlas, lm, edit, prompts, workers)


def check_prompts(
    atlas: AtlasFile,
    lm: LanguageModel,
    edit: Edit,
    prompts: Sequence[ScopedPrompt],
    workers: Workers | None = None,
) -> Generator[Advance, None, None]:
    """`check` of a stored edit on these prompts, in their order; workers None: this process."""
    check_fits(lm, edit)
    assert edit.edit_id is not None
    with atlas.reading() as connection:
        known = checked_prompts(connection, edit.edit_id)
    left = [prompt for prompt in prompts if prompt.prompt_id not in known]
    yield from _Check(atlas, lone(lm, workers), edit, edit.edit_id).measure(left, len(prompts))


class _Check:
    """One call of `check`: what is measured but not committed yet, and when it last committed."""

    def __init__(self, atlas: AtlasFile, workers: Workers, edit: Edit, edit_id: int) -> None:
        self.atlas, self.workers, self.edit, self.edit_id = atlas, workers, edit, edit_id
        self.pending: list[SideEffect] = []
        self.committed_at = time.monotonic()
        self.size = FEWEST

    def measure(self, left: Sequence[ScopedPrompt], total: int) -> Iterator[Advance]:
        started = time.monotonic()
        at = Advance(f"edit {self.edit_id}", total - len(left), total, complete=not left)
        yield at
        outcomes = self.workers.outcomes(Checking(self.edit), self._parts(left))
        try:
            with contextlib.closing(outcomes):
                for part, outcome in outcomes:
                    at = self._part(at, part, outcome)
                    yield replace(
                        at, seconds=time.monotonic() - started, workers=self.workers.count
                    )
        finally:
            self._commit()

    def _parts(self, left: Sequence[ScopedPrompt]) -> Iterator[tuple[int, Sequence[ScopedPrompt]]]:
        """Parts of a size that takes about AIM seconds, with these sizes.

        Several workers have smaller ones towards the end, so that all of them end together.
        """
        start = 0
        while start < len(left):
            several = self.workers.count
            fair = MOST if several is None else -(-(len(left) - start) // (2 * max(1, several)))
            part = left[start : start + min(self.size, max(FEWEST, fair))]
            yield len(part), part
            start += len(part)

    def _part(self, at: Advance, part: int, outcome: Outcome[list[SideEffect]]) -> Advance:
        """Take what was measured of a part, and commit if it is time."""
        self.pending += outcome.result or ()
        pace = AIM / max(outcome.seconds, 1e-6)
        self.size = min(MOST, max(FEWEST, int(part * min(4.0, pace))))
        if time.monotonic() - self.committed_at > COMMIT_EVERY:
            self._commit()
        done = at.done + part
        at = replace(at, done=done, complete=done == at.total)
        if outcome.given_up is None:
            return replace(at, computed=at.computed + part)
        lost = NotMeasured.task(at.what, part, "prompt", outcome.given_up)
        return replace(at, given_up=(*at.given_up, lost))

    def _commit(self) -> None:
        if self.pending:
            with self.atlas.writing(COMMIT_WAIT) as connection:
                record_side_effects(connection, self.edit_id, self.pending)
        # Ctrl-C may come before this line: recording them twice changes nothing.
        self.pending.clear()
        self.committed_at = time.monotonic()


@dataclass(frozen=True)
class Checking:
    """Ask prompts without an edit and with it; `Work` of a check."""

    edit: Edit

    def measure(self, lm: LanguageModel, task: Sequence[ScopedPrompt]) -> list[SideEffect]:
        return effects_on(lm, self.edit, task)

    def to_tables(self, result: list[SideEffect]) -> Tables:
        return {"side_effects": rows_as_table(SideEffect, result)}

    def from_tables(self, tables: Tables) -> list[SideEffect]:
        return table_as_rows(SideEffect, tables["side_effects"])


def effects_on(lm: LanguageModel, edit: Edit, prompts: Sequence[ScopedPrompt]) -> list[SideEffect]:
    """Ask the prompts without the edit and with it; the weights are the model's own again after."""
    encoded = [lm.targets(prompt.text, prompt.answer) for prompt in prompts]
    before = probe(lm, encoded)
    with applied(lm, edit):
        after = probe(lm, encoded)
    return [_effect(prompt, i, before, after) for i, prompt in enumerate(prompts)]


def _effect(prompt: ScopedPrompt, i: int, before: Probed, after: Probed) -> SideEffect:
    return SideEffect(
        prompt_id=prompt.prompt_id,
        interference=prompt.interference,
        p_before=float(before.p_answer[i]),
        p_after=float(after.p_answer[i]),
        rank_before=int(before.answer_rank[i]),
        rank_after=int(after.answer_rank[i]),
        predicted_before=before.predicted[i],
        predicted_after=after.predicted[i],
    )
