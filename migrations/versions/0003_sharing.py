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
    mean_shared_neurons DOUBLE,          -- NULL: there is no such pair
    neurons_a INTEGER NOT NULL,          -- distinct neurons of relation_a
    neurons_b INTEGER NOT NULL,
    neurons_both INTEGER NOT NULL,       -- distinct neurons of both
    jaccard DOUBLE                       -- both / either; NULL: neither has a neuron
);
CREATE TABLE fact_masses (
    run_id VARCHAR NOT NULL,
    fact_id VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    neuron INTEGER NOT NULL,
    mass REAL NOT NULL,                  -- positive scores, summed over the fact's prompts
    share REAL NOT NULL                  -- of the fact's mass on all neurons
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
    interaction REAL NOT NULL,           -- effect_ab - effect_a - effect_b
    kept_a INTEGER NOT NULL,             -- prompts whose top answer it still is without a
    kept_b INTEGER NOT NULL,
    kept_ab INTEGER NOT NULL
);
CREATE TABLE fact_interactions (
    selection_id VARCHAR NOT NULL,
    fact_id VARCHAR NOT NULL,
    neurons INTEGER NOT NULL,
    prompts INTEGER NOT NULL,            -- those whose top answer it is; the rest plays no part
    log_p REAL,                          -- mean over prompts, nothing suppressed; NULL without any
    effect_all REAL,                     -- all neurons suppressed together
    kept_all INTEGER,                    -- prompts whose top answer it still is without them
    removing_greedy INTEGER,             -- size of the set found that removes the answer; or NULL
    removing_exact INTEGER,              -- the smallest there is; NULL for more than 10 neurons
    removing_sets INTEGER,               -- how many sets of that smallest size remove the answer
    removing_neurons VARCHAR,            -- one of them, as layer:neuron separated by blanks
    asked VARCHAR NOT NULL               -- digest of neurons and prompts: others make it outdated
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

# What selecting writes beside a selection today (atlas/store: mass_records.py, overlap_records.py),
# here for all those that an older version made. Sums are taken in sorted order, as there.
BESIDE_OLDER_SELECTIONS = """
INSERT INTO fact_masses
WITH masses AS (
    SELECT a.run_id, p.fact_id, a.layer, a.neuron,
           list_sum(list_sort(list(a.score::DOUBLE))) AS mass
    FROM attributions AS a
    JOIN prompts AS p USING (prompt_id)
    WHERE a.score > 0
    GROUP BY a.run_id, p.fact_id, a.layer, a.neuron
),
totals AS (
    SELECT run_id, fact_id, list_sum(list_sort(list(mass))) AS mass
    FROM masses
    GROUP BY run_id, fact_id
)
SELECT m.run_id, m.fact_id, m.layer, m.neuron, m.mass, m.mass / t.mass
FROM masses AS m
JOIN totals AS t USING (run_id, fact_id)
ORDER BY m.run_id, m.fact_id, m.layer, m.neuron;
INSERT INTO relation_overlaps
WITH degrees AS (
    SELECT k.selection_id, f.relation_id, k.layer, k.neuron, count(*) AS facts
    FROM knowledge_neurons AS k
    JOIN facts AS f USING (fact_id)
    GROUP BY k.selection_id, f.relation_id, k.layer, k.neuron
),
common AS (
    SELECT a.selection_id,
           a.relation_id AS relation_a,
           b.relation_id AS relation_b,
           count(*) AS neurons,
           sum(CASE WHEN a.relation_id = b.relation_id THEN a.facts * (a.facts - 1) // 2
                    ELSE a.facts * b.facts END) AS shared
    FROM degrees AS a
    JOIN degrees AS b USING (selection_id, layer, neuron)
    WHERE a.relation_id <= b.relation_id
    GROUP BY a.selection_id, a.relation_id, b.relation_id
),
chosen AS (
    SELECT s.selection_id, s.relation_id, s.facts::BIGINT AS facts, count(d.neuron) AS neurons
    FROM selection_relations AS s
    LEFT JOIN degrees AS d USING (selection_id, relation_id)
    GROUP BY s.selection_id, s.relation_id, s.facts
),
pairs AS (
    SELECT a.selection_id,
           a.relation_id AS relation_a,
           b.relation_id AS relation_b,
           CASE WHEN a.relation_id = b.relation_id THEN a.facts * (a.facts - 1) // 2
                ELSE a.facts * b.facts END AS fact_pairs,
           coalesce(c.shared, 0)::BIGINT AS shared,
           a.neurons AS neurons_a,
           b.neurons AS neurons_b,
           coalesce(c.neurons, 0) AS neurons_both
    FROM chosen AS a
    JOIN chosen AS b
      ON a.selection_id = b.selection_id
     AND a.relation_id <= b.relation_id
    LEFT JOIN common AS c
      ON c.selection_id = a.selection_id
     AND c.relation_a = a.relation_id
     AND c.relation_b = b.relation_id
)
SELECT selection_id, relation_a, relation_b, fact_pairs, shared,
       shared / nullif(fact_pairs, 0),
       neurons_a, neurons_b, neurons_both,
       neurons_both / nullif(neurons_a + neurons_b - neurons_both, 0)
FROM pairs
ORDER BY selection_id, relation_a, relation_b;
"""

VIEWS = """
CREATE VIEW overlap_summary AS
    SELECT selection_id,
           CASE WHEN relation_a = relation_b THEN 'within' ELSE 'across' END AS pairs,
           count(*) AS relation_pairs,
           sum(fact_pairs)::BIGINT AS fact_pairs,
           sum(shared_by_fact_pairs)::BIGINT AS shared_by_fact_pairs,
           sum(shared_by_fact_pairs) / nullif(sum(fact_pairs), 0) AS mean_over_fact_pairs,
           avg(mean_shared_neurons) AS mean_over_relation_pairs
    FROM relation_overlaps
    GROUP BY selection_id, relation_a = relation_b;
CREATE VIEW relation_interference AS
    WITH chosen AS (
        SELECT s.selection_id, s.run_id, k.fact_id, f.relation_id, k.layer, k.neuron
        FROM knowledge_neurons AS k
        JOIN selections AS s USING (selection_id)
        JOIN facts AS f USING (fact_id)
    ),
    sources AS (
        SELECT selection_id, run_id, relation_id, layer, neuron, count(*) AS facts
        FROM chosen
        GROUP BY selection_id, run_id, relation_id, layer, neuron
    ),
    targets AS (
        SELECT m.run_id, f.relation_id, m.layer, m.neuron, sum(m.share) AS share
        FROM fact_masses AS m
        JOIN facts AS f USING (fact_id)
        GROUP BY m.run_id, f.relation_id, m.layer, m.neuron
    ),
    sizes AS (
        SELECT m.run_id, f.relation_id, count(DISTINCT m.fact_id) AS facts
        FROM fact_masses AS m
        JOIN facts AS f USING (fact_id)
        GROUP BY m.run_id, f.relation_id
    ),
    crossed AS (
        SELECT s.selection_id,
               s.relation_id AS relation_a,
               t.relation_id AS relation_b,
               sum(s.facts * t.share) AS predicted
        FROM sources AS s
        JOIN targets AS t USING (run_id, layer, neuron)
        GROUP BY s.selection_id, s.relation_id, t.relation_id
    ),
    own AS (
        SELECT c.selection_id, c.relation_id, sum(m.share) AS predicted
        FROM chosen AS c
        JOIN fact_masses AS m USING (run_id, fact_id, layer, neuron)
        GROUP BY c.selection_id, c.relation_id
    )
    SELECT a.selection_id,
           a.relation_id AS relation_a,
           b.relation_id AS relation_b,
           (coalesce(x.predicted, 0)
            - CASE WHEN a.relation_id = b.relation_id THEN coalesce(o.predicted, 0) ELSE 0 END)
           / nullif(a.facts * b.facts
                    - CASE WHEN a.relation_id = b.relation_id THEN b.facts ELSE 0 END, 0)
               AS mean_predicted
    FROM selection_relations AS a
    JOIN selections AS s USING (selection_id)
    JOIN sizes AS b ON b.run_id = s.run_id
    LEFT JOIN crossed AS x
      ON x.selection_id = a.selection_id
     AND x.relation_a = a.relation_id
     AND x.relation_b = b.relation_id
    LEFT JOIN own AS o
      ON o.selection_id = a.selection_id
     AND o.relation_id = a.relation_id;
"""


def upgrade() -> None:
    statements = TABLES + UNKNOWN_OF_PUBLISHED_RUNS + BESIDE_OLDER_SELECTIONS + VIEWS
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)
