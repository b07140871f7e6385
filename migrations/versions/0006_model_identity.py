"""What besides its weights decides a model's probabilities; the sign of what a neuron writes.

Of what is in an atlas already neither is known: NULL. And `edit_summary` no longer counts an edit's
own prompts among those that it broke.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

COLUMNS = """
ALTER TABLE runs ADD COLUMN model_identity JSON;
ALTER TABLE edits ADD COLUMN model_identity JSON;
ALTER TABLE neuron_meanings ADD COLUMN model_identity JSON;
ALTER TABLE neuron_meanings ADD COLUMN activation REAL;
"""

SUMMARY = """
CREATE VIEW edit_summary AS
    WITH outcomes AS (
        SELECT edit_id,
               count(*) FILTER (WHERE NOT held_out) AS prompts,
               avg((new_rank_after = 1)::INTEGER) FILTER (WHERE NOT held_out) AS success,
               avg((new_rank_after = 1)::INTEGER) FILTER (WHERE held_out) AS held_out_success,
               avg((old_rank_after > 1)::INTEGER) FILTER (WHERE NOT held_out) AS old_gone,
               avg(p_old_before) FILTER (WHERE NOT held_out) AS p_old_before,
               avg(p_old_after) FILTER (WHERE NOT held_out) AS p_old_after,
               avg(p_new_before) FILTER (WHERE NOT held_out) AS p_new_before,
               avg(p_new_after) FILTER (WHERE NOT held_out) AS p_new_after
        FROM edit_outcomes
        GROUP BY edit_id
    ),
    checked AS (
        SELECT edit_id, count(*) AS checked_prompts
        FROM side_effects
        GROUP BY edit_id
    ),
    others AS (
        SELECT s.edit_id,
               count(*) AS other_prompts,
               count(*) FILTER (s.rank_before = 1 AND s.rank_after > 1) AS right_to_wrong,
               count(*) FILTER (s.rank_before > 1 AND s.rank_after = 1) AS wrong_to_right,
               avg(ln(greatest(s.p_after, 1e-30)) - ln(greatest(s.p_before, 1e-30)))
                   AS mean_delta_log_p
        FROM side_effects AS s
        JOIN edits AS e USING (edit_id)
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f ON f.fact_id = p.fact_id
        WHERE NOT coalesce(f.fact_id = e.fact_id, f.relation_id = e.relation_id, FALSE)
        GROUP BY s.edit_id
    )
    SELECT e.edit_id, e.kind, e.method, e.relation_id, e.subject, e.old_object, e.new_object,
           e.neurons, e.norm, e.state, e.created_at,
           o.prompts, o.success, o.held_out_success, o.old_gone,
           o.p_old_before, o.p_old_after, o.p_new_before, o.p_new_after,
           c.checked_prompts,
           s.other_prompts, s.right_to_wrong, s.wrong_to_right, s.mean_delta_log_p
    FROM edits AS e
    LEFT JOIN outcomes AS o USING (edit_id)
    LEFT JOIN checked AS c USING (edit_id)
    LEFT JOIN others AS s USING (edit_id)
    WHERE e.state <> 'deleted'
"""

COMMENTS = {
    "edit_summary.other_prompts": "of those, of other facts (of other relations, if it is of one)",
    "edit_summary.right_to_wrong": "of the other prompts, answered rightly before and not after",
    "edit_summary.wrong_to_right": "of the other prompts, answered rightly after and not before",
    "edit_summary.mean_delta_log_p": "over the other prompts",
    "runs.model_identity": (
        "what besides its weights decides the model: SHA-256 of configuration and tokenizer files, "
        "objective, version of the GGUF conversion; NULL: unknown"
    ),
    "edits.model_identity": "as in runs, of the model that it was made for",
    "neuron_meanings.model_identity": "as in runs, of the model that was asked",
    "neuron_meanings.activation": "mean where the model was asked; NULL: unknown",
}


def upgrade() -> None:
    execute = op.get_bind().exec_driver_sql
    said = execute(
        """
        SELECT column_name, comment
        FROM duckdb_columns()
        WHERE table_name = 'edit_summary'
          AND comment IS NOT NULL
        """
    ).fetchall()
    (summary,) = execute(
        "SELECT comment FROM duckdb_views() WHERE view_name = 'edit_summary'"
    ).fetchone()
    execute(COLUMNS)
    execute("DROP VIEW edit_summary")
    execute(SUMMARY)
    execute(f"COMMENT ON VIEW edit_summary IS '{_quoted(summary)}'")
    before = {f"edit_summary.{column}": text for column, text in said}
    for column, text in (before | COMMENTS).items():
        execute(f"COMMENT ON COLUMN {column} IS '{_quoted(text)}'")


def _quoted(text: str) -> str:
    return text.replace("'", "''")
