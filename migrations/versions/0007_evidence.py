"""Where neurons were attributed, and what is known of how far they can be trusted."""

from collections.abc import Sequence

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

KNOWN = """
CREATE VIEW all_fact_knowledge AS
    SELECT m.run_id,
           p.fact_id,
           count(*) AS prompts,
           count(*) FILTER (m.answer_rank = 1) AS right_prompts,
           2 * count(*) FILTER (m.answer_rank = 1) >= count(*) AS known
    FROM prompt_results AS m
    JOIN prompts AS p USING (prompt_id)
    WHERE m.skipped_because IS NULL
    GROUP BY m.run_id, p.fact_id;
CREATE VIEW fact_knowledge AS
    SELECT run_id, fact_id, prompts, right_prompts, known
    FROM all_fact_knowledge
    WHERE run_id = (SELECT run_id FROM default_selection);
ALTER TABLE selections ADD COLUMN known_only BOOLEAN;
UPDATE selections
SET known_only = FALSE
WHERE preset <> 'published';
CREATE OR REPLACE VIEW default_selection AS
    SELECT selection_id, run_id, preset, ratio, sharing, comparison, min_prompts,
           created_at, asked_at, settings, name, associated, known_only
    FROM selections
    ORDER BY asked_at DESC NULLS LAST, created_at DESC, selection_id
    LIMIT 1;
CREATE OR REPLACE VIEW latest_selection AS
    SELECT selection_id, run_id, preset, ratio, sharing, comparison, min_prompts,
           created_at, asked_at, settings, name, associated, known_only
    FROM default_selection;
ALTER TABLE selection_relations ALTER COLUMN mean_neurons DROP NOT NULL;
ALTER TABLE selection_relations ADD COLUMN measured_facts INTEGER;
ALTER TABLE selection_relations ADD COLUMN known_facts INTEGER;
ALTER TABLE selection_relations ADD COLUMN templates INTEGER;
ALTER TABLE selection_relations ADD COLUMN target_met BOOLEAN;
UPDATE selection_relations AS s
SET measured_facts = m.facts,
    known_facts = m.known_facts,
    templates = m.templates,
    target_met = CASE WHEN m.preset = 'paper'
                      THEN s.mean_neurons BETWEEN m.target_low AND m.target_high END
FROM (
    SELECT s.selection_id,
           f.relation_id,
           any_value(s.preset) AS preset,
           any_value((s.settings ->> 'target_low')::DOUBLE) AS target_low,
           any_value((s.settings ->> 'target_high')::DOUBLE) AS target_high,
           count(DISTINCT p.fact_id) AS facts,
           count(DISTINCT p.fact_id) FILTER (k.known) AS known_facts,
           count(DISTINCT p.template_id) AS templates
    FROM selections AS s
    JOIN prompt_results AS r USING (run_id)
    JOIN prompts AS p USING (prompt_id)
    JOIN facts AS f ON f.fact_id = p.fact_id
    JOIN all_fact_knowledge AS k
      ON k.run_id = r.run_id
     AND k.fact_id = p.fact_id
    WHERE r.skipped_because IS NULL
    GROUP BY s.selection_id, f.relation_id
) AS m
WHERE m.selection_id = s.selection_id
  AND m.relation_id = s.relation_id;
"""
SELECTION_VIEWS = ("default_selection", "latest_selection")
_KNOWLEDGE_COMMENTS = {
    "": "how well a run's model knows a fact, one row a fact with a measured prompt",
    ".run_id": "the run",
    ".fact_id": "the fact",
    ".prompts": "measured prompts",
    ".right_prompts": "of those, prompts whose top answer is the fact's object",
    ".known": "the object is the top answer in at least half of the measured prompts",
}
KNOWN_COMMENTS = {
    view + column: text + (which if not column else "")
    for view, which in (
        ("all_fact_knowledge", "; of every run"),
        ("fact_knowledge", "; of the default selection's run"),
    )
    for column, text in _KNOWLEDGE_COMMENTS.items()
} | {
    "selections.known_only": "of known facts alone; NULL: of an import, which does not say",
    "selection_relations.facts": (
        "selected from: known ones or, without known_only, measured ones; of an import: listed"
    ),
    "selection_relations.prompts": "measured, of all facts of the relation",
    "selection_relations.mean_neurons": "a fact selected from; NULL: there is none",
    "selection_relations.measured_facts": "with a measured prompt; NULL: of an import",
    "selection_relations.known_facts": "of the measured ones; NULL: of an import",
    "selection_relations.templates": "whose measured prompts it goes by; NULL: of an import",
    "selection_relations.target_met": (
        "mean_neurons lies within the target of the preset paper; NULL: no target, or no fact"
    ),
}
KNOWN_COMMENTS |= {
    f"{view}.known_only": KNOWN_COMMENTS["selections.known_only"] for view in SELECTION_VIEWS
}

NULL = """
ALTER TABLE runs ADD COLUMN null_of VARCHAR;
ALTER TABLE facts ADD COLUMN null_of VARCHAR;
ALTER TABLE selections ADD COLUMN null_of VARCHAR;
CREATE OR REPLACE VIEW default_selection AS
    SELECT selection_id, run_id, preset, ratio, sharing, comparison, min_prompts,
           created_at, asked_at, settings, name, associated, known_only
    FROM selections
    WHERE null_of IS NULL
    ORDER BY asked_at DESC NULLS LAST, created_at DESC, selection_id
    LIMIT 1;
"""
NULL_COMMENTS = {
    "runs.null_of": "the run whose facts it measures with shuffled objects; NULL: a real run",
    "facts.null_of": "the fact whose object was replaced by a false one; NULL: a fact of the world",
    "selections.null_of": "the selection with whose thresholds it looks at a null; NULL: real",
}

INTERFERENCE = """
ALTER TABLE interference_measurements ADD COLUMN predicted_change DOUBLE;
"""
INTERFERENCE_COMMENTS = {
    "interference_measurements.role": "self | predicted | control | random, of all other facts",
    "interference_measurements.predicted_change": "of delta_log_p, from the signed scores; NULL: "
    "not kept when it was measured",
    "edit_summary.other_prompts": "of those, of other facts (of other relations, if it is of one); "
    "which ones is up to the scopes of the checks, by default neighbours alone",
}

SPECIFICITY = """
ALTER TABLE selection_relations ADD COLUMN left_out INTEGER;
ALTER TABLE selection_relations ADD COLUMN unjudged INTEGER;
CREATE TABLE specificity_facts (
    selection_id VARCHAR NOT NULL,
    fact_id VARCHAR NOT NULL,
    neurons REAL,
    prompts INTEGER NOT NULL,
    controls INTEGER NOT NULL,
    seed BIGINT NOT NULL,
    asked VARCHAR NOT NULL
);
CREATE TABLE specificity_effects (
    selection_id VARCHAR NOT NULL,
    fact_id VARCHAR NOT NULL,
    neurons VARCHAR NOT NULL,
    draw INTEGER NOT NULL,
    partners VARCHAR NOT NULL,
    prompts INTEGER NOT NULL,
    delta_log_p REAL NOT NULL,
    relative_dp REAL NOT NULL,
    right_before INTEGER NOT NULL,
    right_to_wrong INTEGER NOT NULL
);
CREATE TABLE neuron_specificity (
    selection_id VARCHAR NOT NULL,
    fact_id VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    neuron INTEGER NOT NULL,
    label VARCHAR NOT NULL,
    own REAL,
    same_relation_and_object REAL,
    same_relation REAL,
    same_object REAL,
    same_subject REAL,
    unrelated REAL,
    own_prompts INTEGER NOT NULL,
    same_relation_and_object_prompts INTEGER NOT NULL,
    same_relation_prompts INTEGER NOT NULL,
    same_object_prompts INTEGER NOT NULL,
    same_subject_prompts INTEGER NOT NULL,
    unrelated_prompts INTEGER NOT NULL
);
"""
SPECIFICITY_COMMENTS = {
    "selection_relations.left_out": (
        "neurons, each once a fact, that serve its answer elsewhere; NULL: not judged"
    ),
    "selection_relations.unjudged": "neurons, each once a fact, whose object no other fact has",
    "specificity_facts": "a fact whose neurons were suppressed on its own and on others' prompts",
    "specificity_facts.selection_id": "the selection",
    "specificity_facts.fact_id": "the fact",
    "specificity_facts.neurons": (
        "how many were suppressed, mean over both halves of the templates; NULL: neither chose any"
    ),
    "specificity_facts.prompts": "own ones: of the half that did not choose the neurons",
    "specificity_facts.controls": "random draws",
    "specificity_facts.seed": "of partners, prompts and draws",
    "specificity_facts.asked": "digest of neurons and prompts; others make the rows outdated",
    "specificity_effects": "what suppressing some neurons did to one group's prompts",
    "specificity_effects.selection_id": "the selection",
    "specificity_effects.fact_id": "the fact whose neurons, or controls, were suppressed",
    "specificity_effects.neurons": "own | random | matched | strongest | commonest",
    "specificity_effects.draw": "of the random ones, from 0; else 0",
    "specificity_effects.partners": (
        "own | same_relation_and_object | same_relation | same_object | same_subject | unrelated: "
        "whose prompts; same_relation has other objects, same_object and same_subject other "
        "relations"
    ),
    "specificity_effects.prompts": "asked; the answer is the top one of each in the run",
    "specificity_effects.delta_log_p": "of the answer, mean over prompts, nats",
    "specificity_effects.relative_dp": "(P after - P before) / P before, mean over prompts",
    "specificity_effects.right_before": "prompts answered rightly with nothing suppressed",
    "specificity_effects.right_to_wrong": "of those, answered wrongly with the neurons suppressed",
    "neuron_specificity": "what suppressing one neuron of a fact did, and what it is a neuron of",
    "neuron_specificity.selection_id": "the selection",
    "neuron_specificity.fact_id": "the fact",
    "neuron_specificity.layer": "counted from 0",
    "neuron_specificity.neuron": "index within the layer, counted from 0",
    "neuron_specificity.label": "fact | subject | answer | relation | unclear",
    "neuron_specificity.own": "mean change of log P(answer) on the fact's own prompts, nats",
    "neuron_specificity.same_relation_and_object": "the same on facts of that relation and object",
    "neuron_specificity.same_relation": "the same on facts of that relation, other objects",
    "neuron_specificity.same_object": "the same on facts of other relations, that object",
    "neuron_specificity.same_subject": "the same on facts of other relations, that subject",
    "neuron_specificity.unrelated": "the same on facts that have nothing in common with it",
    "neuron_specificity.own_prompts": "asked",
    "neuron_specificity.same_relation_and_object_prompts": "asked; 0: there is no such fact",
    "neuron_specificity.same_relation_prompts": "asked; 0: there is no such fact",
    "neuron_specificity.same_object_prompts": "asked; 0: there is no such fact",
    "neuron_specificity.same_subject_prompts": "asked; 0: there is no such fact",
    "neuron_specificity.unrelated_prompts": "asked; 0: there is no such fact",
}


STABILITY = """
CREATE TABLE fact_stability (
    selection_id VARCHAR NOT NULL,
    fact_id VARCHAR NOT NULL,
    prompts INTEGER NOT NULL,
    split_half_jaccard DOUBLE,
    splits INTEGER NOT NULL,
    lowest_ratio DOUBLE NOT NULL,
    highest_ratio DOUBLE NOT NULL
);
CREATE TABLE neuron_stability (
    selection_id VARCHAR NOT NULL,
    fact_id VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    neuron INTEGER NOT NULL,
    selection_frequency DOUBLE NOT NULL
);
"""
STABILITY_COMMENTS = {
    "fact_stability": "how far halves of a fact's prompts choose the same knowledge neurons",
    "fact_stability.selection_id": "the selection",
    "fact_stability.fact_id": "the fact, with neurons or without, that neurons are selected of",
    "fact_stability.prompts": "measured ones that the selection goes by",
    "fact_stability.split_half_jaccard": (
        "of the neurons that both halves choose, mean over splits; NULL: no half chose any"
    ),
    "fact_stability.splits": "of 10 splits, those in which either half chose a neuron",
    "fact_stability.lowest_ratio": (
        "of the selection frequencies: 0.1, or what the run stored scores from"
    ),
    "fact_stability.highest_ratio": "of the selection frequencies, 0.3 in steps of 0.05",
    "neuron_stability": (
        "how firmly a fact's prompts choose a neuron; knowledge neurons, and others chosen in half "
        "of all cases or more"
    ),
    "neuron_stability.selection_id": "the selection",
    "neuron_stability.fact_id": "the fact",
    "neuron_stability.layer": "counted from 0",
    "neuron_stability.neuron": "index within the layer, counted from 0",
    "neuron_stability.selection_frequency": (
        "share of ratios and bootstraps of the fact's prompts that choose the neuron, exact"
    ),
}


def upgrade() -> None:
    execute = op.get_bind().exec_driver_sql
    execute(POSITION)
    _comment(POSITION_COMMENTS)
    execute(WITHIN_OBJECTS)
    _comment(WITHIN_OBJECTS_COMMENTS)
    execute(MASSES)
    _comment(MASSES_COMMENTS)
    said = _said_of(SELECTION_VIEWS)
    execute(KNOWN)
    _comment(said | KNOWN_COMMENTS)
    said = _said_of(("default_selection",))
    execute(NULL)
    _comment(said | NULL_COMMENTS)
    execute(INTERFERENCE)
    _comment(INTERFERENCE_COMMENTS)
    execute(SPECIFICITY)
    _comment(SPECIFICITY_COMMENTS)
    execute(STABILITY)
    _comment(STABILITY_COMMENTS)


def _comment(comments: dict[str, str]) -> None:
    """Describe columns, given as table.column, and tables and views, given as their name."""
    execute = op.get_bind().exec_driver_sql
    views = {name for (name,) in execute("SELECT view_name FROM duckdb_views()").fetchall()}
    for name, text in comments.items():
        kind = "COLUMN" if "." in name else "VIEW" if name in views else "TABLE"
        quoted = text.replace("'", "''")
        execute(f"COMMENT ON {kind} {name} IS '{quoted}'")


def _said_of(views: Sequence[str]) -> dict[str, str]:
    """The comments on views and their columns, which go when a view is replaced."""
    execute = op.get_bind().exec_driver_sql
    return {
        f"{view}.{column}" if column else view: text
        for view, column, text in execute(
            """
            SELECT table_name, column_name, comment
            FROM duckdb_columns()
            UNION ALL
            SELECT view_name, '', comment
            FROM duckdb_views()
            """
        ).fetchall()
        if view in views and text is not None
    }
