"""The synthetic dataset measured in parts, each in an atlas of its own: no model is asked.

Scores are scattered, so that a relation's sharing threshold comes to rest elsewhere in
a part than in the whole.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
from synthetic import MODEL, scatter_scores, synthetic_dataset, synthetic_results, synthetic_run

from atlas.atlas import open_atlas
from atlas.facts import Dataset
from atlas.indexing import records
from atlas.indexing.null_facts import shuffled
from atlas.indexing.null_run import null_run
from atlas.indexing.shards import Shard, finish_shard, record_shard
from atlas.selection.nulls import select_null
from atlas.selection.select import Thresholds, select

DATASET = synthetic_dataset(relations=2, facts=6, templates=7)
RUN = synthetic_run(DATASET)
NULL = shuffled(DATASET, 0)
NULL_RUN = null_run(RUN, NULL)
THRESHOLDS = Thresholds(
    ratio=0.6, target_low=2.0, target_high=2.5, against="answer", known_only=False
)


def measured(
    path: Path,
    facts: Sequence[str] | None = None,
    shard: Shard | None = None,
    run: records.RunRecord = RUN,
    *,
    null: bool = True,
) -> Path:
    """An atlas of these facts (None: all) or of this shard, with its selection and the null."""
    part = DATASET if facts is None else _only(DATASET, set(facts))
    part = part if shard is None else shard.part(part)
    kept = {fact.fact_id for relation in part.relations for fact in relation.facts}
    with open_atlas(path, create=True).writing() as connection:
        records.record_model(connection, MODEL)
        _measure(connection, DATASET, part, run, shard)
        scatter_scores(connection, 0.25, "prompt_id || ':' || neuron")
        selection_id = select(connection, run.run_id, THRESHOLDS)
        if null:
            of_null = _only(
                NULL.dataset,
                {f.fact_id for r in NULL.dataset.relations for f in r.facts if f.null_of in kept},
            )
            _measure(
                connection, NULL.dataset, of_null, replace(NULL_RUN, null_of=run.run_id), shard
            )
            select_null(connection, selection_id, replace(NULL_RUN, null_of=run.run_id).run_id)
    return path


def _only(dataset: Dataset, kept: set[str]) -> Dataset:
    return replace(
        dataset,
        relations=tuple(
            replace(r, facts=tuple(f for f in r.facts if f.fact_id in kept))
            for r in dataset.relations
        ),
    )


def _measure(
    connection: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    part: Dataset,
    run: records.RunRecord,
    shard: Shard | None,
) -> None:
    records.record_dataset(connection, part)
    record_shard(connection, run.run_id, shard)
    records.record_run(connection, run)
    kept = {
        records.prompt_id(fact.fact_id, template.template_id)
        for relation in part.relations
        for fact in relation.facts
        for template in relation.templates
    }
    for number in range(len(dataset.relations)):
        records.record_results(
            connection, run.run_id, _among(synthetic_results(dataset, number), kept)
        )
    records.finish_run(connection, run.run_id, "finished")
    if shard is not None:
        finish_shard(connection, run.run_id, shard)


def _among(results: records.PromptResults, kept: set[int]) -> records.PromptResults:
    found = results.attributions
    assert found is not None
    mask = [prompt in kept for prompt in found.prompt_id.tolist()]
    columns = {name: column[mask] for name, column in vars(found).items()}
    return records.PromptResults(
        [p for p in results.prompts if p.prompt_id in kept], records.Attributions(**columns)
    )
