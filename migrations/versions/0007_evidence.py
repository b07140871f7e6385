"""Where neurons were attributed, and what is known of how far they can be trusted."""

from alembic import op

revision = "0007"
down_revision = "0006"

# Each subject has its statements and its comments, in one block.

POSITION = """
ALTER TABLE runs ADD COLUMN position VARCHAR DEFAULT 'answer';
ALTER TABLE prompts ADD COLUMN subject_end INTEGER;
UPDATE prompts AS p
SET subject_end = instr(t.text, '[X]') - 1 + length(f.subject)
FROM templates AS t, facts AS f
WHERE t.template_id = p.template_id
  AND f.fact_id = p.fact_id
  AND contains(t.text, '[X]');
"""
POSITION_COMMENTS = {
    "runs.position": "where neurons are attributed: answer | subject, its last token",
    "prompts.subject_end": "characters of text up to the end of the subject; NULL: it names none",
}

WITHIN_OBJECTS = """
ALTER TABLE neuron_associations ADD COLUMN expected_within_objects DOUBLE;
ALTER TABLE neuron_associations ADD COLUMN p_within_objects DOUBLE;
ALTER TABLE neuron_associations ADD COLUMN q_within_objects DOUBLE;
"""
WITHIN_OBJECTS_COMMENTS = {
    "neuron_associations.expected_within_objects": "how many by chance with objects as they are",
    "neuron_associations.p_within_objects": "of a relation: exact, one-sided, objects as strata",
    "neuron_associations.q_within_objects": "Benjamini-Hochberg over as many tests as q_value",
}


def upgrade() -> None:
    execute = op.get_bind().exec_driver_sql
    execute(POSITION)
    _comment(POSITION_COMMENTS)
    execute(WITHIN_OBJECTS)
    _comment(WITHIN_OBJECTS_COMMENTS)


def _comment(comments: dict[str, str]) -> None:
    """Describe columns, given as table.column, and tables and views, given as their name."""
    execute = op.get_bind().exec_driver_sql
    views = {name for (name,) in execute("SELECT view_name FROM duckdb_views()").fetchall()}
    for name, text in comments.items():
        kind = "COLUMN" if "." in name else "VIEW" if name in views else "TABLE"
        quoted = text.replace("'", "''")
        execute(f"COMMENT ON {kind} {name} IS '{quoted}'")
