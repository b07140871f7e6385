"""Audits: other weights of a run's model held against its indexed facts."""

from alembic import op

revision = "0011"
down_revision = "0010"

AUDITS = """
CREATE TABLE audits (
    audit_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    checkpoint VARCHAR NOT NULL,
    weights_sha256 VARCHAR NOT NULL,
    noise_prompts INTEGER,
    noise_flips INTEGER,
    noise_delta_log_p DOUBLE,
    created_at TIMESTAMP NOT NULL,
    atlas_version VARCHAR NOT NULL
);
CREATE TABLE audit_neurons (
    audit_id VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    neuron INTEGER NOT NULL,
    norm DOUBLE NOT NULL,
    relative DOUBLE NOT NULL
);
CREATE TABLE audit_tensors (
    audit_id VARCHAR NOT NULL,
    tensor VARCHAR NOT NULL,
    parameters BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    relative DOUBLE NOT NULL
);
CREATE TABLE audit_effects (
    audit_id VARCHAR NOT NULL,
    prompt_id BIGINT NOT NULL,
    p_before REAL NOT NULL,
    p_after REAL NOT NULL,
    rank_before INTEGER NOT NULL,
    rank_after INTEGER NOT NULL,
    predicted_before VARCHAR NOT NULL,
    predicted_after VARCHAR NOT NULL
);
"""
AUDIT = "the audit, see `audits`"
COMMENTS = {
    "audits": "checkpoints that were held against a run's facts",
    "audits.audit_id": "digest of the run and the checkpoint's weights",
    "audits.run_id": "whose prompts were asked, and whose model is the one before",
    "audits.checkpoint": "as it was named: a directory, a GGUF file, a hub id, a PEFT adapter",
    "audits.weights_sha256": "of the checkpoint",
    "audits.noise_prompts": (
        "prompts that the run's own model was asked twice, in other batches; NULL: none yet"
    ),
    "audits.noise_flips": "top answers that differed between the two; NULL likewise",
    "audits.noise_delta_log_p": "largest difference of log P between the two, nats; NULL likewise",
    "audits.created_at": "UTC",
    "audits.atlas_version": "of the package that began it",
    "audit_neurons": "neurons whose value vectors differ from the run's model",
    "audit_neurons.audit_id": AUDIT,
    "audit_neurons.layer": "zero-based",
    "audit_neurons.neuron": "zero-based",
    "audit_neurons.norm": "length of the value vector's change",
    "audit_neurons.relative": "the same as a share of the value vector's own length",
    "audit_tensors": "tensors that differ from the run's model",
    "audit_tensors.audit_id": AUDIT,
    "audit_tensors.tensor": "its name in the model",
    "audit_tensors.parameters": "numbers in it",
    "audit_tensors.changed": "of these, that differ",
    "audit_tensors.relative": "Frobenius norm of the change as a share of the tensor's",
    "audit_effects": "prompts asked of the run's model and of the checkpoint",
    "audit_effects.audit_id": AUDIT,
    "audit_effects.prompt_id": "the prompt",
    "audit_effects.p_before": "probability of the fact's object, run's model",
    "audit_effects.p_after": "probability of the fact's object, checkpoint",
    "audit_effects.rank_before": "1 = top answer",
    "audit_effects.rank_after": "1 = top answer",
    "audit_effects.predicted_before": "the run's model's top answer",
    "audit_effects.predicted_after": "the checkpoint's top answer",
}


def upgrade() -> None:
    execute = op.get_bind().exec_driver_sql
    execute(AUDITS)
    for name, text in COMMENTS.items():
        kind = "COLUMN" if "." in name else "TABLE"
        quoted = text.replace("'", "''")
        execute(f"COMMENT ON {kind} {name} IS '{quoted}'")
