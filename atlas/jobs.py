"""Work that joins several rooms: an index with its interactions and its report.

What needs torch is imported when the progress is on the screen: that takes seconds.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from atlas.datasets import choose, read_dataset
from atlas.distributed.settings import ray_settings
from atlas.engine.settings import BOTH, POSITIONS, Integration, require_one_of
from atlas.errors import NotFound, SettingsError
from atlas.facts import Dataset
from atlas.given_up import NotMeasured
from atlas.indexing.null_facts import Shuffled, shuffled
from atlas.indexing.settings import COMMIT_WAIT, IndexSettings
from atlas.indexing.shards import Shard, as_shard
from atlas.interactions.stored import unexamined_facts
from atlas.progress import Advance, Loading, Progress, Reporter
from atlas.queries.info import RunSummary, run_summary
from atlas.queries.relations import SkipReason, skip_reasons
from atlas.reporting import reported, reporting
from atlas.selection.chosen import (
    ChosenSelection,
    OfSelection,
    choose_selection,
    default_selection,
    selection_ids,
)
from atlas.selection.nulls import null_selection_id
from atlas.selection.selections import (
    DefaultSelection,
    SelectionSummary,
    default_since,
    selections,
)
from atlas.store.atlas_file import AtlasFile

if TYPE_CHECKING:
    from atlas.distributed.workers import Workers
    from atlas.indexing.indexer import IndexProgress
    from atlas.models.language_model import LanguageModel

_GIB = 1 << 30
_INTEGRATION = ("rule", "points", "tolerance", "max_evaluations")


@dataclass(frozen=True)
class IndexReport(OfSelection, rows="skipped"):
    """What an index came to: its run, its selection, and what could not be asked."""

    run: RunSummary
    found: SelectionSummary | None  # what the selection found
    few_templates: tuple[str, ...]  # relations with fewer templates than min_prompts
    min_prompts: int  # that a knowledge neuron must pass in
    relations: tuple[str, ...]  # ids of the relations asked for
    skipped: tuple[SkipReason, ...]
    default: DefaultSelection  # the atlas's now, and what was before
    computed: int  # prompts that this call has measured, or found that the model cannot be asked
    null_left_out: tuple[str, ...]  # of a null: relations whose facts cannot all be made false
    given_up: tuple[NotMeasured, ...] = ()  # that took their workers with them
    at_subject: "IndexReport | None" = None  # the second run, where both positions were asked for


def index(
    path: Path | str,
    model: Union["LanguageModel", str, Path] = "mini-bert",
    data: Dataset | Path | str | None = None,
    *,
    relations: Sequence[str] = (),
    limit: int | None = None,
    memory_budget: float | None = None,
    position: str = "answer",
    interactions: bool = False,
    null: bool = False,
    seed: int = 0,
    shard: Shard | str | None = None,
    ray: str | None = None,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    progress: Progress = None,
    **settings: Any,
) -> IndexReport:
    """Measure facts on a model and select their knowledge neurons, into the atlas at `path`.

    data: a dataset or where one lies; None: the embedded one. relations: ids or labels; limit:
    facts of each, 0 and None: all. memory_budget: GiB that a pass may keep; changes no score.
    position: where neurons are attributed, at the `answer` position or the `subject`'s last token;
    `both` makes two runs, of which that at the answer is the default. interactions: also suppress
    every fact's neurons, each, in pairs and all. null: measure, of the facts that the same call
    without it has measured, the null: their objects shuffled within their relation by `seed`; the
    selections of the real run look at it, too. shard: "3/64" measures the third of 64 parts of all
    that; `atlas.merge` joins them to what one index would have made. ray, workers, gpus_per_worker:
    measure on workers of a Ray cluster, see `RaySettings`; this process alone writes. Further
    settings are those of `Integration` (rule, points, tolerance, max_evaluations) and
    `IndexSettings` (method, dtype, device, score_floor, thresholds).

    The same call again continues where it was stopped and changes nothing once it is done. There
    is no new file before the model is loaded.
    """
    if memory_budget is not None and not (math.isfinite(memory_budget) and memory_budget > 0):
        raise SettingsError(f"memory budget is {memory_budget}: give GiB, for example 0.5")
    if null and interactions:
        raise SettingsError(
            "interactions are of the real run: leave out the null or the interactions",
            parameters=["null", "interactions"],
        )
    part = as_shard(shard)
    if part is not None and interactions:
        raise SettingsError(
            "interactions are of neurons that are selected when the shards are merged: leave them "
            "out, and index the merged atlas with interactions, which measures nothing again",
            parameters=["shard", "interactions"],
        )
    dataset = (
        data if isinstance(data, Dataset) else read_dataset(None if data is None else Path(data))
    )
    chosen = choose(dataset, relations, limit)
    if part is not None:
        chosen = part.part(chosen)
    require_one_of((*POSITIONS, BOTH), "position", position)
    if position != "answer":
        _require_subjects(chosen)
    integration = Integration(**{n: settings.pop(n) for n in _INTEGRATION if n in settings})
    how = IndexSettings(
        model=str(model) if isinstance(model, Path) else model,
        position="answer" if position == BOTH else position,
        integration=integration,
        memory_budget=None if memory_budget is None else int(memory_budget * _GIB),
        shard=part,
        **settings,
    )
    if null and not Path(path).exists():
        raise NotFound(
            f"the null stands beside a real run, and there is no atlas {path}: index without the "
            "null first",
            parameters=["null"],
        )
    where = ray_settings(ray, workers, gpus_per_worker, how.device)
    if where is not None and not isinstance(how.model, str):
        raise SettingsError(
            "workers load the model by themselves: give its name or its path, not a loaded one",
            parameters=["model", "ray"],
        )
    null_facts = shuffled(dataset, seed) if null else None
    labels = {relation.relation_id: relation.label for relation in chosen.relations}
    with reporting(progress) as report:
        report(Loading(how.name))
        from atlas.indexing.indexer import indexing_on, require_real_run

        with indexing_on(Path(path), how, where) as (atlas, lm, crew):
            with atlas.reading(COMMIT_WAIT) as connection:
                before = default_selection(connection)
            runs = [how] if position != BOTH else [how, replace(how, position="subject")]
            if null_facts is not None:
                for run in runs:
                    require_real_run(atlas, lm, dataset, chosen, run, null_facts)
            reports = []
            for number, run in enumerate(runs):
                done = _measured(
                    atlas, lm, dataset, chosen, run, labels, report, not number, null_facts, crew
                )
                given_up = done.given_up
                if interactions:
                    selection_id = run.thresholds.selection_id(done.run_id)
                    given_up += _examined(atlas, lm, selection_id, list(labels), report, crew)
                found = _report(atlas, done.run_id, chosen, run, before, done.computed, null_facts)
                reports.append(replace(found, given_up=given_up))
    return reports[0] if len(reports) == 1 else replace(reports[0], at_subject=reports[1])


def _require_subjects(chosen: Dataset) -> None:
    """SettingsError if no template of the chosen relations names its subject."""
    if not any("[X]" in t.text for relation in chosen.relations for t in relation.templates):
        raise SettingsError(
            "no template of these relations has [X], so no prompt names its subject: measure at "
            "the answer, or give templates with [X]",
            parameters=["position"],
        )


def _measured(
    atlas: AtlasFile,
    lm: "LanguageModel",
    dataset: Dataset,
    chosen: Dataset,
    settings: IndexSettings,
    labels: Mapping[str, str],
    report: Reporter,
    make_default: bool,
    null: Shuffled | None,
    workers: "Workers",
) -> "IndexProgress":
    """Measure and select; returns where that stands at the end."""
    from atlas.indexing.indexer import IndexProgress, measure

    last = IndexProgress("", 0)
    # closing: if Ctrl-C comes while somebody draws, the indexer commits what it has
    work = measure(
        atlas,
        lm,
        dataset,
        chosen,
        settings,
        make_default=make_default,
        null=null,
        workers=workers,
    )
    with contextlib.closing(work) as events:
        for last in events:
            report(_advance(last, labels, settings.position))
    return last


def _advance(event: "IndexProgress", labels: Mapping[str, str], position: str) -> Advance:
    return Advance(
        "all relations" if position == "answer" else f"all relations at the {position}",
        event.done,
        event.total,
        event.computed,
        event.seconds,
        part=f"{event.relation_id} {labels[event.relation_id]}",
        part_done=event.relation_done,
        part_total=event.relation_total,
        complete=event.complete,
        workers=event.workers,
    )


def _examined(
    atlas: AtlasFile,
    lm: "LanguageModel",
    selection_id: str,
    relations: Sequence[str],
    report: Reporter,
    workers: "Workers",
) -> tuple[NotMeasured, ...]:
    """Examine the interactions that are missing of these relations' facts; returns the given up."""
    from atlas.interactions.examine import examine_and_record

    with atlas.reading(COMMIT_WAIT) as connection:
        facts = unexamined_facts(connection, selection_id, relations=relations)
    work = examine_and_record(atlas, lm, selection_id, facts, COMMIT_WAIT, workers)
    with contextlib.closing(work) as events:
        last = reported(events, report)
    return () if last is None else last.given_up


def _report(
    atlas: AtlasFile,
    run_id: str,
    chosen: Dataset,
    settings: IndexSettings,
    before: ChosenSelection | None,
    computed: int,
    null: Shuffled | None,
) -> IndexReport:
    thresholds = settings.thresholds
    selection_id = thresholds.selection_id(run_id)
    with atlas.reading() as connection:
        run = run_summary(connection, run_id)
        if run.null_of is not None:  # by these thresholds if the real run has such a selection
            there = selection_ids(connection, run_id)
            same = null_selection_id(thresholds.selection_id(run.null_of), run_id)
            selection_id = same if same in there else there[0]
        skipped = skip_reasons(connection, run_id)
        found = next((s for s in selections(connection) if s.selection_id == selection_id), None)
        selection = choose_selection(connection, selection_id, run_id)
        default = default_since(connection, before)
    return IndexReport(
        run=run,
        found=found,
        few_templates=tuple(
            r.relation_id for r in chosen.relations if len(r.templates) < thresholds.min_prompts
        ),
        min_prompts=thresholds.min_prompts,
        relations=tuple(r.relation_id for r in chosen.relations),
        skipped=tuple(skipped),
        default=default,
        computed=computed,
        null_left_out=() if null is None else null.left_out,
        selection=selection,
    )
