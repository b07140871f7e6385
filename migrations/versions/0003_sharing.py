"""Exact overlap statistics of a selection, measured interference, meaning, interactions."""

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = """
CREATE TABLE relation_overlaps (
    selection_id VARCHAR NOT NULL,
    relation_a VARCHAR NOT NULL,         -- relation_a <= relation_b; equal: within the relation
    relation_b VARCHAR NOT NULL,
    fact_pairs BIGINT NOT NULL,          -- unordered pairs of different facts
    shared_by_fact_pairs BIGINT NOT NULL,  -- neurons in common, summed over those pairs
    mean_shared_neurons DOUBLE NOT NULL,
    neurons_a INTEGER NOT NULL,          -- distinct neurons of relation_a
    neurons_b INTEGER NOT NULL,
    neurons_both INTEGER NOT NULL,       -- distinct neurons of both
    jaccard DOUBLE NOT NULL
);
CREATE TABLE interference_measurements (
    run_id VARCHAR NOT NULL,
    selection_id VARCHAR NOT NULL,
    source_fact VARCHAR NOT NULL,        -- whose neurons were suppressed
    fact_id VARCHAR NOT NULL,            -- on which it was measured
    role VARCHAR NOT NULL,               -- self | predicted | control
    predicted DOUBLE NOT NULL,           -- share of fact_id's score mass on source_fact's neurons
    prompts INTEGER NOT NULL,
    delta_log_p DOUBLE NOT NULL,         -- mean over prompts of log P suppressed - log P
    flips INTEGER NOT NULL,              -- prompts whose top answer changed
    right_to_wrong INTEGER NOT NULL
);
CREATE TABLE neuron_meanings (
    model_id VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    neuron INTEGER NOT NULL,
    side VARCHAR NOT NULL,               -- top | bottom
    position INTEGER NOT NULL,           -- 1 = furthest
    token VARCHAR NOT NULL,
    logit REAL NOT NULL                  -- what one unit of the neuron adds to the token's logit
);
CREATE TABLE neuron_associations (
    selection_id VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    neuron INTEGER NOT NULL,
    aspect VARCHAR NOT NULL,             -- relation | subject | object
    value VARCHAR NOT NULL,
    facts INTEGER NOT NULL,              -- of the neuron's facts, those with this value
    expected DOUBLE NOT NULL,
    p_value DOUBLE NOT NULL,             -- hypergeometric, one-sided
    q_value DOUBLE NOT NULL              -- Benjamini-Hochberg over neurons
);
CREATE TABLE interactions (
    selection_id VARCHAR NOT NULL,
    fact_id VARCHAR NOT NULL,
    layer_a SMALLINT NOT NULL,
    neuron_a INTEGER NOT NULL,
    layer_b SMALLINT NOT NULL,           -- (layer_a, neuron_a) < (layer_b, neuron_b)
    neuron_b INTEGER NOT NULL,
    effect_a REAL NOT NULL,              -- mean over prompts of log P with a suppressed - log P
    effect_b REAL NOT NULL,
    effect_ab REAL NOT NULL,
    interaction REAL NOT NULL            -- effect_ab - effect_a - effect_b
);
CREATE TABLE fact_interactions (
    selection_id VARCHAR NOT NULL,
    fact_id VARCHAR NOT NULL,
    neurons INTEGER NOT NULL,
    prompts INTEGER NOT NULL,
    log_p REAL NOT NULL,                 -- mean over prompts, nothing suppressed
    effect_all REAL NOT NULL,            -- all neurons suppressed together
    removing_greedy INTEGER,             -- size of the smallest set found that removes the answer
    removing_exact INTEGER,              -- the smallest there is; NULL for more than 10 neurons
    removing_sets INTEGER,               -- how many sets of that smallest size remove the answer
    removing_neurons VARCHAR             -- one of them, as layer:neuron separated by blanks
);
"""

# A run of published neurons (`atlas import`) tells neither its scores nor all of its settings.
UNKNOWN_OF_PUBLISHED_RUNS = """
ALTER TABLE models ALTER COLUMN weights_sha256 DROP NOT NULL;
ALTER TABLE runs ALTER COLUMN baseline DROP NOT NULL;
ALTER TABLE runs ALTER COLUMN dtype DROP NOT NULL;
ALTER TABLE runs ALTER COLUMN device DROP NOT NULL;
ALTER TABLE runs ALTER COLUMN score_floor DROP NOT NULL;
ALTER TABLE selections ALTER COLUMN ratio DROP NOT NULL;
ALTER TABLE selections ALTER COLUMN sharing DROP NOT NULL;
ALTER TABLE selections ALTER COLUMN comparison DROP NOT NULL;
ALTER TABLE selections ALTER COLUMN min_prompts DROP NOT NULL;
ALTER TABLE selection_relations ALTER COLUMN sharing DROP NOT NULL;
ALTER TABLE selection_relations ALTER COLUMN moves DROP NOT NULL;
ALTER TABLE knowledge_neurons ALTER COLUMN prompt_share DROP NOT NULL;
ALTER TABLE knowledge_neurons ALTER COLUMN mean_score DROP NOT NULL;
"""


def upgrade() -> None:
    for statement in (TABLES + UNKNOWN_OF_PUBLISHED_RUNS).split(";\n"):
        if statement.strip():
            op.execute(statement)
