import signal
import threading
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pytest
from packaging.version import Version
from synthetic import build

from atlas.errors import AtlasError, BadQuery, StoreError
from atlas.store import user_sql
from atlas.store.user_sql import QueryResult, run_sql


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("atlas") / "a.duckdb").atlas.path


def refusal(path: Path, sql: str) -> str:
    before = path.read_bytes()
    with pytest.raises(BadQuery) as e:
        run_sql(path, sql)
    assert path.read_bytes() == before
    assert "\n" not in str(e.value)
    return str(e.value)


def test_a_query_yields_columns_and_rows(path: Path) -> None:
    assert run_sql(
        path,
        """
        SELECT layer, neuron, facts
        FROM neuron_degrees
        ORDER BY facts DESC, layer, neuron
        LIMIT 2
        """,
    ) == QueryResult(("layer", "neuron", "facts"), [(3, 0, 12), (3, 1, 6)])


def test_a_query_without_rows_still_has_columns(path: Path) -> None:
    assert run_sql(path, "SELECT fact_id FROM facts WHERE false") == QueryResult(("fact_id",), [])


@pytest.mark.parametrize(
    "sql",
    [
        "FROM facts",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "VALUES (1)",
        "EXPLAIN SELECT * FROM facts",
        "DESCRIBE facts",
        "SUMMARIZE facts",
        "SHOW TABLES",
        "PRAGMA table_info('facts')",
        "PIVOT facts ON relation_id USING count(*)",
        "SELECT 1;",
        "-- a comment\nSELECT 1 -- another",
    ],
)
def test_whatever_only_reads_is_allowed(path: Path, sql: str) -> None:
    result = run_sql(path, sql)
    assert result.columns
    assert result.rows


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE facts",
        "INSERT INTO relations VALUES ('P1', 'x')",
        "UPDATE facts SET subject = 'x'",
        "DELETE FROM facts",
        "CREATE TABLE x (y INTEGER)",
        "CREATE TEMPORARY TABLE x (y INTEGER)",
        "ALTER TABLE facts ADD COLUMN x INTEGER",
        "BEGIN",
        "VACUUM",
        "SET threads = 1",
        "USE memory",
        "COPY facts TO 'out.csv'",
        "EXPORT DATABASE 'out'",
        "ATTACH 'other.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
    ],
)
def test_whatever_writes_or_reaches_out_is_refused(path: Path, sql: str) -> None:
    assert "SQL only reads the atlas: use SELECT" in refusal(path, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('secret.csv')",
        "SELECT * FROM read_text('secret.csv')",
        "SELECT * FROM glob('*')",
        "SELECT * FROM 'https://example.org/a.csv'",
        "SELECT * FROM sqlite_scan('a', 'b')",
        "SELECT * FROM duckdb_secrets()",
    ],
)
def test_other_files_are_out_of_reach(
    path: Path, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    assert "out of reach" in refusal(path, sql)


def test_a_file_named_as_a_table_is_not_read(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    refusal(path, "SELECT * FROM 'secret.csv'")


def test_explaining_a_statement_does_not_run_it(path: Path) -> None:
    refusal(path, "EXPLAIN ANALYZE DELETE FROM facts")


def test_the_protection_cannot_be_switched_off(path: Path) -> None:
    refusal(path, "SET enable_external_access = true")
    refusal(path, "PRAGMA enable_profiling")


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT * FROM fact", 'Table with name fact does not exist! Did you mean "facts"?'),
        ("SELECT subjec FROM facts", 'Referenced column "subjec" not found'),
        ("SELECT 'a'::INTEGER", "Could not convert string 'a' to INT32"),
        ("SELECT 1; SELECT 2", "there are 2 SQL statements: run them one at a time"),
        ("", "there is no SQL statement"),
        ("-- nothing", "there is no SQL statement"),
        ("SELECT $1", "Values were not provided"),
    ],
)
def test_wrong_sql_is_explained_on_one_line(path: Path, sql: str, hint: str) -> None:
    assert hint in refusal(path, sql)


def test_times_without_a_zone_are_python_datetimes(path: Path) -> None:
    ((started,),) = run_sql(path, "SELECT started_at FROM runs").rows
    assert isinstance(started, datetime)


def test_times_with_a_zone_are_python_datetimes_or_the_cast_is_named(path: Path) -> None:
    if find_spec("pytz") is None and Version(duckdb.__version__) < Version("2.0.1"):
        assert "cast them, for example now()::TIMESTAMP" in refusal(path, "SELECT now()")
    else:  # later releases of DuckDB do without pytz
        ((now,),) = run_sql(path, "SELECT now()").rows
        assert now.tzinfo is not None


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no atlas at"):
        run_sql(tmp_path / "a.duckdb", "SELECT 1")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_atlas_is_not_called_a_bad_query(path: Path, tmp_path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[12288:] = bytes(len(content) - 12288)
    damaged = tmp_path / "a.duckdb"
    damaged.write_bytes(content)
    with pytest.raises(AtlasError, match="damaged"):
        run_sql(damaged, "SELECT * FROM facts")


@pytest.mark.parametrize("taken_by", ["this thread", "another"])
def test_ctrl_c_ends_a_long_query(
    path: Path, monkeypatch: pytest.MonkeyPatch, taken_by: str
) -> None:
    answer = user_sql._answer

    def interrupted(*asked: Any) -> QueryResult:
        """The query, with a Ctrl-C once it runs: the system gives it to one of the threads."""
        threads = {"this thread": threading.main_thread(), "another": threading.current_thread()}
        receiver = threads[taken_by].ident
        threading.Timer(0.3, signal.pthread_kill, (receiver, signal.SIGINT)).start()
        return answer(*asked)

    long = "FROM range(100000000) AS a, range(100000000) AS b WHERE a.range * b.range = 7"
    with monkeypatch.context() as patched:
        patched.setattr(user_sql, "_answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_sql(path, f"SELECT count(*) {long}")
    assert run_sql(path, "SELECT 1 AS one") == QueryResult(("one",), [(1,)])
