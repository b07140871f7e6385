"""The page on which the model is asked: what it can be asked like, and which edits there are."""

from dataclasses import dataclass

import duckdb

from atlas.edits.stored import EditSummary, edit_summaries
from atlas.indexing.run_model import selection_model
from atlas.prompts import MASK
from atlas.selection.chosen import ChosenSelection, OfSelection


@dataclass(frozen=True)
class AskPage(OfSelection, rows="edits"):
    """How the selection's model is asked, before it is loaded."""

    objective: str  # masked | causal
    example: str | None  # the prompt that it answers most surely right; None: none was measured
    answer: str | None  # that prompt's
    edits: tuple[EditSummary, ...]  # of this model, in force, oldest first


def ask_page(connection: duckdb.DuckDBPyConnection, selection: ChosenSelection) -> AskPage:
    """What is stored that helps to ask."""
    objective = selection_model(connection, selection.selection_id).objective
    example, answer = _surest(connection, selection.run_id) or (None, None)
    return AskPage(
        objective=objective,
        example=None if example is None else _typed(example, objective),
        answer=answer,
        edits=tuple(
            edit
            for edit in edit_summaries(connection)
            if edit.state == "stored" and edit.model_id == selection.model_id
        ),
    )


def _surest(connection: duckdb.DuckDBPyConnection, run_id: str) -> tuple[str, str] | None:
    """The prompt whose object has the highest P, it still being [Y], and the object."""
    found = connection.execute(
        """
        WITH best AS (
            SELECT prompt_id
            FROM prompt_results
            WHERE run_id = $run_id
              AND skipped_because IS NULL
            ORDER BY p_answer DESC, prompt_id
            LIMIT 1
        )
        SELECT p.text, f.object
        FROM best
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f USING (fact_id)
        """,
        {"run_id": run_id},
    ).fetchall()
    return (found[0][0], found[0][1]) if found else None


def _typed(text: str, objective: str) -> str:
    """The prompt as one types it: a causal model's ends where its answer begins."""
    if objective == "masked":
        return text.replace("[Y]", MASK)
    return text.partition("[Y]")[0].rstrip()
