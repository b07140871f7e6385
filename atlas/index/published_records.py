"""What an import of published neurons writes: a finished run and its one selection."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import duckdb

from atlas.facts import Dataset
from atlas.index import records
from atlas.selection.overlaps import refresh_overlaps
from atlas.store import bulk

PRESET = "published"


def record_published(
    connection: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    model: records.ModelRecord,
    run: records.RunRecord,
    neurons: Mapping[str, Sequence[tuple[int, int]]],
) -> str:
    """Add the run with its knowledge neurons, by fact id; returns the selection's id.

    A run that is there stays as it is, and its selection becomes the latest one again.
    """
    records.record_dataset(connection, dataset)
    records.record_model(connection, model)
    records.record_run(connection, run)
    selection_id = hashlib.sha256(f"{run.run_id}\0{PRESET}".encode()).hexdigest()[:12]
    if _ask_for(connection, selection_id, run.run_id):
        _add_relations(connection, selection_id, dataset, neurons)
        _add_neurons(connection, selection_id, neurons)
        refresh_overlaps(connection, selection_id)
        refresh_overlaps(connection, selection_id)
    records.finish_run(connection, run.run_id, "finished")
    return selection_id


def _ask_for(connection: duckdb.DuckDBPyConnection, selection_id: str, run_id: str) -> bool:
    """Make the selection the latest; returns whether it is new."""
    found = connection.execute(
        """
        SELECT count(*) FILTER (WHERE selection_id = $selection_id),
               max(asked_at) FILTER (WHERE selection_id = $selection_id),
               max(asked_at)
        FROM selections
        """,
        {"selection_id": selection_id},
    ).fetchone()
    known, asked_at, latest = found or (0, None, None)
    if known and asked_at == latest:
        return False
    now = datetime.now(UTC).replace(tzinfo=None)
    if latest:  # a clock that was set back must not make an older selection the latest
        now = max(now, latest + timedelta(microseconds=1))
    connection.execute(
        """
        INSERT INTO selections (
            selection_id, run_id, preset, ratio, sharing, comparison, min_prompts,
            created_at, asked_at, settings
        )
        VALUES (
            $selection_id, $run_id, $preset, NULL, NULL, NULL, NULL,
            $now, $now, $settings
        )
        ON CONFLICT (selection_id) DO UPDATE SET asked_at = excluded.asked_at
        """,
        {
            "selection_id": selection_id,
            "run_id": run_id,
            "preset": PRESET,
            "now": now,
            "settings": json.dumps({"preset": PRESET}),
        },
    )
    return not known


def _add_relations(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    dataset: Dataset,
    neurons: Mapping[str, Sequence[tuple[int, int]]],
) -> None:
    relations = dataset.relations
    of = {r.relation_id: sum(len(neurons[f.fact_id]) for f in r.facts) for r in relations}
    bulk.insert(
        connection,
        "selection_relations",
        {
            "selection_id": [selection_id] * len(relations),
            "relation_id": [r.relation_id for r in relations],
            "facts": [len(r.facts) for r in relations],
            "prompts": [0] * len(relations),
            "mean_neurons": [of[r.relation_id] / len(r.facts) for r in relations],
        },
    )


def _add_neurons(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    neurons: Mapping[str, Sequence[tuple[int, int]]],
) -> None:
    facts = sorted(neurons)
    rows = [(fact_id, *pair) for fact_id in facts for pair in neurons[fact_id]]
    fact_ids, layers, indices = zip(*rows, strict=True) if rows else ((), (), ())
    bulk.insert(
        connection,
        "knowledge_neurons",
        {
            "selection_id": [selection_id] * len(rows),
            "fact_id": fact_ids,
            "layer": layers,
            "neuron": indices,
        },
    )
