"""Which neurons an edit may change, by what was stored of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import duckdb

from atlas.errors import NotFound
from atlas.facts import FactColumns
from atlas.selection.chosen import ChosenSelection, labelled
from atlas.selection.thresholds import WHOLE
from atlas.store.rows import fetch


@dataclass(frozen=True)
class SourceNeuron:
    """A neuron that an edit may change, with what spoke for it."""

    layer: int
    neuron: int
    score: float  # mean score over the prompts asked for; of a relation: its facts that have it


def selected_from(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    fact: FactColumns,
    prompt_ids: Sequence[int],
    measured: int,
) -> list[SourceNeuron]:
    """The fact's knowledge neurons as these prompts alone select them, highest mean score first.

    Ratio, comparison and the relation's sharing are the selection's; its minimum of prompts is
    taken in proportion, `len(prompt_ids)` of the `measured` ones. A selection without thresholds
    (neurons that others published) is taken as it is stored.
    """
    if selection.min_prompts is None or selection.ratio is None:
        return _as_stored(connection, selection.selection_id, fact.fact_id)
    row = connection.execute(
        """
        SELECT sharing
        FROM selection_relations
        WHERE selection_id = ?
          AND relation_id = ?
        """,
        [selection.selection_id, fact.relation_id],
    ).fetchone()
    if row is None:
        raise NotFound(
            f"selection {labelled(selection)} has not reached {fact.relation_id} yet: wait for "
            "`atlas index`, or run `atlas select`"
        )
    return fetch(
        connection,
        SourceNeuron,
        f"""
        WITH measured AS (
            SELECT prompt_id, $ratio * max_score::DOUBLE AS threshold
            FROM prompt_results
            WHERE run_id = $run_id
              AND prompt_id IN $prompts
        )
        SELECT a.layer,
               a.neuron,
               avg(a.score::DOUBLE) AS score
        FROM attributions AS a
        JOIN measured AS m USING (prompt_id)
        WHERE a.run_id = $run_id
          AND a.score > 0
          AND a.score::DOUBLE {selection.comparison} m.threshold
        GROUP BY a.layer, a.neuron
        HAVING count(*) * {WHOLE} // $count >= $sharing
           AND count(*) >= $at_least
        ORDER BY score DESC, a.layer, a.neuron
        """,
        {
            "ratio": selection.ratio,
            "run_id": selection.run_id,
            "prompts": list(prompt_ids),
            "count": len(prompt_ids),
            "sharing": round(row[0] * WHOLE),
            "at_least": ceil(selection.min_prompts * len(prompt_ids) / measured),
        },
    )


def _as_stored(
    connection: duckdb.DuckDBPyConnection, selection_id: str, fact_id: str
) -> list[SourceNeuron]:
    return fetch(
        connection,
        SourceNeuron,
        """
        SELECT layer, neuron, coalesce(mean_score, 0) AS score
        FROM knowledge_neurons
        WHERE selection_id = ?
          AND fact_id = ?
        ORDER BY score DESC, layer, neuron
        """,
        [selection_id, fact_id],
    )


def highest_scores(
    connection: duckdb.DuckDBPyConnection, run_id: str, prompt_ids: Sequence[int], count: int
) -> list[SourceNeuron]:
    """The neurons with the highest mean score over the prompts; what is not stored counts as 0."""
    return fetch(
        connection,
        SourceNeuron,
        """
        SELECT layer,
               neuron,
               sum(score::DOUBLE) / $prompt_count AS score
        FROM attributions
        WHERE run_id = $run_id
          AND prompt_id IN $prompts
        GROUP BY layer, neuron
        HAVING sum(score) > 0
        ORDER BY score DESC, layer, neuron
        LIMIT $count
        """,
        {
            "run_id": run_id,
            "prompts": list(prompt_ids),
            "prompt_count": len(prompt_ids),
            "count": count,
        },
    )


def mean_activations(
    connection: duckdb.DuckDBPyConnection, run_id: str, prompt_ids: Sequence[int]
) -> dict[tuple[int, int], float]:
    """The mean activation of every neuron with a stored score, over those of the prompts."""
    rows = connection.execute(
        """
        SELECT layer,
               neuron,
               avg(activation::DOUBLE)
        FROM attributions
        WHERE run_id = $run_id
          AND prompt_id IN $prompts
        GROUP BY layer, neuron
        """,
        {"run_id": run_id, "prompts": list(prompt_ids)},
    ).fetchall()
    return {(layer, neuron): activation for layer, neuron, activation in rows}


def common_neurons(
    connection: duckdb.DuckDBPyConnection, selection_id: str, relation_id: str, share: float
) -> set[tuple[int, int]]:
    """Neurons of more than `share` of the relation's facts, of those facts that have any.

    A neuron of a single fact is never common, however few facts the relation has.
    """
    rows = connection.execute(
        """
        WITH own AS (
            SELECT k.fact_id, k.layer, k.neuron
            FROM knowledge_neurons AS k
            JOIN facts AS f USING (fact_id)
            WHERE k.selection_id = $selection_id
              AND f.relation_id = $relation_id
        )
        SELECT layer, neuron
        FROM own
        GROUP BY layer, neuron
        HAVING count(*) > greatest(1, $share * (SELECT count(DISTINCT fact_id) FROM own))
        """,
        {"selection_id": selection_id, "relation_id": relation_id, "share": share},
    ).fetchall()
    return {(layer, neuron) for layer, neuron in rows}


def most_frequent(
    connection: duckdb.DuckDBPyConnection, selection_id: str, relation_id: str, count: int
) -> list[SourceNeuron]:
    """The neurons that are knowledge neurons of most of the relation's facts."""
    return fetch(
        connection,
        SourceNeuron,
        """
        SELECT k.layer,
               k.neuron,
               count(*)::DOUBLE AS score
        FROM knowledge_neurons AS k
        JOIN facts AS f USING (fact_id)
        WHERE k.selection_id = $selection_id
          AND f.relation_id = $relation_id
        GROUP BY k.layer, k.neuron
        ORDER BY count(*) DESC, sum(k.mean_score) DESC, k.layer, k.neuron
        LIMIT $count
        """,
        {"selection_id": selection_id, "relation_id": relation_id, "count": count},
    )
