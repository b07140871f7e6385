"""The batch job: facts → prompts → attribution → the atlas file, relation by relation, resumable.

The file is open only while a commit is made. A batch is in the file whole or not at all, so that
whatever stops the job loses at most the batches since the last commit, and the next call goes on
with what is missing. A relation's knowledge neurons are selected with its last commit.
"""

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from duckdb import DuckDBPyConnection

from atlas.distributed.hiring import hired
from atlas.distributed.introduction import ModelToLoad
from atlas.distributed.settings import RaySettings
from atlas.distributed.workers import InThisProcess, Outcome, Workers, lone
from atlas.facts import Dataset, Relation
from atlas.given_up import NotMeasured
from atlas.indexing import records
from atlas.indexing.batches import AskedPrompt, relation_batches
from atlas.indexing.index_lock import indexing
from atlas.indexing.measuring import Attributing, skipped_results
from atlas.indexing.null_facts import Shuffled
from atlas.indexing.null_run import null_facts, null_run
from atlas.indexing.run_record import model_record, run_record
from atlas.indexing.settings import COMMIT_WAIT, IndexSettings
from atlas.indexing.shards import finish_shard, record_shard
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.selection.chosen import choose_selection, selection_ids
from atlas.selection.nulls import select_null
from atlas.selection.select import select
from atlas.store.atlas_file import AtlasFile, open_file

COMMIT_EVERY = 2.0  # seconds between commits: what a kill can cost


@dataclass(frozen=True)
class IndexProgress:
    """Where the job stands, in prompts that are measured or skipped, those of earlier calls too.

    computed: prompts that this call has handled, in so many `seconds`.
    complete: the relation is measured and its knowledge neurons are selected. workers: of a cluster
    that are at work; given_up: what took them with it, of all relations so far.
    """

    run_id: str
    total: int
    done: int = 0
    computed: int = 0
    seconds: float = 0.0
    relation_id: str = ""
    relation_done: int = 0
    relation_total: int = 0
    complete: bool = False
    workers: int | None = None
    given_up: tuple[NotMeasured, ...] = ()


@contextlib.contextmanager
def indexing_on(
    path: Path, settings: IndexSettings, ray: RaySettings | None = None
) -> Iterator[tuple[AtlasFile, LanguageModel, Workers]]:
    """The atlas at `path`, with no other indexer at work on it, the model and who measures it.

    Raises LockedAtlas at once if another indexer works on the file, and whatever `load_model`,
    `open_file` and `hired` raise. There is no new file before the model is loaded.
    """
    with indexing(path):
        if path.exists():  # a file that cannot be used is refused before minutes of loading
            open_file(path, create=True)
        named = settings.model
        if not isinstance(named, str):
            yield open_file(path, create=True), named, InThisProcess(named)
            return
        device = settings.device if ray is None else "cpu"
        model = None if ray is None else ModelToLoad.of(named, settings.dtype)
        with hired(ray, model, lambda: load_model(named, settings.dtype, device)) as (lm, workers):
            yield open_file(path, create=True), lm, workers


def require_real_run(
    atlas: AtlasFile,
    lm: LanguageModel,
    dataset: Dataset,
    chosen: Dataset,
    settings: IndexSettings,
    null: Shuffled,
) -> None:
    """Raise what `measure` would of this null, before anything is measured."""
    run = run_record(lm, dataset, settings)
    with atlas.reading(COMMIT_WAIT) as connection:
        null_facts(connection, run, chosen, null, settings.shard)


def measure(
    atlas: AtlasFile,
    lm: LanguageModel,
    dataset: Dataset,
    chosen: Dataset,
    settings: IndexSettings,
    *,
    make_default: bool = True,
    null: Shuffled | None = None,
    workers: Workers | None = None,
) -> Generator[IndexProgress, None, None]:
    """Measure the chosen part of a dataset and select its knowledge neurons.

    The run is identified by model, settings and the whole dataset, so that choosing more relations
    or facts later continues it. Yields before every relation, after every batch of it, and when it
    is complete. make_default: whether its selection becomes the default one.

    null: the dataset with shuffled objects: measure these beside the real run, as many facts of it
    as that has measured, and look at them with all its selections. NotFound if it has measured
    none. workers: who measures; None: this process.
    """
    run = run_record(lm, dataset, settings)
    if null is not None:
        with atlas.reading(COMMIT_WAIT) as connection:
            chosen = null_facts(connection, run, chosen, null, settings.shard)
        run = null_run(run, null)
    yield from _Job(atlas, lm, settings, run, make_default, lone(lm, workers)).measure(chosen)


@dataclass(frozen=True)
class _Step:
    """A relation begins or ends, or a batch of it is to be measured: the others are of no prompt.

    new: the prompts of the batch that have no result yet.
    """

    relation: Relation
    what: Literal["begins", "batch", "ends"]
    prompts: int = 0
    new: Sequence[AskedPrompt] = ()

    @property
    def asked(self) -> bool:
        """Whether there is something to measure: prompts of one shape, not skipped ones."""
        return bool(self.new) and self.new[0].skipped_because is None


class _Job:
    """One call of `index`: what is measured but not committed yet, and when it last committed."""

    def __init__(
        self,
        atlas: AtlasFile,
        lm: LanguageModel,
        settings: IndexSettings,
        run: records.RunRecord,
        make_default: bool,
        workers: Workers,
    ) -> None:
        self.atlas, self.lm, self.settings, self.run = atlas, lm, settings, run
        self.workers = workers
        self.pending: list[records.PromptResults] = []
        self.committed_at = time.monotonic()
        # once made the default, it is not made so again: another may have been meanwhile
        self.was_default = not make_default

    def measure(self, chosen: Dataset) -> Iterator[IndexProgress]:
        """Record what is asked, measure what is missing, select relation by relation."""
        with self.atlas.writing(COMMIT_WAIT) as connection:
            records.record_dataset(connection, chosen)
            records.record_model(connection, model_record(self.lm, self.settings.model))
            record_shard(connection, self.run.run_id, self.settings.shard)
            records.record_run(connection, self.run)
            recorded = set(records.recorded_prompts(connection, self.run.run_id).tolist())
        status: Literal["interrupted", "finished"] = "interrupted"
        try:
            given_up = yield from self._relations(chosen, recorded)
            status = "interrupted" if given_up else "finished"
        finally:
            with self._writing_pending() as connection:
                records.finish_run(connection, self.run.run_id, status)
                if status == "finished" and self.settings.shard is not None:
                    finish_shard(connection, self.run.run_id, self.settings.shard)

    def _relations(
        self, chosen: Dataset, recorded: set[int]
    ) -> Generator[IndexProgress, None, tuple[NotMeasured, ...]]:
        total = sum(len(r.facts) * len(r.templates) for r in chosen.relations)
        at, started = IndexProgress(run_id=self.run.run_id, total=total), time.monotonic()
        outcomes = self.workers.outcomes(
            Attributing.by(self.settings),
            (
                (step, step.new if step.asked else None)
                for step in self._steps(chosen.relations, recorded)
            ),
        )
        with contextlib.closing(outcomes):
            for step, outcome in outcomes:
                if step.what == "begins":
                    at = replace(
                        at,
                        relation_id=step.relation.relation_id,
                        relation_done=0,
                        relation_total=step.prompts,
                        complete=False,
                    )
                elif step.what == "ends":
                    self._commit(step.relation.relation_id)
                    at = replace(at, complete=True)
                else:
                    at = self._batch(at, step, outcome)
                yield replace(at, seconds=time.monotonic() - started, workers=self.workers.count)
        return at.given_up

    def _steps(self, relations: Sequence[Relation], recorded: set[int]) -> Iterator[_Step]:
        for relation in relations:
            yield _Step(relation, "begins", len(relation.facts) * len(relation.templates))
            for batch in relation_batches(self.lm, relation, self.settings.position):
                new = [asked for asked in batch if asked.prompt_id not in recorded]
                yield _Step(relation, "batch", len(batch), new)
            yield _Step(relation, "ends")

    def _batch(
        self, at: IndexProgress, step: _Step, outcome: Outcome[records.PromptResults]
    ) -> IndexProgress:
        """Take what was measured of a batch, and commit if it is time."""
        if outcome.result is not None:
            self.pending.append(outcome.result)
        elif step.new and not step.asked:
            self.pending.append(skipped_results(step.new))
        if self.pending and time.monotonic() - self.committed_at > COMMIT_EVERY:
            self._commit()
        at = replace(at, relation_done=at.relation_done + step.prompts, done=at.done + step.prompts)
        if outcome.given_up is None:
            return replace(at, computed=at.computed + len(step.new))
        of = f"{step.relation.relation_id} {step.relation.label}"
        lost = NotMeasured.task(of, len(step.new), "prompt", outcome.given_up)
        return replace(at, given_up=(*at.given_up, lost))

    def _commit(self, complete_relation: str | None = None) -> None:
        with self._writing_pending() as connection:
            if complete_relation is not None and self.run.null_of is not None:
                for selection_id in selection_ids(connection, self.run.null_of):
                    select_null(connection, selection_id, self.run.run_id)
            elif complete_relation is not None:
                selection_id = select(
                    connection,
                    self.run.run_id,
                    self.settings.thresholds,
                    [complete_relation],
                    make_default=not self.was_default,
                )
                default = choose_selection(connection).selection_id
                self.was_default = self.was_default or default == selection_id

    @contextlib.contextmanager
    def _writing_pending(self) -> Iterator[DuckDBPyConnection]:
        """A transaction that begins with what is pending, which stays so if it fails."""
        with self.atlas.writing(COMMIT_WAIT) as connection:
            for results in self.pending:
                records.record_results(connection, self.run.run_id, results)
            yield connection
        # Ctrl-C may come before this line: recording results twice changes nothing.
        self.pending.clear()
        self.committed_at = time.monotonic()
