"""Measured interference: choosing on which facts, writing what came out."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from atlas.facts import FactColumns
from atlas.selection.sites import SUBJECT_END
from atlas.store import bulk
from atlas.store.rows import fetch


@dataclass(frozen=True)
class InterferenceMeasurement:
    """A row of `interference_measurements`."""

    run_id: str
    selection_id: str
    source_fact: str
    fact_id: str
    role: str  # self | predicted | control | random
    predicted: float
    predicted_change: float
    prompts: int
    delta_log_p: float
    flips: int
    right_to_wrong: int


@dataclass(frozen=True)
class MeasuredFact(FactColumns):
    """A fact's measured prompts."""

    mean_p_answer: float
    texts: list[str]  # the object still [Y], by prompt id
    subject_ends: list[int | None]  # per text; None: neurons are measured at the answer


@dataclass(frozen=True)
class StoredMeasurement(FactColumns):
    """What suppressing a fact's neurons did to a fact, as it was measured."""

    role: str  # self | predicted | control | random
    predicted: float  # share of its score mass on the neurons
    predicted_change: float | None  # of delta_log_p, from the signed scores
    prompts: int
    delta_log_p: float  # mean over prompts, nats
    flips: int  # prompts whose top answer changed
    right_to_wrong: int


def stored_measurements(
    connection: duckdb.DuckDBPyConnection, selection_id: str, fact_id: str
) -> list[StoredMeasurement]:
    """What is stored of suppressing the fact's neurons, the largest loss first; often nothing."""
    return fetch(
        connection,
        StoredMeasurement,
        """
        SELECT f.relation_id,
               r.label AS relation,
               f.fact_id,
               f.subject,
               f.object,
               m.role,
               m.predicted,
               m.predicted_change,
               m.prompts,
               m.delta_log_p,
               m.flips,
               m.right_to_wrong
        FROM interference_measurements AS m
        JOIN facts AS f USING (fact_id)
        JOIN relations AS r USING (relation_id)
        WHERE m.selection_id = $selection_id
          AND m.source_fact = $fact_id
        ORDER BY m.role <> 'self', m.delta_log_p, f.fact_id
        """,
        {"selection_id": selection_id, "fact_id": fact_id},
    )


def measured_facts(
    connection: duckdb.DuckDBPyConnection, run_id: str, fact_ids: Sequence[str] | None = None
) -> list[MeasuredFact]:
    """Facts with a measured prompt, all of the run or those named, by fact id."""
    return fetch(
        connection,
        MeasuredFact,
        f"""
        SELECT f.fact_id,
               f.relation_id,
               n.label AS relation,
               f.subject,
               f.object,
               avg(m.p_answer) AS mean_p_answer,
               list(p.text ORDER BY p.prompt_id) AS texts,
               list({SUBJECT_END} ORDER BY p.prompt_id) AS subject_ends
        FROM prompt_results AS m
        JOIN runs AS r USING (run_id)
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f USING (fact_id)
        JOIN relations AS n USING (relation_id)
        WHERE m.run_id = $run_id
          AND m.skipped_because IS NULL
          AND ($fact_ids IS NULL OR f.fact_id IN $fact_ids)
        GROUP BY f.fact_id, f.relation_id, n.label, f.subject, f.object
        ORDER BY f.fact_id
        """,
        {"run_id": run_id, "fact_ids": None if fact_ids is None else list(fact_ids)},
    )


def record_measurements(
    connection: duckdb.DuckDBPyConnection, measurements: Sequence[InterferenceMeasurement]
) -> None:
    """Put them in the place of what was measured with the same source and selection."""
    first = measurements[0]
    connection.execute(
        """
        DELETE FROM interference_measurements
        WHERE selection_id = ?
          AND source_fact = ?
        """,
        [first.selection_id, first.source_fact],
    )
    bulk.insert_records(connection, "interference_measurements", measurements)
