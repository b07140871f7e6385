"""A synthetic atlas with an edit, its checks and measured interference: all that figures show."""

from pathlib import Path
from typing import Any

from synthetic import Synthetic, build

# What each figure must be told, beside the selection.
OF: dict[str, dict[str, Any]] = {"fact": {"fact": "P36-0"}, "edit": {"edit_id": 1}}


def build_plotted(path: Path, relations: int = 3, facts: int = 6, templates: int = 4) -> Synthetic:
    """Edit 1 updates P36-0; it and suppressing P36-0's neurons were measured on other facts."""
    made = build(path, relations, facts, templates)
    store_edit(made, 1)
    with made.atlas.writing() as connection:
        for i, (role, flips) in enumerate((("self", 3), ("predicted", 1), ("control", 0))):
            connection.execute(
                """
                INSERT INTO interference_measurements (
                    run_id, selection_id, source_fact, fact_id, role, predicted, prompts,
                    delta_log_p, flips, right_to_wrong
                )
                VALUES ($run_id, $selection_id, 'P36-0', $fact, $role, $predicted, 3, $delta, 0, $n)
                """,
                {
                    "run_id": made.run_id,
                    "selection_id": made.selection_id,
                    "fact": f"P36-{i}",
                    "role": role,
                    "predicted": 0.5 / (i + 1),
                    "delta": -1.0 / (i + 1),
                    "n": flips,
                },
            )
    return made


def store_edit(made: Synthetic, edit_id: int, fact_id: str | None = "P36-0") -> None:
    """An update of a fact, or without one an erasure of all P36, checked on every prompt.

    P(answer) fell from 0.5 to 0.25 everywhere; the right answer was lost in all prompts of P37-1.
    """
    with made.atlas.writing() as connection:
        connection.execute(
            """
            INSERT INTO edits (
                edit_id, digest, kind, method, model_id, weights_sha256, run_id, selection_id,
                relation_id, fact_id, subject, old_object, new_object, neurons, norm, state,
                atlas_version, created_at, seconds, settings
            )
            SELECT $edit_id, 'd', CASE WHEN $fact_id IS NULL THEN 'erase' ELSE 'update' END,
                   'paper', r.model_id, 'w', r.run_id, $selection_id, 'P36', f.fact_id, f.subject,
                   f.object, CASE WHEN f.fact_id IS NOT NULL THEN 'Town 1' END, 3, 1.0, 'stored',
                   '0', now()::TIMESTAMP, 0.1, '{}'
            FROM runs AS r
            LEFT JOIN facts AS f ON f.fact_id = $fact_id
            """,
            {"edit_id": edit_id, "fact_id": fact_id, "selection_id": made.selection_id},
        )
        connection.execute("INSERT INTO edit_deltas VALUES (?, 3, 0, [1.0])", [edit_id])
        connection.execute(
            """
            INSERT INTO edit_outcomes (
                edit_id, prompt_id, held_out, p_old_before, p_old_after, p_new_before, p_new_after,
                old_rank_before, old_rank_after, new_rank_before, new_rank_after,
                predicted_before, predicted_after
            )
            SELECT $edit_id, p.prompt_id, p.text LIKE '% 2 of %', 0.75, 0.25,
                   CASE WHEN $fact_id IS NOT NULL THEN 0.125 END,
                   CASE WHEN $fact_id IS NOT NULL THEN 0.5 END, 1, 2, 3, 1, 'a', 'b'
            FROM prompts AS p
            JOIN facts AS f USING (fact_id)
            WHERE f.relation_id = 'P36'
              AND ($fact_id IS NULL OR f.fact_id = $fact_id)
            """,
            {"edit_id": edit_id, "fact_id": fact_id},
        )
        connection.execute(
            """
            INSERT INTO side_effects (
                edit_id, prompt_id, interference, p_before, p_after, rank_before, rank_after,
                predicted_before, predicted_after
            )
            SELECT $edit_id, p.prompt_id, CASE WHEN p.fact_id = 'P37-1' THEN 0.25 ELSE 0 END,
                   0.5, 0.25, 1, CASE WHEN p.fact_id = 'P37-1' THEN 2 ELSE 1 END, 'a', 'b'
            FROM prompts AS p
            JOIN prompt_results AS r USING (prompt_id)
            WHERE r.skipped_because IS NULL
            """,
            {"edit_id": edit_id},
        )
