"""Where neurons were attributed, and what is known of how far they can be trusted."""

from alembic import op

revision = "0007"
down_revision = "0006"

# Each subject has its statements and its comments, in one block.

POSITION = """
ALTER TABLE runs ADD COLUMN position VARCHAR DEFAULT 'answer';
ALTER TABLE neuron_meanings ADD COLUMN site VARCHAR DEFAULT 'answer';
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
    "neuron_meanings.site": "where the model was linearised: the run's position",
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

# Of what was measured before, the parts below the floor are not known any more: NULL.
MASSES = """
ALTER TABLE prompt_results ADD COLUMN positive_mass DOUBLE;
ALTER TABLE prompt_results ADD COLUMN negative_mass DOUBLE;
CREATE TABLE token_attributions (
    run_id VARCHAR NOT NULL,
    prompt_id BIGINT NOT NULL,
    token SMALLINT NOT NULL,
    layer SMALLINT NOT NULL,
    neuron INTEGER NOT NULL,
    score REAL NOT NULL
);
"""
MASSES_COMMENTS = {
    "prompt_results.positive_mass": "sum of all positive scores, those below the floor too; "
    "NULL: not kept when it was measured",
    "prompt_results.negative_mass": "sum of all negative scores, likewise",
    "prompt_results.predicted": "the model's own top answer, of as many tokens as the answer",
    "prompt_results.completeness_gap": "signed, of the layer where it is largest; of several "
    "answer tokens that of the worst one",
    "prompt_results.layer_effect": "max over layers of |F(1) - F(0)|; of several answer tokens "
    "that of the one with the worst gap",
    "fact_masses.share": "of the fact's mass on all neurons; of the stored mass where a prompt's "
    "positive_mass is NULL",
    "token_attributions": "scores of single tokens, of prompts whose answer has several",
    "token_attributions.run_id": "the run",
    "token_attributions.prompt_id": "the prompt",
    "token_attributions.token": "which of the answer's tokens, from 0",
    "token_attributions.layer": "zero-based",
    "token_attributions.neuron": "zero-based, in its layer",
    "token_attributions.score": "attribution of P(token) behind those before it, from the floor on",
}


def upgrade() -> None:
    execute = op.get_bind().exec_driver_sql
    execute(POSITION)
    _comment(POSITION_COMMENTS)
    execute(WITHIN_OBJECTS)
    _comment(WITHIN_OBJECTS_COMMENTS)
    execute(MASSES)
    _comment(MASSES_COMMENTS)


def _comment(comments: dict[str, str]) -> None:
    """Describe columns, given as table.column, and tables and views, given as their name."""
    execute = op.get_bind().exec_driver_sql
    views = {name for (name,) in execute("SELECT view_name FROM duckdb_views()").fetchall()}
    for name, text in comments.items():
        kind = "COLUMN" if "." in name else "VIEW" if name in views else "TABLE"
        quoted = text.replace("'", "''")
        execute(f"COMMENT ON {kind} {name} IS '{quoted}'")
