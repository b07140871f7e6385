"""What a check writes. Repeating a call changes no row."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import duckdb

from atlas.errors import NotFound
from atlas.store import bulk


@dataclass(frozen=True)
class SideEffect:
    """A prompt's answer before and after an edit, and how its fact was expected to feel it."""

    prompt_id: int
    interference: float
    p_before: float
    p_after: float
    rank_before: int  # 1 = the model's top answer
    rank_after: int
    predicted_before: str
    predicted_after: str


def record_side_effects(
    connection: duckdb.DuckDBPyConnection, edit_id: int, effects: Sequence[SideEffect]
) -> None:
    """Add rows of prompts that have none for this edit. NotFound if it is deleted by now."""
    if not effects:
        return
    stored = connection.execute(
        """
        SELECT edit_id
        FROM edits
        WHERE edit_id = $edit_id
          AND state <> 'deleted'
        """,
        {"edit_id": edit_id},
    ).fetchall()
    if not stored:
        raise NotFound(f"edit {edit_id} was deleted while it was checked: nothing is kept of it")
    names = [f.name for f in fields(SideEffect)]
    rows = [[edit_id, *(getattr(effect, name) for name in names)] for effect in effects]
    with bulk.offered(connection, bulk.as_columns(["edit_id", *names], rows)):
        connection.execute(
            f"""
            INSERT INTO side_effects (edit_id, {", ".join(names)})
            SELECT edit_id, {", ".join(names)}
            FROM {bulk.OFFERED}
            ANTI JOIN side_effects USING (edit_id, prompt_id)
            """
        )


def checked_prompts(connection: duckdb.DuckDBPyConnection, edit_id: int) -> set[int]:
    """Ids of the prompts that the edit was checked on."""
    rows = connection.execute(
        """
        SELECT prompt_id
        FROM side_effects
        WHERE edit_id = $edit_id
        """,
        {"edit_id": edit_id},
    ).fetchall()
    return {int(row[0]) for row in rows}
