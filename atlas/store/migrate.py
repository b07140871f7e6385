"""The schema's revisions: which one a file has, and bringing it to the newest.

Only `upgrade` loads Alembic and SQLAlchemy; whether it is needed is told without them.
"""

import duckdb

from atlas.paths import MIGRATIONS
from atlas.store.rows import fetch_one


def revisions() -> list[str]:
    """Every revision that this atlas knows, oldest first: 0001_atlas.py is revision 0001."""
    return sorted(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def revision_of(connection: duckdb.DuckDBPyConnection) -> str | None:
    """The revision that the file is at; None where no migration ever ran."""
    (versioned,) = fetch_one(
        connection,
        """
        SELECT count(*)
        FROM duckdb_tables()
        WHERE database_name = current_database()
          AND table_name = 'alembic_version'
        """,
    )
    if not versioned:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def is_empty(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the file holds no table at all."""
    (tables,) = fetch_one(
        connection,
        """
        SELECT count(*)
        FROM duckdb_tables()
        WHERE database_name = current_database()
        """,
    )
    return not tables


def upgrade(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the open file to the newest revision, in one transaction: all of it or nothing."""
    # 0.4 s of imports, which no query should pay for.
    import alembic.command
    import alembic.config
    import sqlalchemy
    from duckdb_engine import ConnectionWrapper

    config = alembic.config.Config()
    # "%" introduces an interpolation in Alembic's configuration.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine = sqlalchemy.create_engine(
        "duckdb://",
        creator=lambda: ConnectionWrapper(connection),
        poolclass=sqlalchemy.StaticPool,
    )
    try:
        with engine.begin() as transaction:
            config.attributes["connection"] = transaction
            alembic.command.upgrade(config, "head")
    except sqlalchemy.exc.DBAPIError as e:
        raise (e.orig or e) from e  # the store's errors are told from DuckDB's
