"""A fact's knowledge neurons prompt by prompt: do paraphrases find the same ones?"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import duckdb

from atlas.queries.named_facts import NamedFact, one_fact
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.store.rows import fetch

MOST_TOKENS = 32767  # that an answer may have: `token_attributions.token` is a SMALLINT


@dataclass(frozen=True)
class _Score:
    prompt_id: int
    text: str  # subject filled in, the object still [Y]
    layer: int
    neuron: int
    score: float | None  # None: below what the run stored
    share: float | None  # of the prompt's largest score
    passes: bool  # the selection's ratio; False where the selection has none


@dataclass(frozen=True)
class _Cell(_Score):
    fact_id: str
    answer_tokens: int


@dataclass(frozen=True)
class PromptScore(_Score):
    """One knowledge neuron in one of the fact's measured prompts."""

    token_scores: tuple[float | None, ...]  # each token's own, of several; None likewise


@dataclass(frozen=True)
class PromptScoresReport(OfSelection, rows="scores"):
    """A fact's knowledge neurons in each of its measured prompts."""

    fact: NamedFact
    prompts: int
    neurons: int
    scores: tuple[PromptScore, ...]  # by prompt, then the neurons with most score first


def neurons_in_prompts() -> str:
    """A query for a fact's knowledge neurons in its measured prompts, a row each of both.

    Columns: fact_id, prompt_id, text, p_answer, answer_rank, predicted, max_score, answer_tokens,
    layer, neuron, mean_score, and score, NULL below what the run stored. Of `$fact_ids` in
    `$run_id` and `$selection_id`.
    """
    return """
            SELECT p.fact_id,
                   p.prompt_id,
                   p.text,
                   r.p_answer,
                   r.answer_rank,
                   r.predicted,
                   r.max_score,
                   r.answer_tokens,
                   k.layer,
                   k.neuron,
                   k.mean_score,
                   a.score
            FROM prompts AS p
            JOIN prompt_results AS r USING (prompt_id)
            JOIN knowledge_neurons AS k USING (fact_id)
            LEFT JOIN (
                SELECT prompt_id, layer, neuron, score
                FROM attributions
                -- by what is named: a left join alone would read the scores of all prompts
                SEMI JOIN (FROM prompts WHERE fact_id IN $fact_ids) USING (prompt_id)
                WHERE run_id = $run_id
            ) AS a
              ON a.prompt_id = p.prompt_id
             AND a.layer = k.layer
             AND a.neuron = k.neuron
            WHERE p.fact_id IN $fact_ids
              AND r.run_id = $run_id
              AND r.skipped_because IS NULL
              AND k.selection_id = $selection_id
            """


def prompt_scores_report(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, wanted: str
) -> PromptScoresReport:
    """Every knowledge neuron of the fact in every measured prompt; raises as `one_fact`."""
    return scores_of(connection, selection, [one_fact(connection, wanted)])[0]


def scores_of(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, facts: Sequence[NamedFact]
) -> list[PromptScoresReport]:
    """The same of several facts, in their order."""
    ids = [fact.fact_id for fact in facts]
    cells = fetch(
        connection,
        _Cell,
        f"""
        WITH cells AS (
            {neurons_in_prompts()}
        )
        SELECT fact_id,
               prompt_id,
               text,
               layer,
               neuron,
               score,
               score / nullif(max_score, 0) AS share,
               answer_tokens,
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
            "fact_ids": ids,
            "ratio": selection.ratio,
            "comparison": selection.comparison,
        },
    )
    several = any(cell.answer_tokens > 1 for cell in cells)
    of_tokens = _token_scores(connection, selection, ids) if several else {}
    scores: dict[str, list[PromptScore]] = {fact_id: [] for fact_id in ids}
    for cell in cells:
        own = {field.name: getattr(cell, field.name) for field in fields(_Score)}
        tokens = of_tokens.get((cell.prompt_id, cell.layer, cell.neuron), ())
        scores[cell.fact_id].append(PromptScore(**own, token_scores=tokens))
    return [_report(fact, scores[fact.fact_id]) for fact in facts]


def _report(fact: NamedFact, scores: Sequence[PromptScore]) -> PromptScoresReport:
    return PromptScoresReport(
        fact=fact,
        prompts=len({score.prompt_id for score in scores}),
        neurons=len({(score.layer, score.neuron) for score in scores}),
        scores=tuple(scores),
    )


def _token_scores(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, fact_ids: Sequence[str]
) -> dict[tuple[int, int, int], tuple[float | None, ...]]:
    """Scores for each token of answers of several tokens, by prompt, layer and neuron."""
    rows = connection.execute(
        f"""
        WITH cells AS (
            {neurons_in_prompts()}
        )
        SELECT c.prompt_id,
               c.layer,
               c.neuron,
               list(t.score ORDER BY n.token)
        FROM cells AS c
        JOIN prompt_results AS r
          ON r.run_id = $run_id
         AND r.prompt_id = c.prompt_id
        JOIN range($most) AS n(token)
          ON n.token < r.answer_tokens
        LEFT JOIN token_attributions AS t
          ON t.run_id = $run_id
         AND t.prompt_id = c.prompt_id
         AND t.token = n.token
         AND t.layer = c.layer
         AND t.neuron = c.neuron
        WHERE r.answer_tokens > 1
        GROUP BY c.prompt_id, c.layer, c.neuron
        """,
        {
            "selection_id": selection.selection_id,
            "run_id": selection.run_id,
            "fact_ids": list(fact_ids),
            "most": MOST_TOKENS,
        },
    ).fetchall()
    return {(prompt, layer, neuron): tuple(scores) for prompt, layer, neuron, scores in rows}
