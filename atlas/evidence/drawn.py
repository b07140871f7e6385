"""Measured prompts of a run, drawn at random by a seed, with all that the run holds of them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt

from atlas.engine.settings import Integration
from atlas.errors import NoScores, NotFound, SettingsError
from atlas.store.rows import fetch, fetch_one

FEWEST = 64  # prompts that a share comes to at least: of fewer, chance decides what is found


@dataclass(frozen=True)
class Sample:
    """How many of a run's measured prompts are drawn: a share of them, or a count."""

    share: float | None = None
    count: int | None = None

    def of(self, prompts: int) -> int:
        """How many of so many prompts; a share is `FEWEST` at least."""
        if self.count is not None:
            return min(self.count, prompts)
        return min(max(FEWEST, math.ceil((self.share or 0.0) * prompts)), prompts)


def parse_sample(text: str | int) -> Sample:
    """`1%`, `100%` or `500`; SettingsError for anything else."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+) ?%|([0-9]+)", str(text).strip())
    if found is not None and found[1] is not None and 0 < float(found[1]) <= 100:
        return Sample(share=float(found[1]) / 100)
    if found is not None and found[2] is not None and int(found[2]) > 0:
        return Sample(count=int(found[2]))
    raise SettingsError(
        f"sample is '{text}': write a share such as 1%, or a number of prompts such as 500",
        parameters=["sample"],
    )


@dataclass(frozen=True)
class RunSettings:
    """What decided a run's numbers besides model and prompts."""

    method: str
    integration: Integration
    floor: float  # scores below this share of a prompt's largest are not stored
    position: str
    threads: str | None  # of torch; None: not recorded


def run_settings(connection: duckdb.DuckDBPyConnection, run_id: str) -> RunSettings:
    """The run's settings; NoScores for a run of published neurons."""
    method, rule, points, tolerance, evaluations, floor, position, threads = fetch_one(
        connection,
        """
        SELECT method,
               rule,
               points,
               tolerance,
               (settings ->> 'max_evaluations')::INTEGER,
               score_floor,
               position,
               environment ->> 'threads'
        FROM runs
        WHERE run_id = $run_id
        """,
        {"run_id": run_id},
    )
    if floor is None:
        raise NoScores(
            f"run {run_id} is of published neurons, without prompts and scores to measure again: "
            "verify a run that measured a model",
            parameters=["run"],
        )
    named = {
        "rule": rule,
        "points": points,
        "tolerance": tolerance,
        "max_evaluations": evaluations,
    }
    how = Integration(**{name: value for name, value in named.items() if value is not None})
    return RunSettings(method, how, floor, position, threads)


@dataclass(frozen=True)
class StoredPrompt:
    """What a run holds of a prompt but its scores; see the table prompt_results."""

    prompt_id: int
    relation_id: str
    subject: str
    object: str
    template: str
    text: str
    subject_end: int | None
    p_answer: float
    answer_rank: int
    predicted: str
    p_predicted: float
    answer_tokens: int
    max_score: float
    positive_mass: float | None  # None: measured before it was kept
    negative_mass: float | None
    completeness_gap: float | None  # None: the method has none
    gradient_evaluations: int


@dataclass(frozen=True, eq=False)
class StoredScores:
    """A prompt's rows of `attributions`: parallel arrays of shape [row]."""

    layer: npt.NDArray[np.int64]
    neuron: npt.NDArray[np.int64]
    score: npt.NDArray[np.float32]
    activation: npt.NDArray[np.float32]


def drawn_prompts(
    connection: duckdb.DuckDBPyConnection, run_id: str, sample: Sample, seed: int
) -> tuple[list[StoredPrompt], int]:
    """The prompts in the order of the draw, and of how many; NotFound if there is none."""
    measured = int(
        fetch_one(
            connection,
            """
            SELECT count(*)
            FROM prompt_results
            WHERE run_id = $run_id
              AND skipped_because IS NULL
            """,
            {"run_id": run_id},
        )[0]
    )
    if not measured:
        raise NotFound(
            f"run {run_id} has measured no prompt, so there is nothing to verify: index the model",
            parameters=["run"],
        )
    prompts = fetch(
        connection,
        StoredPrompt,
        """
        SELECT m.prompt_id,
               f.relation_id,
               f.subject,
               f.object,
               t.text AS template,
               p.text,
               p.subject_end,
               m.p_answer,
               m.answer_rank,
               m.predicted,
               m.p_predicted,
               m.answer_tokens,
               m.max_score,
               m.positive_mass,
               m.negative_mass,
               m.completeness_gap,
               m.gradient_evaluations
        FROM prompt_results AS m
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f USING (fact_id)
        JOIN templates AS t USING (template_id)
        WHERE m.run_id = $run_id
          AND m.skipped_because IS NULL
        ORDER BY md5(m.prompt_id || ' ' || $seed), m.prompt_id
        LIMIT $count
        """,
        {"run_id": run_id, "seed": str(seed), "count": sample.of(measured)},
    )
    return prompts, measured


def scores_of(
    connection: duckdb.DuckDBPyConnection, run_id: str, prompt_ids: Sequence[int]
) -> dict[int, StoredScores]:
    """The prompts' stored scores; none for a prompt without any."""
    rows = connection.execute(
        """
        SELECT prompt_id, layer, neuron, score, activation
        FROM attributions
        WHERE run_id = $run_id
          AND list_contains($prompt_ids, prompt_id)
        ORDER BY prompt_id, layer, neuron
        """,
        {"run_id": run_id, "prompt_ids": list(prompt_ids)},
    ).fetchnumpy()
    found = {}
    for prompt_id in prompt_ids:
        own = np.asarray(rows["prompt_id"] == prompt_id)
        found[prompt_id] = StoredScores(
            np.asarray(rows["layer"][own], np.int64),
            np.asarray(rows["neuron"][own], np.int64),
            np.asarray(rows["score"][own], np.float32),
            np.asarray(rows["activation"][own], np.float32),
        )
    return found
