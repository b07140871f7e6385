"""A fact's knowledge neurons prompt by prompt: do paraphrases find the same ones?"""

from dataclasses import dataclass

import duckdb

from atlas.queries.facts import NamedFact, one_fact
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.store.rows import fetch


@dataclass(frozen=True)
class PromptScore:
    """One knowledge neuron in one of the fact's measured prompts."""

    prompt_id: int
    text: str  # subject filled in, the object still [Y]
    layer: int
    neuron: int
    score: float | None  # None: below what the run stored
    share: float | None  # of the prompt's largest score
    passes: bool  # the selection's ratio; False where the selection has none


@dataclass(frozen=True)
class PromptScoresReport(OfSelection, rows="scores"):
    """A fact's knowledge neurons in each of its measured prompts."""

    fact: NamedFact
    prompts: int
    neurons: int
    scores: tuple[PromptScore, ...]  # by prompt, then the neurons with most score first


def neurons_in_prompts() -> str:
    """A query for a fact's knowledge neurons in its measured prompts, a row each of both.

    Columns: fact_id, prompt_id, text, p_answer, answer_rank, predicted, max_score, layer, neuron,
    mean_score, and score, NULL below what the run stored. Of `$fact_id` in `$run_id` and
    `$selection_id`.
    """
    return """
            SELECT p.fact_id,
                   p.prompt_id,
                   p.text,
                   r.p_answer,
                   r.answer_rank,
                   r.predicted,
                   r.max_score,
                   k.layer,
                   k.neuron,
                   k.mean_score,
                   a.score
            FROM prompts AS p
            JOIN prompt_results AS r USING (prompt_id)
            JOIN knowledge_neurons AS k USING (fact_id)
            LEFT JOIN attributions AS a
              ON a.run_id = r.run_id
             AND a.prompt_id = p.prompt_id
             AND a.layer = k.layer
             AND a.neuron = k.neuron
            WHERE p.fact_id = $fact_id
              AND r.run_id = $run_id
              AND r.skipped_because IS NULL
              AND k.selection_id = $selection_id
            """


def prompt_scores_report(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, wanted: str
) -> PromptScoresReport:
    """Every knowledge neuron of the fact in every measured prompt; raises as `one_fact`."""
    fact = one_fact(connection, wanted)
    scores = fetch(
        connection,
        PromptScore,
        f"""
        WITH cells AS (
            {neurons_in_prompts()}
        )
        SELECT prompt_id,
               text,
               layer,
               neuron,
               score,
               score / nullif(max_score, 0) AS share,
               coalesce(
                   CASE WHEN $comparison = '>'
                        THEN score::DOUBLE > $ratio * max_score::DOUBLE
                        ELSE score::DOUBLE >= $ratio * max_score::DOUBLE END,
                   FALSE
               ) AS passes
        FROM cells
        ORDER BY p_answer DESC, prompt_id, mean_score DESC, layer, neuron
        """,
        {
            "selection_id": selection.selection_id,
            "run_id": selection.run_id,
            "fact_id": fact.fact_id,
            "ratio": selection.ratio,
            "comparison": selection.comparison,
        },
    )
    return PromptScoresReport(
        fact=fact,
        prompts=len({score.prompt_id for score in scores}),
        neurons=len({(score.layer, score.neuron) for score in scores}),
        scores=tuple(scores),
    )
