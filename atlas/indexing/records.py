"""What the indexer writes: dataset, model, run, results. Repeating a call changes no row.

Every function takes a connection from `AtlasFile.writing()`; the rows are there for others once
that block ends. Rows travel through Arrow, never one by one.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

import duckdb
import numpy as np
import numpy.typing as npt

from atlas.errors import StoreError
from atlas.facts import Dataset
from atlas.prompts import fill, subject_end
from atlas.store import bulk

_RELATION = ("relation_id", "label")
_TEMPLATE = ("template_id", "relation_id", "text")
_FACT = ("fact_id", "relation_id", "subject", "object", "null_of")
_PROMPT = ("prompt_id", "fact_id", "template_id", "text", "subject_end")


@dataclass(frozen=True)
class ModelRecord:
    """A row of `models`; models with the same weights are one model, under its first name.

    weights_sha256 is None for a model whose weights the atlas never saw: that of published neurons.
    """

    name: str
    revision: str | None
    architecture: str
    objective: str
    layers: int
    neurons_per_layer: int
    weights_sha256: str | None
    path: str | None = None  # where it was found: a hint

    @property
    def model_id(self) -> str:
        """The first twelve hex digits of the weights' SHA-256, or of that of name and shape."""
        if self.weights_sha256 is not None:
            return self.weights_sha256[:12]
        key = f"{self.name}\0{self.layers}\0{self.neurons_per_layer}"
        return hashlib.sha256(key.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class RunRecord:
    """A row of `runs`; `settings` holds every further setting that decides the numbers.

    What cannot change a number (batch size, the relations chosen this time) stays out of
    `settings`, so that another `atlas index` continues the run instead of starting one.
    """

    model_id: str
    method: str
    rule: str | None
    points: int | None
    tolerance: float | None
    dtype: str | None
    device: str | None
    score_floor: float | None
    dataset: str
    dataset_digest: str
    atlas_version: str
    settings: Mapping[str, Any]
    model_identity: str | None = None  # None: unknown, or a model that was never loaded
    position: str = "answer"
    baseline: str | None = "zero"
    seed: int | None = None
    null_of: str | None = None  # the run whose facts it measures with shuffled objects
    environment: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def run_id(self) -> str:
        """Twelve hex digits of SHA-256 over model, its identity, settings and dataset digest.

        Changing what goes into it changes every id. Left out are the dataset's name, since the
        digest says what is in it, and the versions of the atlas and of its environment.
        """
        decisive = _row(self)
        del decisive["dataset"], decisive["atlas_version"], decisive["environment"]
        decisive["settings"] = dict(self.settings)
        if self.model_identity is None:  # as before it was recorded
            del decisive["model_identity"]
        if self.position == "answer":  # as before there was another
            del decisive["position"]
        if self.null_of is None:  # a real run's id is older than nulls
            del decisive["null_of"]
        text = json.dumps(decisive, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class PromptResult:
    """A row of `prompt_results`: either measured, or only `skipped_because`."""

    prompt_id: int
    p_answer: float | None = None
    answer_rank: int | None = None
    predicted: str | None = None
    p_predicted: float | None = None
    answer_tokens: int | None = None
    max_score: float | None = None
    positive_mass: float | None = None
    negative_mass: float | None = None
    layer_effect: float | None = None
    completeness_gap: float | None = None
    over_tolerance: bool | None = None
    gradient_evaluations: int | None = None
    skipped_because: str | None = None


@dataclass(frozen=True, eq=False)
class Attributions:
    """Rows of `attributions` as parallel arrays, each of shape [row]."""

    prompt_id: npt.NDArray[np.int64]
    layer: npt.NDArray[np.int16]
    neuron: npt.NDArray[np.int32]
    score: npt.NDArray[np.float32]
    activation: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TokenAttributions:
    """Rows of `token_attributions` as parallel arrays, each of shape [row]."""

    prompt_id: npt.NDArray[np.int64]
    token: npt.NDArray[np.int16]
    layer: npt.NDArray[np.int16]
    neuron: npt.NDArray[np.int32]
    score: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PromptResults:
    """A batch: one PromptResult per prompt, and the sparse scores of the measured ones."""

    prompts: Sequence[PromptResult]
    attributions: Attributions | None = None  # None: every prompt was skipped
    token_attributions: TokenAttributions | None = None  # None: no answer has several tokens

    def __post_init__(self) -> None:
        """Refuse what no model can mean; such a batch is a bug of the caller's."""
        prompt_ids = np.array([p.prompt_id for p in self.prompts], np.int64)
        if len(np.unique(prompt_ids)) != len(prompt_ids):
            raise ValueError("a batch holds a prompt twice")
        if self.attributions is None:
            return
        if not np.isin(self.attributions.prompt_id, prompt_ids).all():
            raise ValueError("a batch holds scores of a prompt without its result")
        if not np.isfinite(self.attributions.score).all():
            raise ValueError("a batch holds scores that are not finite")


def prompt_id(fact_id: str, template_id: str) -> int:
    """The id of a prompt: 63 bits of SHA-256; changing this changes every id."""
    digest = hashlib.sha256(f"{fact_id}\0{template_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def record_dataset(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
    """Add relations, templates, facts and prompts that the atlas does not hold yet.

    A relation keeps its first label. StoreError if a fact's id stands for another triple.
    """
    relations = {r.relation_id: (r.relation_id, r.label) for r in dataset.relations}
    templates = {
        t.template_id: (t.template_id, t.relation_id, t.text)
        for r in dataset.relations
        for t in r.templates
    }
    facts = {
        f.fact_id: (f.fact_id, f.relation_id, f.subject, f.object, f.null_of)
        for r in dataset.relations
        for f in r.facts
    }
    prompts = {
        (f.fact_id, t.template_id): (
            prompt_id(f.fact_id, t.template_id),
            f.fact_id,
            t.template_id,
            fill(t, f),
            subject_end(t, f),
        )
        for r in dataset.relations
        for f in r.facts
        for t in r.templates
    }
    if facts:
        _refuse_other_triples(connection, bulk.as_columns(_FACT, facts.values()))
    bulk.insert_new(connection, "relations", _RELATION, relations.values())
    bulk.insert_new(connection, "templates", _TEMPLATE, templates.values())
    bulk.insert_new(connection, "facts", _FACT, facts.values())
    bulk.insert_new(connection, "prompts", _PROMPT, prompts.values())


def record_model(connection: duckdb.DuckDBPyConnection, model: ModelRecord) -> None:
    """Add the model, unless one with the same weights is there; that learns where it is now."""
    row = {"model_id": model.model_id, **_row(model)}
    bulk.insert_new(connection, "models", tuple(row), [tuple(row.values())])
    connection.execute(
        """
        UPDATE models
        SET path = $path
        WHERE model_id = $model_id
          AND $path IS NOT NULL
          AND path IS DISTINCT FROM $path
        """,
        {"model_id": model.model_id, "path": model.path},
    )


def record_run(connection: duckdb.DuckDBPyConnection, run: RunRecord) -> None:
    """Add the run with status "running"; one that is there stays as it is."""
    row = {
        "run_id": run.run_id,
        **_row(run),
        "settings": json.dumps(dict(run.settings), sort_keys=True),
        "environment": json.dumps(dict(run.environment), sort_keys=True),
        "status": "running",
        "started_at": _now(),
    }
    bulk.insert_new(connection, "runs", tuple(row), [tuple(row.values())])


def finish_run(
    connection: duckdb.DuckDBPyConnection, run_id: str, status: Literal["interrupted", "finished"]
) -> None:
    """Set the run's status; `finished_at` is when it first became "finished"."""
    finished_at = _now() if status == "finished" else None
    connection.execute(
        """
        UPDATE runs
        SET status = $status,
            finished_at = $finished_at
        WHERE run_id = $run_id
          AND status <> $status
        """,
        {"run_id": run_id, "status": status, "finished_at": finished_at},
    )


def record_results(
    connection: duckdb.DuckDBPyConnection, run_id: str, results: PromptResults
) -> None:
    """Add a batch; a prompt that has a result in this run already keeps it.

    A run that gets new rows is "running" again, whatever its status was.
    """
    known = _recorded_among(connection, run_id, [p.prompt_id for p in results.prompts])
    new = [p for p in results.prompts if p.prompt_id not in known]
    if not new:
        return
    names = [f.name for f in fields(PromptResult)]
    rows = [[run_id, *(getattr(p, name) for name in names)] for p in new]
    bulk.insert(connection, "prompt_results", bulk.as_columns(["run_id", *names], rows))
    for table in ("attributions", "token_attributions"):
        scores = getattr(results, table)
        if scores is None:
            continue
        columns = _row(scores)
        kept = ~np.isin(columns["prompt_id"], list(known))
        columns = {name: column[kept] for name, column in columns.items()}
        run_ids = [run_id] * int(kept.sum())
        bulk.insert(connection, table, {"run_id": run_ids, **columns})
    connection.execute(
        """
        UPDATE runs
        SET status = 'running',
            finished_at = NULL
        WHERE run_id = $run_id
          AND status <> 'running'
        """,
        {"run_id": run_id},
    )


def recorded_prompts(connection: duckdb.DuckDBPyConnection, run_id: str) -> npt.NDArray[np.int64]:
    """Ids of the prompts that have a result in the run, measured or skipped; shape [prompt]."""
    columns = connection.execute(
        """
        SELECT prompt_id
        FROM prompt_results
        WHERE run_id = $run_id
        ORDER BY prompt_id
        """,
        {"run_id": run_id},
    ).fetchnumpy()
    return np.asarray(columns["prompt_id"], np.int64)


def _recorded_among(
    connection: duckdb.DuckDBPyConnection, run_id: str, prompt_ids: list[int]
) -> set[int]:
    if not prompt_ids:
        return set()
    with bulk.offered(connection, {"prompt_id": prompt_ids}):
        rows = connection.execute(
            f"""
            SELECT prompt_id
            FROM prompt_results
            SEMI JOIN {bulk.OFFERED} USING (prompt_id)
            WHERE run_id = $run_id
            """,
            {"run_id": run_id},
        ).fetchall()
    return {row[0] for row in rows}


def _refuse_other_triples(
    connection: duckdb.DuckDBPyConnection, facts: Mapping[str, Sequence[Any]]
) -> None:
    with bulk.offered(connection, facts):
        rows = connection.execute(
            f"""
            SELECT o.fact_id, f.relation_id, f.subject, f.object
            FROM {bulk.OFFERED} AS o
            JOIN facts AS f USING (fact_id)
            WHERE (o.relation_id, o.subject, o.object) <> (f.relation_id, f.subject, f.object)
            ORDER BY o.fact_id
            LIMIT 1
            """
        ).fetchall()
    for row in rows:
        raise StoreError(
            f"fact {row[0]} is in the atlas as {row[2]} - {row[1]} - {row[3]}, the dataset says "
            "otherwise: index it into another file",
            parameters=["path"],
        )


def _row(record: Any) -> dict[str, Any]:
    """A dataclass's fields by name, values as they are."""
    return {f.name: getattr(record, f.name) for f in fields(record)}


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)  # the atlas's times are UTC
