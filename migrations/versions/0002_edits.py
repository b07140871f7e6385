"""Edits, what they came to on their own prompts, and what they did to others.

No primary keys on the tables that grow with prompts, as in 0001: the writers keep them free of
duplicates.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
CREATE TABLE edits (
    edit_id INTEGER PRIMARY KEY,         -- 1, 2, ...; never given out a second time
    digest VARCHAR NOT NULL,             -- 12 hex digits over model, settings, neurons and deltas
    kind VARCHAR NOT NULL,               -- update | erase | suppress | amplify
    method VARCHAR NOT NULL,             -- paper | solve | zero | scale
    model_id VARCHAR NOT NULL,
    weights_sha256 VARCHAR NOT NULL,     -- of the model it was made for; refused on another
    run_id VARCHAR,                      -- NULL where the edit came from a file
    selection_id VARCHAR,
    relation_id VARCHAR,
    fact_id VARCHAR,                     -- NULL: the whole relation
    subject VARCHAR,
    old_object VARCHAR,
    new_object VARCHAR,                  -- NULL unless kind is update
    neurons INTEGER NOT NULL,
    norm DOUBLE NOT NULL,                -- Frobenius norm of all deltas
    state VARCHAR NOT NULL,              -- stored | reverted | deleted
    atlas_version VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    seconds DOUBLE NOT NULL,             -- that making it took
    settings JSON NOT NULL
);
CREATE TABLE edit_deltas (
    edit_id INTEGER NOT NULL,
    layer SMALLINT NOT NULL,
    neuron INTEGER NOT NULL,
    delta FLOAT[] NOT NULL               -- [d_model], added to the value vector
);
CREATE TABLE edit_outcomes (
    edit_id INTEGER NOT NULL,
    prompt_id BIGINT NOT NULL,
    held_out BOOLEAN NOT NULL,           -- played no part in choosing neurons or deltas
    p_old_before REAL NOT NULL,
    p_old_after REAL NOT NULL,
    p_new_before REAL,                   -- NULL unless kind is update
    p_new_after REAL,
    old_rank_before INTEGER NOT NULL,
    old_rank_after INTEGER NOT NULL,
    new_rank_before INTEGER,
    new_rank_after INTEGER,
    predicted_before VARCHAR NOT NULL,
    predicted_after VARCHAR NOT NULL
);
CREATE TABLE side_effects (
    edit_id INTEGER NOT NULL,
    prompt_id BIGINT NOT NULL,
    interference REAL NOT NULL,          -- share of the fact's score mass on the edited neurons
    p_before REAL NOT NULL,
    p_after REAL NOT NULL,
    rank_before INTEGER NOT NULL,
    rank_after INTEGER NOT NULL,
    predicted_before VARCHAR NOT NULL,
    predicted_after VARCHAR NOT NULL
);
"""

VIEWS = """
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
    effects AS (
        SELECT edit_id,
               count(*) AS checked_prompts,
               count(*) FILTER (WHERE rank_before = 1 AND rank_after > 1) AS right_to_wrong,
               count(*) FILTER (WHERE rank_before > 1 AND rank_after = 1) AS wrong_to_right,
               avg(ln(greatest(p_after, 1e-30)) - ln(greatest(p_before, 1e-30))) AS mean_delta_log_p
        FROM side_effects
        GROUP BY edit_id
    )
    SELECT e.edit_id, e.kind, e.method, e.relation_id, e.subject, e.old_object, e.new_object,
           e.neurons, e.norm, e.state, e.created_at,
           o.prompts, o.success, o.held_out_success, o.old_gone,
           o.p_old_before, o.p_old_after, o.p_new_before, o.p_new_after,
           s.checked_prompts, s.right_to_wrong, s.wrong_to_right, s.mean_delta_log_p
    FROM edits AS e
    LEFT JOIN outcomes AS o USING (edit_id)
    LEFT JOIN effects AS s USING (edit_id)
    WHERE e.state <> 'deleted';
"""


def upgrade() -> None:
    for statement in (TABLES + VIEWS).split(";\n"):
        if statement.strip():
            op.execute(statement)
