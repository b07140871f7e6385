"""What an import of published neurons writes: a finished run and its one selection."""

import hashlib
from collections.abc import Mapping, Sequence

import duckdb

from atlas.facts import Dataset
from atlas.indexing import records
from atlas.selection.overlaps import refresh_overlaps
from atlas.selection.recorded import offer_default, record_selection
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

    A run that is there stays as it is, and its selection becomes the default again.
    """
    records.record_dataset(connection, dataset)
    records.record_model(connection, model)
    records.record_run(connection, run)
    selection_id = hashlib.sha256(f"{run.run_id}\0{PRESET}".encode()).hexdigest()[:12]
    settings = {"preset": PRESET}
    if record_selection(connection, selection_id, run.run_id, settings, None, [PRESET]):
        _add_relations(connection, selection_id, dataset, neurons)
        _add_neurons(connection, selection_id, neurons)
        refresh_overlaps(connection, selection_id)
    offer_default(connection, selection_id)
    records.finish_run(connection, run.run_id, "finished")
    return selection_id


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
