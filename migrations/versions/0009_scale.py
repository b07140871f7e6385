"""What work beyond one process leaves in an atlas: which shards of a dataset a run holds."""

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


def upgrade() -> None:
    execute = op.get_bind().exec_driver_sql
    execute(SHARDS)
    _comment(SHARDS_COMMENTS)


def _comment(comments: dict[str, str]) -> None:
    """Describe columns, given as table.column, and tables and views, given as their name."""
    execute = op.get_bind().exec_driver_sql
    views = {name for (name,) in execute("SELECT view_name FROM duckdb_views()").fetchall()}
    for name, text in comments.items():
        kind = "COLUMN" if "." in name else "VIEW" if name in views else "TABLE"
        quoted = text.replace("'", "''")
        execute(f"COMMENT ON {kind} {name} IS '{quoted}'")
