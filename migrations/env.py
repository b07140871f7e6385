"""Alembic's environment: applies the revisions to the connection that the atlas hands over."""

from alembic import context
from alembic.ddl.impl import DefaultImpl


class DuckDBImpl(DefaultImpl):
    """Tells Alembic that DuckDB exists and rolls back DDL."""

    __dialect__ = "duckdb"
    transactional_ddl = True


context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
