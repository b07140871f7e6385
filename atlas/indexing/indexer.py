"""The batch job: facts → prompts → attribution → the atlas file, relation by relation, resumable.

The file is open only while a commit is made. A batch is in the file whole or not at all, so that
whatever stops the job loses at most the batches since the last commit, and the next call goes on
with what is missing. A relation's knowledge neurons are selected with its last commit.
"""

import contextlib
import platform
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from duckdb import DuckDBPyConnection
from numpy.typing import NDArray

from atlas.engine.attribution import Attribution, attribute_targets
from atlas.facts import Dataset, Relation, Template
from atlas.indexing import records
from atlas.indexing.batches import AskedPrompt, relation_batches
from atlas.indexing.index_lock import indexing
from atlas.indexing.null_facts import Shuffled
from atlas.indexing.null_run import null_facts, null_run
from atlas.indexing.settings import COMMIT_WAIT, IndexSettings
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.prompts import UnusablePrompt, fill, read_anew
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
    run = _run_record(lm, dataset, settings)
    if null is not None:
        with atlas.reading(COMMIT_WAIT) as connection:
            chosen = null_facts(connection, run, chosen, null)
        run = null_run(run, null)
    yield from _Job(atlas, lm, settings, run, make_default).measure(chosen)


def _run_record(lm: LanguageModel, dataset: Dataset, settings: IndexSettings) -> records.RunRecord:
    how, integrated = settings.integration, settings.method == "integrated-gradients"
    adaptive = how.rule == "adaptive"
    return records.RunRecord(
        model_id=lm.model_id,
        position=settings.position,
        method=settings.method,
        rule=how.rule if integrated else None,
        points=how.points if integrated and not adaptive else None,
        tolerance=how.tolerance if integrated else None,
        dtype=lm.dtype,
        device=lm.device,
        score_floor=settings.score_floor,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        atlas_version=version("knowledge-neuron-atlas"),
        environment={
            **{package: version(package) for package in ("torch", "transformers", "numpy")},
            "python": platform.python_version(),
            "machine": platform.machine(),
            "threads": str(torch.get_num_threads()),
        },
        settings={
            "attention": lm.attention,
            **({"max_evaluations": how.max_evaluations} if integrated and adaptive else {}),
            **_reading(lm, dataset),
            **_answering(lm, dataset),
        },
        model_identity=None if lm.identity is None else str(lm.identity),
    )


def _reading(lm: LanguageModel, dataset: Dataset) -> dict[str, str]:
    """What sets a run apart from one of the same templates that asked some of them otherwise."""
    templates = (template.text for relation in dataset.relations for template in relation.templates)
    anew = any(read_anew(text, lm.objective, lm.tokenizer) for text in templates)
    return {"text": "as written"} if anew else {}


def _answering(lm: LanguageModel, dataset: Dataset) -> dict[str, str]:
    """What sets a run apart from one whose answers of several tokens had the mean of their scores.

    Nothing for a dataset without such an answer.
    """
    several = any(_of_several_tokens(lm, relation) for relation in dataset.relations)
    return {"answer": "joint"} if several else {}


def _of_several_tokens(lm: LanguageModel, relation: Relation) -> bool:
    """Whether a relation's answer has several tokens.

    Looked at once for every object and every way in which the templates' text joins it.
    """
    joints = {_around(t): t for t in relation.templates}
    for fact in {fact.object: fact for fact in relation.facts}.values():
        for template in joints.values():
            with contextlib.suppress(UnusablePrompt):
                if len(lm.targets(fill(template, fact), fact.object)) > 1:
                    return True
    return False


def _around(template: Template) -> tuple[str, str]:
    """The characters before and after the object."""
    before, _, after = template.text.partition("[Y]")
    return before[-1:], after[:1]


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
            records.record_model(connection, _model_record(self.lm, self.settings.model))
            records.record_run(connection, self.run)
            recorded = set(records.recorded_prompts(connection, self.run.run_id).tolist())
        status: Literal["interrupted", "finished"] = "interrupted"
        try:
            yield from self._relations(chosen, recorded)
            status = "finished"
        finally:
            with self._writing_pending() as connection:
                records.finish_run(connection, self.run.run_id, status)

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


def sparse_results(
    prompt_ids: Sequence[int], measured: Attribution, floor: float
) -> records.PromptResults:
    """What is stored of an attribution: a row a prompt, and its scores of at least the floor.

    A score is kept if |score| ≥ floor × the prompt's largest score (in float32, as it is stored),
    and one of a token of several likewise.
    """
    largest, keep = _kept(measured.scores, floor)
    prompt, layer, neuron = np.nonzero(keep)
    positive = np.where(measured.scores > 0, measured.scores, 0).sum((1, 2), dtype=np.float64)
    negative = np.where(measured.scores < 0, measured.scores, 0).sum((1, 2), dtype=np.float64)
    worst = np.abs(measured.completeness_gap).argmax(axis=1)
    gap = np.take_along_axis(measured.completeness_gap, worst[:, None], axis=1)[:, 0]
    has_gap = bool(np.isfinite(gap).all())
    return records.PromptResults(
        prompts=[
            records.PromptResult(
                prompt_id=identity,
                p_answer=float(measured.p_answer[i]),
                answer_rank=int(measured.answer_rank[i]),
                predicted=measured.predicted[i],
                p_predicted=float(measured.p_predicted[i]),
                answer_tokens=int(measured.answer_tokens[i]),
                max_score=float(largest[i]),
                positive_mass=float(positive[i]),
                negative_mass=float(negative[i]),
                layer_effect=float(measured.largest_effect[i]) if has_gap else None,
                completeness_gap=float(gap[i]) if has_gap else None,
                over_tolerance=bool(measured.over_tolerance[i]) if has_gap else None,
                gradient_evaluations=int(measured.evaluations[i].sum()),
            )
            for i, identity in enumerate(prompt_ids)
        ],
        attributions=records.Attributions(
            prompt_id=np.asarray(prompt_ids, np.int64)[prompt],
            layer=layer.astype(np.int16),
            neuron=neuron.astype(np.int32),
            score=measured.scores[keep],
            activation=measured.activations[keep],
        ),
        token_attributions=_of_tokens(prompt_ids, measured, floor),
    )


def _kept(
    scores: NDArray[np.float32], floor: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The largest score of each row [row, layer, neuron], and which of its scores are stored."""
    largest: NDArray[np.float32] = scores.max(axis=(1, 2))
    return largest, np.abs(scores) >= np.float32(floor) * np.abs(largest)[:, None, None]


def _of_tokens(
    prompt_ids: Sequence[int], measured: Attribution, floor: float
) -> records.TokenAttributions | None:
    several = [i for i, tokens in enumerate(measured.token_scores) if len(tokens) > 1]
    if not several:
        return None
    each = [measured.token_scores[i] for i in several]
    scores = np.concatenate(each)
    identities = np.repeat([prompt_ids[i] for i in several], [len(tokens) for tokens in each])
    tokens = np.concatenate([np.arange(len(tokens)) for tokens in each])
    _, keep = _kept(scores, floor)
    row, layer, neuron = np.nonzero(keep)
    return records.TokenAttributions(
        prompt_id=identities[row].astype(np.int64),
        token=tokens[row].astype(np.int16),
        layer=layer.astype(np.int16),
        neuron=neuron.astype(np.int32),
        score=scores[keep],
    )


def _model_record(lm: LanguageModel, named: str | LanguageModel) -> records.ModelRecord:
    here = Path(named).expanduser() if isinstance(named, str) else None
    return records.ModelRecord(
        name=lm.name,
        revision=lm.revision,
        architecture=lm.architecture,
        objective=lm.objective,
        layers=lm.layers,
        neurons_per_layer=lm.neurons_per_layer,
        weights_sha256=lm.weights_sha256,
        path=str(here.resolve()) if here is not None and here.exists() else None,
    )
