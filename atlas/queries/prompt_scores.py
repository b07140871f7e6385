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


def prompt_scores_report(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, wanted: str
) -> PromptScoresReport:
    """Every knowledge neuron of the fact in every measured prompt; raises as `one_fact`."""
    fact = one_fact(connection, wanted)
    scores = fetch(
        connection,
        PromptScore,
        """
        WITH own AS (
            SELECT layer, neuron, mean_score
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
              AND fact_id = $fact_id
        ),
        asked AS (
            SELECT p.prompt_id, p.text, m.max_score, m.p_answer
            FROM prompts AS p
            JOIN prompt_results AS m USING (prompt_id)
            WHERE p.fact_id = $fact_id
              AND m.run_id = $run_id
              AND m.skipped_because IS NULL
        )
        SELECT a.prompt_id,
               a.text,
               o.layer,
               o.neuron,
               s.score,
               s.score / nullif(a.max_score, 0) AS share,
               coalesce(
                   CASE WHEN $comparison = '>'
                        THEN s.score::DOUBLE > $ratio * a.max_score::DOUBLE
                        ELSE s.score::DOUBLE >= $ratio * a.max_score::DOUBLE END,
                   FALSE
               ) AS passes
        FROM asked AS a
        CROSS JOIN own AS o
        LEFT JOIN attributions AS s
               ON s.run_id = $run_id
              AND s.prompt_id = a.prompt_id
              AND s.layer = o.layer
              AND s.neuron = o.neuron
        ORDER BY a.p_answer DESC, a.prompt_id, o.mean_score DESC, o.layer, o.neuron
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
