"""Claims beside the run's null: the same measured of neurons of false objects."""

from alembic import op

revision = "0012"
down_revision = "0011"

COLUMNS = {
    "null_ours": (
        "DOUBLE",
        "the same mean, of neurons of false objects; NULL: not measured",
    ),
    "null_low": ("DOUBLE", "lower end of its 95 % bootstrap interval"),
    "null_high": ("DOUBLE", "upper end"),
    "null_n": ("INTEGER DEFAULT 0", "its items"),
    "beyond_null": (
        "DOUBLE",
        "how much larger the difference to the control is than in the null, item by item",
    ),
    "beyond_null_low": ("DOUBLE", "lower end of its interval"),
    "beyond_null_high": ("DOUBLE", "upper end"),
    "null_verdict": (
        "VARCHAR DEFAULT 'not measured'",
        "what that says of the claim, as `verdict` does of the difference to the control",
    ),
}


def upgrade() -> None:
    execute = op.get_bind().exec_driver_sql
    for name, (kind, text) in COLUMNS.items():
        execute(f"ALTER TABLE experiment_claims ADD COLUMN {name} {kind}")
        quoted = text.replace("'", "''")
        execute(f"COMMENT ON COLUMN experiment_claims.{name} IS '{quoted}'")
