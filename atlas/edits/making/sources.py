"""What an edit is made from: a fact's measured prompts, and prompts of others to keep in place."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from atlas.errors import NotFound
from atlas.facts import FactColumns
from atlas.models.identity import ModelIdentity, stored_identity
from atlas.selection.chosen import ChosenSelection
from atlas.store.rows import fetch, fetch_one

# Rows of `MeasuredPrompt`, of prompts with a result in the run; a condition follows.
_OF_THE_RUN = """
        SELECT p.prompt_id, p.fact_id, f.object, p.text, p.subject_end
        FROM prompt_results AS m
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f USING (fact_id)
        WHERE m.run_id = $run_id
"""


@dataclass(frozen=True)
class MeasuredPrompt:
    """A prompt with a result in the run; `text` has the subject filled in and still has [Y].

    subject_end: index into text behind the subject; None: it names none.
    """

    prompt_id: int
    fact_id: str
    object: str
    text: str
    subject_end: int | None = None


def edited_fact(connection: duckdb.DuckDBPyConnection, fact_id: str) -> FactColumns:
    """The fact with this id; NotFound if there is none."""
    found = fetch(
        connection,
        FactColumns,
        """
        SELECT f.fact_id, f.relation_id, r.label AS relation, f.subject, f.object
        FROM facts AS f
        JOIN relations AS r USING (relation_id)
        WHERE f.fact_id = ?
        """,
        [fact_id],
    )
    if not found:
        raise NotFound(f"no fact with id '{fact_id}': `atlas query` finds facts by their subject")
    return found[0]


def model_of_run(
    connection: duckdb.DuckDBPyConnection, run_id: str
) -> tuple[str, ModelIdentity | None]:
    """The fingerprint of the weights that a run measured, and the model's identity if known."""
    weights, identity = fetch_one(
        connection,
        """
        SELECT m.weights_sha256, r.model_identity
        FROM runs AS r
        JOIN models AS m USING (model_id)
        WHERE r.run_id = ?
        """,
        [run_id],
    )
    return str(weights), stored_identity(identity)


def measured_prompts(
    connection: duckdb.DuckDBPyConnection, run_id: str, fact_ids: Sequence[str]
) -> list[MeasuredPrompt]:
    """The facts' prompts that the run measured, by prompt id (a hash, so in no telling order)."""
    return fetch(
        connection,
        MeasuredPrompt,
        f"""
        {_OF_THE_RUN}
          AND m.skipped_because IS NULL
          AND list_contains($facts, p.fact_id)
        ORDER BY p.prompt_id
        """,
        {"run_id": run_id, "facts": list(fact_ids)},
    )


def right_prompts(
    connection: duckdb.DuckDBPyConnection, run_id: str, edited: Sequence[str], count: int
) -> list[MeasuredPrompt]:
    """Prompts that the model answers right, in the order of a hash, at most so many.

    None of the edited facts, nor of others of the same subject and relation.
    """
    return fetch(
        connection,
        MeasuredPrompt,
        f"""
        {_OF_THE_RUN}
          AND m.answer_rank = 1
          AND NOT EXISTS (
              FROM facts AS e
              WHERE e.fact_id IN $edited
                AND e.relation_id = f.relation_id
                AND lower(nfc_normalize(e.subject)) = lower(nfc_normalize(f.subject))
          )
        ORDER BY md5(p.prompt_id::VARCHAR), p.prompt_id
        LIMIT $count
        """,
        {"run_id": run_id, "edited": list(edited), "count": count},
    )


def right_ones(
    connection: duckdb.DuckDBPyConnection, run_id: str, prompt_ids: Sequence[int]
) -> list[MeasuredPrompt]:
    """Those of the prompts that the run's model answers right, by prompt id."""
    return fetch(
        connection,
        MeasuredPrompt,
        f"""
        {_OF_THE_RUN}
          AND m.answer_rank = 1
          AND p.prompt_id IN $prompts
        ORDER BY p.prompt_id
        """,
        {"run_id": run_id, "prompts": list(prompt_ids)},
    )


def prompts_to_keep(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    fact: FactColumns,
    neurons: Sequence[tuple[int, int]],
    count: int,
) -> list[MeasuredPrompt]:
    """Prompts of other facts that an edit of `neurons` should leave alone, one per fact.

    Only prompts that the model answers right; not those of the same subject and relation. A third
    each: those with most of their stored score on the neurons, then, in the order of a hash,
    others of the same relation and of other relations.
    """
    return fetch(
        connection,
        MeasuredPrompt,
        """
        WITH edited AS (
            SELECT unnest($layers) AS layer, unnest($neurons) AS neuron
        ),
        candidates AS (
            SELECT p.prompt_id, p.fact_id, f.object, p.text, p.subject_end, f.relation_id,
                   m.max_score,
                   md5(p.prompt_id || $fact_id) AS draw
            FROM prompt_results AS m
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            WHERE m.run_id = $run_id
              AND m.answer_rank = 1
              AND NOT (
                  f.relation_id = $relation_id
                  AND lower(nfc_normalize(f.subject)) = lower(nfc_normalize($subject))
              )
        ),
        touched AS (
            SELECT a.prompt_id, sum(abs(a.score)) AS score
            FROM attributions AS a
            SEMI JOIN edited AS e ON a.layer = e.layer AND a.neuron = e.neuron
            WHERE a.run_id = $run_id
            GROUP BY a.prompt_id
        ),
        one_per_fact AS (
            SELECT c.prompt_id, c.fact_id, c.object, c.text, c.subject_end,
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
        SELECT prompt_id, fact_id, object, text, subject_end
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
