"""What work beyond one process and one fact leaves: shards of a run, edits of several facts."""

from alembic import op

revision = "0009"
down_revision = "0008"

# Each subject has its statements and its comments, in one block.

SHARDS = """
CREATE TABLE run_shards (
    run_id VARCHAR NOT NULL,
    shard INTEGER NOT NULL,
    shards INTEGER NOT NULL,
    finished BOOLEAN NOT NULL
);
"""
SHARDS_COMMENTS = {
    "run_shards": (
        "shards of its facts that a run was asked for; none: it was not split, or all of them are "
        "there"
    ),
    "run_shards.run_id": "the run",
    "run_shards.shard": "which one, from 1",
    "run_shards.shards": "how many there are",
    "run_shards.finished": "whether all of its prompts are measured or skipped",
}

EDIT_FACTS = """
CREATE TABLE edit_facts (
    edit_id INTEGER NOT NULL,
    place INTEGER NOT NULL,
    fact_id VARCHAR,
    relation_id VARCHAR,
    subject VARCHAR NOT NULL,
    old_object VARCHAR,
    new_object VARCHAR
);
INSERT INTO edit_facts
    SELECT edit_id, 0, fact_id, relation_id, subject, old_object, new_object
    FROM edits
    WHERE subject IS NOT NULL
      AND state <> 'deleted';
"""
EDIT_FACTS_COMMENTS = {
    "edit_facts": "the facts that an edit is of, one or several; none: it is of a whole relation",
    "edit_facts.edit_id": "the edit",
    "edit_facts.place": "of the fact among the edit's, from 0",
    "edit_facts.fact_id": "the fact; NULL: an edit from a file may not know it",
    "edit_facts.relation_id": "the fact's relation",
    "edit_facts.subject": "the fact's subject",
    "edit_facts.old_object": "the fact's object",
    "edit_facts.new_object": "the object that it gets; NULL unless the edit's kind is update",
    "edits.relation_id": "of its facts, if they have one relation; else NULL",
    "edits.fact_id": "NULL: a whole relation, or several facts, which `edit_facts` has",
    "edits.subject": "NULL as `fact_id`",
    "edits.old_object": "the fact's object; NULL as `fact_id`",
    "edits.new_object": "NULL unless kind is update, and as `fact_id`",
}

SETTINGS_COMMENTS = {
    "runs.method": (
        "integrated-gradients | gradient-x-activation | activation | log-probability-increase | as "
        "an import names it"
    ),
    "selection_relations.left_out": (
        "neurons, each once a fact, that serve its answer elsewhere, or other answers to its "
        "templates, as the selection asks (`against`); NULL: not judged"
    ),
    "selection_relations.unjudged": (
        "neurons, each once a fact, that no other fact is there to judge by"
    ),
}


def upgrade() -> None:
    execute = op.get_bind().exec_driver_sql
    execute(SHARDS)
    _comment(SHARDS_COMMENTS)
    execute(EDIT_FACTS)
    _comment(EDIT_FACTS_COMMENTS)
    _comment(SETTINGS_COMMENTS)


def _comment(comments: dict[str, str]) -> None:
    """Describe columns, given as table.column, and tables and views, given as their name."""
    execute = op.get_bind().exec_driver_sql
    views = {name for (name,) in execute("SELECT view_name FROM duckdb_views()").fetchall()}
    for name, text in comments.items():
        kind = "COLUMN" if "." in name else "VIEW" if name in views else "TABLE"
        quoted = text.replace("'", "''")
        execute(f"COMMENT ON {kind} {name} IS '{quoted}'")
