"""What besides its weights decides a model's probabilities; the sign of what a neuron writes.

Of what is in an atlas already neither is known: NULL.
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

COMMENTS = {
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
    execute(COLUMNS)
    for column, text in COMMENTS.items():
        execute(f"COMMENT ON COLUMN {column} IS '{text}'")
