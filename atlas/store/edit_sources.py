"""What an edit is made from: a fact's measured prompts, its neurons, and facts to keep in place."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import duckdb

from atlas.errors import NotFound
from atlas.store.rows import fetch, fetch_one
from atlas.store.selection_queries import ChosenSelection
from atlas.thresholds import WHOLE


@dataclass(frozen=True)
class EditedFact:
    """The fact that an edit is about."""

    fact_id: str
    relation_id: str
    relation: str
    subject: str
    object: str


@dataclass(frozen=True)
class MeasuredPrompt:
    """A prompt with a result in the run; `text` has the subject filled in and still has [Y]."""

    prompt_id: int
    fact_id: str
    object: str
    text: str


@dataclass(frozen=True)
class SourceNeuron:
    """A neuron that an edit may change, with what spoke for it."""

    layer: int
    neuron: int
    score: float  # mean score over the prompts asked for; of a relation: its facts that have it


def edited_fact(con: duckdb.DuckDBPyConnection, fact_id: str) -> EditedFact:
    """The fact with this id; NotFound if there is none."""
    found = fetch(
        con,
        EditedFact,
        """
        SELECT f.fact_id, f.relation_id, r.label AS relation, f.subject, f.object
        FROM facts AS f
        JOIN relations AS r USING (relation_id)
        WHERE f.fact_id = ?
        """,
        [fact_id],
    )
    if not found:
        raise NotFound(f"no fact with id '{fact_id}': `atlas query fact` finds facts by subject")
    return found[0]


def weights_of_run(con: duckdb.DuckDBPyConnection, run_id: str) -> str:
    """The fingerprint of the model that a run measured."""
    (weights,) = fetch_one(
        con,
        """
        SELECT m.weights_sha256
        FROM runs AS r
        JOIN models AS m USING (model_id)
        WHERE r.run_id = ?
        """,
        [run_id],
    )
    return str(weights)


def measured_prompts(
    con: duckdb.DuckDBPyConnection, run_id: str, fact_ids: Sequence[str]
) -> list[MeasuredPrompt]:
    """The facts' prompts that the run measured, by prompt id (a hash, so in no telling order)."""
    return fetch(
        con,
        MeasuredPrompt,
        """
        SELECT p.prompt_id, p.fact_id, f.object, p.text
        FROM prompts AS p
        JOIN facts AS f USING (fact_id)
        JOIN prompt_results AS m USING (prompt_id)
        WHERE m.run_id = $run_id
          AND m.skipped_because IS NULL
          AND list_contains($facts, p.fact_id)
        ORDER BY p.prompt_id
        """,
        {"run_id": run_id, "facts": list(fact_ids)},
    )


def selected_from(
    con: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    fact: EditedFact,
    prompt_ids: Sequence[int],
    measured: int,
) -> list[SourceNeuron]:
    """The fact's knowledge neurons as these prompts alone select them, highest mean score first.

    Ratio, comparison and the relation's sharing are the selection's; its minimum of prompts is
    taken in proportion, `len(prompt_ids)` of the `measured` ones. A selection without thresholds
    (neurons that others published) is taken as it is stored.
    """
    if selection.min_prompts is None or selection.ratio is None:
        return _as_stored(con, selection.selection_id, fact.fact_id)
    row = con.execute(
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
            f"selection {selection.selection_id} has not reached {fact.relation_id} yet: wait for "
            "`atlas index`, or run `atlas select`"
        )
    return fetch(
        con,
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
    con: duckdb.DuckDBPyConnection, selection_id: str, fact_id: str
) -> list[SourceNeuron]:
    return fetch(
        con,
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
    con: duckdb.DuckDBPyConnection, run_id: str, prompt_ids: Sequence[int], count: int
) -> list[SourceNeuron]:
    """The neurons with the highest mean score over the prompts; what is not stored counts as 0."""
    return fetch(
        con,
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
    con: duckdb.DuckDBPyConnection, run_id: str, prompt_ids: Sequence[int]
) -> dict[tuple[int, int], float]:
    """The mean activation of every neuron with a stored score, over those of the prompts."""
    rows = con.execute(
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
    con: duckdb.DuckDBPyConnection, selection_id: str, relation_id: str, share: float
) -> set[tuple[int, int]]:
    """Neurons of more than `share` of the relation's facts, of those facts that have any.

    A neuron of a single fact is never common, however few facts the relation has.
    """
    rows = con.execute(
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
    con: duckdb.DuckDBPyConnection, selection_id: str, relation_id: str, count: int
) -> list[SourceNeuron]:
    """The neurons that are knowledge neurons of most of the relation's facts."""
    return fetch(
        con,
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


def prompts_to_keep(
    con: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    fact: EditedFact,
    neurons: Sequence[tuple[int, int]],
    count: int,
) -> list[MeasuredPrompt]:
    """Prompts of other facts that an edit of `neurons` should leave alone, one per fact.

    Only prompts that the model answers right; not those of the same subject and relation. A third
    each: those with most of their stored score on the neurons, then, in the order of a hash,
    others of the same relation and of other relations.
    """
    return fetch(
        con,
        MeasuredPrompt,
        """
        WITH edited AS (
            SELECT unnest($layers) AS layer, unnest($neurons) AS neuron
        ),
        candidates AS (
            SELECT p.prompt_id, p.fact_id, f.object, p.text, f.relation_id,
                   m.max_score,
                   md5(p.prompt_id || $fact_id) AS draw
            FROM prompt_results AS m
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            WHERE m.run_id = $run_id
              AND m.answer_rank = 1
              AND NOT (f.relation_id = $relation_id AND lower(f.subject) = lower($subject))
        ),
        touched AS (
            SELECT a.prompt_id, sum(abs(a.score)) AS score
            FROM attributions AS a
            SEMI JOIN edited AS e ON a.layer = e.layer AND a.neuron = e.neuron
            WHERE a.run_id = $run_id
            GROUP BY a.prompt_id
        ),
        one_per_fact AS (
            SELECT c.prompt_id, c.fact_id, c.object, c.text,
                   c.relation_id = $relation_id AS same,
                   c.draw,
                   coalesce(t.score / c.max_score, 0) AS touch
            FROM candidates AS c
            LEFT JOIN touched AS t USING (prompt_id)
            QUALIFY row_number() OVER (
                PARTITION BY c.fact_id
                ORDER BY coalesce(t.score / c.max_score, 0) DESC, c.draw, c.prompt_id
            ) = 1
        ),
        ranked AS (
            SELECT *,
                   row_number() OVER (ORDER BY touch DESC, draw, prompt_id) AS by_touch,
                   row_number() OVER (PARTITION BY same ORDER BY draw, prompt_id) AS by_draw
            FROM one_per_fact
        )
        SELECT prompt_id, fact_id, object, text
        FROM ranked
        QUALIFY row_number() OVER (
            ORDER BY CASE WHEN by_touch <= $count // 3 THEN 0 ELSE 1 END,
                     CASE WHEN by_touch <= $count // 3 THEN by_touch ELSE by_draw END,
                     prompt_id
        ) <= $count
        ORDER BY prompt_id
        """,
        {
            "layers": [layer for layer, _ in neurons],
            "neurons": [neuron for _, neuron in neurons],
            "fact_id": fact.fact_id,
            "run_id": selection.run_id,
            "relation_id": fact.relation_id,
            "subject": fact.subject,
            "count": count,
        },
    )


def objects_of(con: duckdb.DuckDBPyConnection, relation_id: str) -> list[str]:
    """The relation's objects, most frequent first."""
    rows = con.execute(
        """
        SELECT object
        FROM facts
        WHERE relation_id = ?
        GROUP BY object
        ORDER BY count(*) DESC, object
        """,
        [relation_id],
    ).fetchall()
    return [str(row[0]) for row in rows]
