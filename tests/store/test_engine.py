"""The one public door to SQLAlchemy: a read-only engine on an atlas."""

import re

import duckdb
import pytest
from library_source import LIBRARY, SOURCES
from synthetic import Synthetic

from atlas.atlas import open_atlas

IMPORTS = re.compile(r"^\s*(?:import|from) (?:sqlalchemy|duckdb_engine|alembic)\b", re.MULTILINE)


def test_pandas_reads_through_the_engine(synthetic: Synthetic) -> None:
    pandas = pytest.importorskip("pandas")
    engine = open_atlas(synthetic.atlas.path).engine()
    try:
        found = pandas.read_sql("SELECT fact_id, subject FROM facts ORDER BY fact_id", engine)
    finally:
        engine.dispose()
    with synthetic.atlas.reading() as connection:
        expected = connection.execute("SELECT fact_id, subject FROM facts ORDER BY fact_id")
        assert list(found.itertuples(index=False, name=None)) == expected.fetchall()


def test_the_engine_writes_nothing(synthetic: Synthetic) -> None:
    import sqlalchemy

    engine = open_atlas(synthetic.atlas.path).engine()
    with engine.connect() as connection, pytest.raises(sqlalchemy.exc.DBAPIError) as e:
        connection.execute(sqlalchemy.text("DELETE FROM facts"))
    assert isinstance(e.value.orig, duckdb.InvalidInputException)
    assert "read-only" in str(e.value)
    engine.dispose()


def test_whoever_writes_waits_for_nobody_once_the_engine_is_disposed_of(
    synthetic: Synthetic,
) -> None:
    engine = open_atlas(synthetic.atlas.path).engine()
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM facts")
    engine.dispose()
    with synthetic.atlas.writing(wait=0) as connection:
        connection.execute("SELECT 1")


def test_sqlalchemy_carries_the_migrations_and_the_engine_alone() -> None:
    found = [path for path in SOURCES if IMPORTS.search(path.read_text(encoding="utf-8"))]
    assert found == [LIBRARY / "atlas.py", LIBRARY / "store" / "migrate.py"]
