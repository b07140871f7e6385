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

from atlas.engine.attribution import attribute_targets
from atlas.facts import Dataset
from atlas.indexing import records
from atlas.indexing.batches import AskedPrompt, relation_batches
from atlas.indexing.index_lock import indexing
from atlas.indexing.null_facts import Shuffled
from atlas.indexing.null_run import null_facts, null_run
from atlas.indexing.run_record import model_record, run_record
from atlas.indexing.settings import COMMIT_WAIT, IndexSettings
from atlas.indexing.shards import finish_shard, record_shard
from atlas.indexing.sparse_results import sparse_results
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
    complete: the relation is measured and its knowledge neurons are selected.
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


@contextlib.contextmanager
def indexing_on(path: Path, settings: IndexSettings) -> Iterator[tuple[AtlasFile, LanguageModel]]:
    """The atlas at `path`, with no other indexer at work on it, and the model to measure.

    Raises LockedAtlas at once if another indexer works on the file, and whatever `load_model` and
    `open_file` raise. There is no new file before the model is loaded.
    """
    with indexing(path):
        if path.exists():  # a file that cannot be used is refused before minutes of loading
            open_file(path, create=True)
        lm = settings.model
        if isinstance(lm, str):
            lm = load_model(lm, settings.dtype, settings.device)
        yield open_file(path, create=True), lm


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
) -> Generator[IndexProgress, None, None]:
    """Measure the chosen part of a dataset and select its knowledge neurons.

    The run is identified by model, settings and the whole dataset, so that choosing more relations
    or facts later continues it. Yields before every relation, after every batch of it, and when it
    is complete. make_default: whether its selection becomes the default one.

    null: the dataset with shuffled objects: measure these beside the real run, as many facts of it
    as that has measured, and look at them with all its selections. NotFound if it has measured
    none.
    """
    run = run_record(lm, dataset, settings)
    if null is not None:
        with atlas.reading(COMMIT_WAIT) as connection:
            chosen = null_facts(connection, run, chosen, null, settings.shard)
        run = null_run(run, null)
    yield from _Job(atlas, lm, settings, run, make_default).measure(chosen)


class _Job:
    """One call of `index`: what is measured but not committed yet, and when it last committed."""

    def __init__(
        self,
        atlas: AtlasFile,
        lm: LanguageModel,
        settings: IndexSettings,
        run: records.RunRecord,
        make_default: bool,
    ) -> None:
        self.atlas, self.lm, self.settings, self.run = atlas, lm, settings, run
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
            yield from self._relations(chosen, recorded)
            status = "finished"
        finally:
            with self._writing_pending() as connection:
                records.finish_run(connection, self.run.run_id, status)
                if status == "finished" and self.settings.shard is not None:
                    finish_shard(connection, self.run.run_id, self.settings.shard)

    def _relations(self, chosen: Dataset, recorded: set[int]) -> Iterator[IndexProgress]:
        total = sum(len(r.facts) * len(r.templates) for r in chosen.relations)
        at, started = IndexProgress(run_id=self.run.run_id, total=total), time.monotonic()
        for relation in chosen.relations:
            size = len(relation.facts) * len(relation.templates)
            at = replace(
                at,
                relation_id=relation.relation_id,
                relation_done=0,
                relation_total=size,
                complete=False,
                seconds=time.monotonic() - started,
            )
            yield at
            for batch in relation_batches(self.lm, relation, self.settings.position):
                new = [asked for asked in batch if asked.prompt_id not in recorded]
                if new:
                    self.pending.append(self._results(new))
                if self.pending and time.monotonic() - self.committed_at > COMMIT_EVERY:
                    self._commit()
                at = replace(
                    at,
                    relation_done=at.relation_done + len(batch),
                    done=at.done + len(batch),
                    computed=at.computed + len(new),
                    seconds=time.monotonic() - started,
                )
                yield at
            self._commit(relation.relation_id)
            at = replace(at, complete=True, seconds=time.monotonic() - started)
            yield at

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

    def _results(self, asked: Sequence[AskedPrompt]) -> records.PromptResults:
        """Measure a batch; its prompts are all of one shape, or all skipped."""
        if asked[0].skipped_because is not None:
            return records.PromptResults(
                [records.PromptResult(a.prompt_id, skipped_because=a.skipped_because)
                 for a in asked]
            )  # fmt: skip
        measured = attribute_targets(
            self.lm,
            [a.targets for a in asked],
            method=self.settings.method,
            how=self.settings.integration,
            memory_budget=self.settings.memory_budget,
        )
        return sparse_results([a.prompt_id for a in asked], measured, self.settings.score_floor)
