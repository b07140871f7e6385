"""What an atlas file holds: models, runs, selections, counts."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from atlas.answers import Answer
from atlas.queries.relations import SkipReason, skip_reasons
from atlas.selection.selections import SelectionSummary, selections
from atlas.store.rows import fetch, fetch_one


@dataclass(frozen=True)
class ModelSummary:
    """A model that was measured."""

    model_id: str
    name: str
    revision: str | None
    architecture: str
    objective: str  # masked | causal
    layers: int
    neurons_per_layer: int
    weights_sha256: str | None


@dataclass(frozen=True)
class RunSummary:
    """A run with its settings and how far it has come."""

    run_id: str
    model: str
    status: str  # running | interrupted | finished
    position: str  # where neurons are attributed: answer | subject
    method: str
    rule: str | None
    points: int | None
    tolerance: float | None
    measured_facts: int  # with a measured prompt
    known_facts: int  # of those
    measured: int  # prompts
    skipped: int  # prompts; SkipReason says why
    over_tolerance: int  # measured prompts whose completeness gap stayed over the tolerance
    attributions: int  # stored scores
    dataset: str
    dataset_digest: str
    model_id: str
    baseline: str | None
    dtype: str | None
    device: str | None
    seed: int | None
    score_floor: float | None
    atlas_version: str
    started_at: datetime
    finished_at: datetime | None
    settings: Any  # everything, as the run stored it
    environment: Any  # versions of what computed the numbers
    null_of: str | None  # the run whose facts it measures with shuffled objects; None: a real run
    shards: str | None  # those it was asked for, `1-3, 7 of 64`; None: not split, or all are there


@dataclass(frozen=True)
class RunProgress:
    """A run in a few words, and how far it has come."""

    run_id: str
    model: str
    status: str  # running | interrupted | finished
    position: str  # answer | subject
    method: str
    rule: str | None
    measured: int  # prompts
    null_of: str | None  # the run whose facts it measures with shuffled objects; None: a real run


@dataclass(frozen=True)
class AtlasTotals:
    """The file, its schema revision and the sizes of its dataset."""

    file: str
    bytes: int
    schema_revision: str
    relations: int
    templates: int
    facts: int
    prompts: int


@dataclass(frozen=True)
class AtlasInfo(Answer, rows="runs"):
    """Everything that `atlas info` shows."""

    totals: AtlasTotals
    models: tuple[ModelSummary, ...]  # by name
    runs: tuple[RunSummary, ...]  # latest first, each before its null
    skipped: tuple[SkipReason, ...]  # by run, most prompts first
    selections: tuple[SelectionSummary, ...]  # the default first


def atlas_info(connection: duckdb.DuckDBPyConnection, path: Path) -> AtlasInfo:
    """Reads the totals of the atlas that lies in the file `path`."""
    return AtlasInfo(
        totals=atlas_totals(connection, path),
        models=tuple(_models(connection)),
        runs=tuple(_runs(connection)),
        skipped=tuple(skip_reasons(connection)),
        selections=tuple(selections(connection)),
    )


def atlas_totals(connection: duckdb.DuckDBPyConnection, path: Path) -> AtlasTotals:
    """The file `path`, and how much is in its dataset."""
    revision, relations, templates, facts, prompts = fetch_one(
        connection,
        """
        SELECT (SELECT max(version_num) FROM alembic_version),
               (SELECT count(*) FROM relations),
               (SELECT count(*) FROM templates),
               (SELECT count(*) FROM facts WHERE null_of IS NULL),
               (SELECT count(*)
                FROM prompts
                SEMI JOIN (FROM facts WHERE null_of IS NULL) USING (fact_id))
        """,
    )
    return AtlasTotals(
        str(path), path.stat().st_size, revision, relations, templates, facts, prompts
    )


def _models(connection: duckdb.DuckDBPyConnection) -> list[ModelSummary]:
    return fetch(
        connection,
        ModelSummary,
        """
        SELECT model_id,
               name,
               revision,
               architecture,
               objective,
               layers,
               neurons_per_layer,
               weights_sha256
        FROM models
        ORDER BY name, model_id
        """,
    )


def run_progress(connection: duckdb.DuckDBPyConnection) -> list[RunProgress]:
    """Every run, latest first, without what only a look at all its scores would tell."""
    return fetch(
        connection,
        RunProgress,
        """
        WITH results AS (
            SELECT run_id, count(*) AS measured
            FROM prompt_results
            WHERE skipped_because IS NULL
            GROUP BY run_id
        )
        SELECT r.run_id,
               m.name AS model,
               r.status,
               r.position,
               r.method,
               r.rule,
               coalesce(results.measured, 0) AS measured,
               r.null_of
        FROM runs AS r
        JOIN models AS m USING (model_id)
        LEFT JOIN results USING (run_id)
        ORDER BY r.null_of IS NOT NULL, r.started_at DESC, r.run_id
        """,
    )


def run_summary(connection: duckdb.DuckDBPyConnection, run_id: str) -> RunSummary:
    """The run with this very id."""
    return next(run for run in _runs(connection) if run.run_id == run_id)


def _runs(connection: duckdb.DuckDBPyConnection) -> list[RunSummary]:
    rows = fetch(
        connection,
        RunSummary,
        """
        WITH results AS (
            SELECT run_id,
                   count(*) FILTER (WHERE skipped_because IS NULL) AS measured,
                   count(*) FILTER (WHERE skipped_because IS NOT NULL) AS skipped,
                   count(*) FILTER (WHERE over_tolerance) AS over_tolerance
            FROM prompt_results
            GROUP BY run_id
        ),
        knowledge AS (
            SELECT run_id,
                   count(*) AS facts,
                   count(*) FILTER (known) AS known
            FROM all_fact_knowledge
            GROUP BY run_id
        ),
        scores AS (
            SELECT run_id, count(*) AS attributions
            FROM attributions
            GROUP BY run_id
        ),
        parts AS (
            SELECT run_id,
                   list({'shards': shards, 'shard': shard} ORDER BY shards, shard) AS shards
            FROM run_shards
            GROUP BY run_id
        )
        SELECT r.run_id,
               m.name AS model,
               r.status,
               r.position,
               r.method,
               r.rule,
               r.points,
               r.tolerance,
               coalesce(knowledge.facts, 0) AS measured_facts,
               coalesce(knowledge.known, 0) AS known_facts,
               coalesce(results.measured, 0) AS measured,
               coalesce(results.skipped, 0) AS skipped,
               coalesce(results.over_tolerance, 0) AS over_tolerance,
               coalesce(scores.attributions, 0) AS attributions,
               r.dataset,
               r.dataset_digest,
               r.model_id,
               r.baseline,
               r.dtype,
               r.device,
               r.seed,
               r.score_floor,
               r.atlas_version,
               r.started_at,
               r.finished_at,
               r.settings,
               r.environment,
               r.null_of,
               parts.shards
        FROM runs AS r
        JOIN models AS m USING (model_id)
        LEFT JOIN results USING (run_id)
        LEFT JOIN knowledge USING (run_id)
        LEFT JOIN scores USING (run_id)
        LEFT JOIN parts USING (run_id)
        LEFT JOIN runs AS o ON o.run_id = r.null_of
        ORDER BY coalesce(o.started_at, r.started_at) DESC,
                 coalesce(r.null_of, r.run_id),
                 r.null_of IS NOT NULL,
                 r.run_id
        """,
    )
    return [_with_settings(row) for row in rows]


def _with_settings(run: RunSummary) -> RunSummary:
    parsed = {name: json.loads(getattr(run, name)) for name in ("settings", "environment")}
    return RunSummary(**{**vars(run), **parsed, "shards": _shards(run.shards)})


def _shards(stored: Any) -> str | None:
    """Shards in words: `3 of 64`, `1-3, 7 of 64`."""
    if stored is None:
        return None
    by_split: dict[int, list[int]] = {}
    for row in stored:
        by_split.setdefault(row["shards"], []).append(row["shard"])
    return "; ".join(f"{_ranges(found)} of {split}" for split, found in by_split.items())


def _ranges(numbers: list[int]) -> str:
    """Ascending numbers, neighbours drawn together."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)
