"""Which facts a run's model knows: the view `all_fact_knowledge`, where that is defined."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from atlas.counted import counted
from atlas.errors import NotFound
from atlas.facts import FactColumns
from atlas.selection.chosen import ChosenSelection, labelled


def knowledge_of(facts: str) -> str:
    """A query for `fact_id, prompts, right_prompts, known, mean_p_answer`, a row a measured fact.

    What `all_fact_knowledge` says of run `$run_id`, of those facts alone that a table of the
    surrounding query has: the view would be made for all the run's facts first.
    """
    return f"""
            SELECT p.fact_id,
                   count(*) AS prompts,
                   count(*) FILTER (m.answer_rank = 1) AS right_prompts,
                   2 * count(*) FILTER (m.answer_rank = 1) >= count(*) AS known,
                   avg(m.p_answer) AS mean_p_answer
            FROM prompt_results AS m
            JOIN (FROM prompts SEMI JOIN {facts} USING (fact_id)) AS p USING (prompt_id)
            WHERE m.run_id = $run_id
              AND m.skipped_because IS NULL
            GROUP BY p.fact_id
            """


@dataclass(frozen=True)
class Knowledge:
    """How well the model of a run knows a fact."""

    known: bool | None  # None: no prompt of it was measured
    right: int  # measured prompts whose top answer is the object
    measured: int

    def left_out_of(self, selection: ChosenSelection) -> bool:
        """Whether the fact has no knowledge neuron there because it is not known."""
        return bool(selection.known_only) and self.known is False


NOT_MEASURED = Knowledge(None, 0, 0)


def fact_knowledge(
    connection: duckdb.DuckDBPyConnection, run_id: str, fact_ids: Sequence[str]
) -> dict[str, Knowledge]:
    """What the run says of these facts, by id; of those that have a measured prompt."""
    rows = connection.execute(
        """
        SELECT fact_id, known, right_prompts, prompts
        FROM all_fact_knowledge
        WHERE run_id = $run_id
          AND fact_id IN $facts
        """,
        {"run_id": run_id, "facts": list(fact_ids)},
    ).fetchall()
    return {fact_id: Knowledge(*found) for fact_id, *found in rows}


def no_neuron(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, fact: FactColumns
) -> NotFound:
    """What to say of a fact without a knowledge neuron, where a question needs one."""
    name = f"{fact.subject} {fact.relation_id}"
    found = fact_knowledge(connection, selection.run_id, [fact.fact_id])
    knows = found.get(fact.fact_id, NOT_MEASURED)
    if knows.left_out_of(selection):
        return NotFound(
            f"{name} is not known (right in {knows.right} of {counted(knows.measured, 'prompt')}) "
            f"and selection {labelled(selection)} is of known facts: select from all facts, or ask "
            "about another",
            parameters=["known_only"],
        )
    return NotFound(
        f"{name} has no knowledge neuron in selection {labelled(selection)}: ask about another fact"
    )
