"""The atlas's first schema: models, dataset, runs, scores, selections.

No foreign keys: DuckDB's have no CASCADE and freeze the parent table. Tables that grow with the
number of prompts have no primary key either (an index of that size would slow every open); the
writers keep them free of duplicates with anti-joins.
"""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE models (
    model_id VARCHAR PRIMARY KEY,        -- first 12 hex digits of weights_sha256
    name VARCHAR NOT NULL,               -- as the user named it: mini-bert, a path's stem, a hub id
    revision VARCHAR,
    architecture VARCHAR NOT NULL,       -- transformers' model_type
    objective VARCHAR NOT NULL,          -- masked | causal
    layers INTEGER NOT NULL,
    neurons_per_layer INTEGER NOT NULL,
    weights_sha256 VARCHAR NOT NULL
);
CREATE TABLE relations (
    relation_id VARCHAR PRIMARY KEY,     -- P36
    label VARCHAR NOT NULL               -- capital
);
CREATE TABLE templates (
    template_id VARCHAR PRIMARY KEY,     -- 12 hex digits over relation and text
    relation_id VARCHAR NOT NULL,
    text VARCHAR NOT NULL                -- The capital of [X] is [Y].
);
CREATE TABLE facts (
    fact_id VARCHAR NOT NULL,            -- ParaRel's uuid where there is one
    relation_id VARCHAR NOT NULL,
    subject VARCHAR NOT NULL,
    object VARCHAR NOT NULL
);
CREATE TABLE prompts (
    prompt_id BIGINT NOT NULL,           -- 63 bits of SHA-256 over fact and template
    fact_id VARCHAR NOT NULL,
    template_id VARCHAR NOT NULL,
    text VARCHAR NOT NULL                -- subject filled in, object still [Y]
);
CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY,          -- 12 hex digits over model, settings and dataset digest
    model_id VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    rule VARCHAR,
    points INTEGER,
    tolerance DOUBLE,
    baseline VARCHAR NOT NULL,           -- zero
    dtype VARCHAR NOT NULL,
    device VARCHAR NOT NULL,
    seed INTEGER,                        -- NULL: nothing in the run is random
    score_floor DOUBLE NOT NULL,
    dataset VARCHAR NOT NULL,
    dataset_digest VARCHAR NOT NULL,
    atlas_version VARCHAR NOT NULL,
    status VARCHAR NOT NULL,             -- running | interrupted | finished
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP,
    settings JSON NOT NULL,              -- every further setting that decides the numbers
    environment JSON NOT NULL            -- versions of what computed them
);
CREATE TABLE prompt_results (
    run_id VARCHAR NOT NULL,
    prompt_id BIGINT NOT NULL,
    p_answer REAL,
    answer_rank INTEGER,                 -- 1 = the model's top answer
    predicted VARCHAR,
    p_predicted REAL,
    answer_tokens SMALLINT,
    max_score REAL,                      -- largest score of the prompt over all layers
    layer_effect REAL,                   -- max over layers of |F(1) - F(0)|
    completeness_gap REAL,               -- the signed gap of the layer where it is largest
    over_tolerance BOOLEAN,              -- gap still over tolerance x layer_effect at the cap
    gradient_evaluations INTEGER,        -- summed over layers
    skipped_because VARCHAR              -- NULL: measured
);
CREATE TABLE attributions (
    run_id VARCHAR NOT NULL,
    prompt_id BIGINT NOT NULL,
    layer SMALLINT NOT NULL,
    neuron INTEGER NOT NULL,
    score REAL NOT NULL,
    activation REAL NOT NULL
);
CREATE TABLE selections (
    selection_id VARCHAR PRIMARY KEY,    -- 12 hex digits over run and settings
    run_id VARCHAR NOT NULL,
    preset VARCHAR NOT NULL,             -- paper | fixed
    ratio DOUBLE NOT NULL,
    sharing DOUBLE NOT NULL,             -- where it starts; selection_relations has what was used
    comparison VARCHAR NOT NULL,         -- >= | >
    min_prompts INTEGER NOT NULL,
    created_at TIMESTAMP NOT NULL,
    asked_at TIMESTAMP NOT NULL,         -- when it last became the latest selection
    settings JSON NOT NULL
);
CREATE TABLE selection_relations (
    selection_id VARCHAR NOT NULL,
    relation_id VARCHAR NOT NULL,
    sharing DOUBLE NOT NULL,             -- the threshold actually used
    moves INTEGER NOT NULL,
    facts INTEGER NOT NULL,              -- facts with a measured prompt
    prompts INTEGER NOT NULL,            -- measured prompts of those facts
    mean_neurons DOUBLE NOT NULL
);
CREATE TABLE knowledge_neurons (
    selection_id VARCHAR NOT NULL,
    fact_id VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    neuron INTEGER NOT NULL,
    prompt_share REAL NOT NULL,          -- share of the fact's measured prompts
    mean_score REAL NOT NULL             -- mean score over those prompts that pass the ratio
);
"""

VIEWS = """
CREATE VIEW latest_selection AS
    SELECT *
    FROM selections
    ORDER BY asked_at DESC, selection_id
    LIMIT 1;
CREATE VIEW neuron_facts AS
    SELECT k.selection_id, k.layer, k.neuron,
           f.relation_id, r.label AS relation, k.fact_id, f.subject, f.object,
           k.mean_score, k.prompt_share
    FROM knowledge_neurons AS k
    JOIN facts AS f USING (fact_id)
    JOIN relations AS r USING (relation_id);
CREATE VIEW neuron_degrees AS
    SELECT k.selection_id, k.layer, k.neuron,
           count(*) AS facts,
           count(DISTINCT f.relation_id) AS relations,
           avg(k.mean_score) AS mean_score
    FROM knowledge_neurons AS k
    JOIN facts AS f USING (fact_id)
    GROUP BY k.selection_id, k.layer, k.neuron;
CREATE VIEW fact_sharing AS
    SELECT a.selection_id,
           a.fact_id AS fact_a,
           b.fact_id AS fact_b,
           count(*) AS shared_neurons
    FROM knowledge_neurons AS a
    JOIN knowledge_neurons AS b
      ON a.selection_id = b.selection_id
     AND a.layer = b.layer
     AND a.neuron = b.neuron
     AND a.fact_id <> b.fact_id
    GROUP BY a.selection_id, a.fact_id, b.fact_id;
CREATE VIEW relation_sharing AS
    WITH degrees AS (
        SELECT k.selection_id, f.relation_id, k.layer, k.neuron, count(*) AS facts
        FROM knowledge_neurons AS k
        JOIN facts AS f USING (fact_id)
        GROUP BY k.selection_id, f.relation_id, k.layer, k.neuron
    )
    SELECT a.selection_id,
           a.relation_id AS relation_a,
           b.relation_id AS relation_b,
           count(*) AS shared_neurons,
           sum(a.facts * b.facts) AS shared_by_fact_pairs
    FROM degrees AS a
    JOIN degrees AS b
      ON a.selection_id = b.selection_id
     AND a.layer = b.layer
     AND a.neuron = b.neuron
     AND a.relation_id <> b.relation_id
    GROUP BY a.selection_id, a.relation_id, b.relation_id;
"""


def upgrade() -> None:
    for statement in (TABLES + VIEWS).split(";\n"):
        if statement.strip():
            op.execute(statement)
