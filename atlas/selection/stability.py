"""How stable a selection is: what other ratios, draws of prompts and half of them would choose.

`selection_frequency`: how often a fact chooses a neuron over the ratios of GRID and bootstraps of
the fact's measured prompts, exactly (see frequency.py); the sharing is the one that the selection
uses in the fact's relation, and min_prompts its own. `split_half_jaccard`: the prompts are halved
SPLITS times, each time in another order that their ids decide, and each half chooses neurons by the
selection's own thresholds, min_prompts in proportion.

Whether a neuron serves its answer elsewhere (`against`) is no matter of stability: neurons that a
selection leaves out for that count here as chosen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb
import numpy as np

from atlas.selection.frequency import agreement
from atlas.selection.passing_counts import count_passing
from atlas.selection.recorded import recorded_thresholds
from atlas.selection.thresholds import WHOLE, Thresholds
from atlas.store import bulk
from atlas.store.rows import fetch_one

FREQUENT = 0.5  # what is chosen as often is stored, also where the selection did not choose it


@dataclass(frozen=True)
class StabilityTables:
    """Where the stability of some facts stands: tables laid out as those named here."""

    facts: str = "fact_stability"
    neurons: str = "neuron_stability"


STORED = StabilityTables()
_UNSTORED = StabilityTables("unstored_fact_stability", "unstored_neuron_stability")


def refresh_stability(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    relations: Sequence[str] | None = None,
) -> None:
    """Store the stability of the relations (None: of all) of which it is not stored.

    Of an imported selection there is none. Selecting anew takes away what is outdated.
    """
    _record(connection, selection_id, _lacking(connection, selection_id, relations), STORED)


def stability_tables(
    connection: duckdb.DuckDBPyConnection, selection_id: str, relations: Sequence[str]
) -> StabilityTables:
    """Tables with the stability of these relations' facts.

    They are those stored; of a selection that an earlier version made, computed now and forgotten.
    """
    if not _lacking(connection, selection_id, relations):
        return STORED
    for table, stored in ((_UNSTORED.facts, STORED.facts), (_UNSTORED.neurons, STORED.neurons)):
        connection.execute(  # also a read-only file takes temporary tables
            f"""
            CREATE OR REPLACE TEMPORARY TABLE {table} AS
            FROM {stored}
            LIMIT 0
            """
        )
    everything = _settled(connection, selection_id, relations)
    _record(connection, selection_id, everything, _UNSTORED)
    return _UNSTORED


def keep_frequent(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    thresholds: Thresholds,
    sharing: Mapping[str, int],
    chosen: str,
) -> None:
    """Delete from `chosen` (fact_id, layer, neuron) what the thresholds' frequency rules out.

    sharing: what each relation came to, in millionths.
    """
    # how the halves choose is not asked here
    found = count_passing(connection, run_id, replace(thresholds, frequency=None), sharing)
    kept = found.frequent(thresholds)
    names = {"fact_id": found.fact_id, "layer": found.layer, "neuron": found.neuron}
    with bulk.offered(connection, {name: column[kept].tolist() for name, column in names.items()}):
        connection.execute(
            f"""
            DELETE FROM {chosen}
            WHERE (fact_id, layer, neuron) NOT IN (
                SELECT (fact_id, layer, neuron)
                FROM {bulk.OFFERED}
            )
            """
        )


def _lacking(
    connection: duckdb.DuckDBPyConnection, selection_id: str, relations: Sequence[str] | None
) -> dict[str, int]:
    """Those of the relations whose stability is not stored, with the sharing of each."""
    stored = {
        relation_id
        for (relation_id,) in connection.execute(
            """
            SELECT DISTINCT f.relation_id
            FROM fact_stability AS s
            JOIN facts AS f USING (fact_id)
            WHERE s.selection_id = $selection_id
            """,
            {"selection_id": selection_id},
        ).fetchall()
    }
    settled = _settled(connection, selection_id, relations)
    return {relation_id: s for relation_id, s in settled.items() if relation_id not in stored}


def _settled(
    connection: duckdb.DuckDBPyConnection, selection_id: str, relations: Sequence[str] | None
) -> dict[str, int]:
    """The sharing, in millionths, that each of the relations came to, if it has facts."""
    return dict(
        connection.execute(
            f"""
            SELECT relation_id,
                   round(sharing * {WHOLE})::BIGINT
            FROM selection_relations
            WHERE selection_id = $selection_id
              AND sharing IS NOT NULL
              AND facts > 0
              AND ($relations IS NULL OR relation_id IN $relations)
            """,
            {
                "selection_id": selection_id,
                "relations": None if relations is None else list(relations),
            },
        ).fetchall()
    )


def _record(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    sharing: Mapping[str, int],
    tables: StabilityTables,
) -> None:
    if not sharing:
        return
    (run_id,) = fetch_one(
        connection,
        """
        SELECT run_id
        FROM selections
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    )
    thresholds = recorded_thresholds(connection, selection_id)
    found = count_passing(connection, run_id, thresholds, sharing)
    frequency = found.frequency()
    stored = found.chosen(thresholds) | (frequency >= FREQUENT)
    bulk.insert(
        connection,
        tables.neurons,
        {
            "selection_id": [selection_id] * int(stored.sum()),
            "fact_id": found.fact_id[stored].tolist(),
            "layer": found.layer[stored].tolist(),
            "neuron": found.neuron[stored].tolist(),
            "selection_frequency": frequency[stored].tolist(),
        },
    )
    facts = dict(
        connection.execute(
            """
            SELECT fact_id,
                   any_value(prompts)
            FROM halved_prompts
            GROUP BY fact_id
            ORDER BY fact_id
            """
        ).fetchall()
    )
    place = {fact_id: i for i, fact_id in enumerate(facts)}
    of = np.array([place[fact_id] for fact_id in found.fact_id], np.int64)
    agreed = agreement(of, len(place), *found.chosen_by_halves(thresholds))
    bulk.insert(
        connection,
        tables.facts,
        {
            "selection_id": [selection_id] * len(place),
            "fact_id": list(facts),
            "prompts": list(facts.values()),
            "split_half_jaccard": [None if math.isnan(j) else j for j in agreed.jaccard.tolist()],
            "splits": agreed.splits.tolist(),
            "lowest_ratio": [found.ratios[0]] * len(place),
            "highest_ratio": [found.ratios[-1]] * len(place),
        },
    )
