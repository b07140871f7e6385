"""What edits are made from and judged by: the activations of a run's prompts."""

from alembic import op

revision = "0008"
down_revision = "0007"

# Each subject has its statements and its comments, in one block.

ACTIVATIONS = """
CREATE TABLE prompt_activations (
    run_id VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    prompt_id BIGINT NOT NULL,
    token SMALLINT,
    position INTEGER NOT NULL,
    activations REAL[] NOT NULL
);
CREATE TABLE activation_layers (
    run_id VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    run_prompts INTEGER NOT NULL,
    prompts INTEGER NOT NULL,
    seed BIGINT NOT NULL,
    measured_at TIMESTAMP NOT NULL
);
"""
ACTIVATIONS_COMMENTS = {
    "prompt_activations": (
        "a layer's activations at single positions of a run's prompts, for second moments over "
        "any of its facts"
    ),
    "prompt_activations.run_id": "the run",
    "prompt_activations.layer": "zero-based",
    "prompt_activations.prompt_id": "the prompt, one that the run measured",
    "prompt_activations.token": (
        "which of the answer's tokens is asked for, from 0, at the position where the run measured "
        "neurons; NULL: another position of the prompt, drawn by its id"
    ),
    "prompt_activations.position": "index into the model's input tokens, from 0",
    "prompt_activations.activations": "of all neurons of the layer, by their index",
    "activation_layers": "layers whose activations are complete for the prompts that a run had",
    "activation_layers.run_id": "the run",
    "activation_layers.layer": "zero-based",
    "activation_layers.run_prompts": "measured prompts of the run then; others make it outdated",
    "activation_layers.prompts": (
        "of those, prompts with activations: at most so many that the atlas stays small, as many "
        "of every relation as it has"
    ),
    "activation_layers.seed": "of the choice of prompts",
    "activation_layers.measured_at": "when that was complete, UTC",
}


def upgrade() -> None:
    execute = op.get_bind().exec_driver_sql
    execute(ACTIVATIONS)
    _comment(ACTIVATIONS_COMMENTS)


def _comment(comments: dict[str, str]) -> None:
    """Describe columns, given as table.column, and tables and views, given as their name."""
    execute = op.get_bind().exec_driver_sql
    views = {name for (name,) in execute("SELECT view_name FROM duckdb_views()").fetchall()}
    for name, text in comments.items():
        kind = "COLUMN" if "." in name else "VIEW" if name in views else "TABLE"
        quoted = text.replace("'", "''")
        execute(f"COMMENT ON {kind} {name} IS '{quoted}'")
