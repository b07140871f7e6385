import contextlib
import os
import re
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest
from processes import run, run_on_full_disk, run_without_privileges, start, stop

from atlas.errors import (
    DiskFull,
    LockedAtlas,
    NewerAtlas,
    NotAnAtlas,
    ReadOnlyAtlas,
    StoreError,
)
from atlas.store.connection import exclusive, mapped_errors, reading, writing

HOLD = """
    import sys, duckdb
    connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reading")
    print("held", flush=True)
    sys.stdin.readline()
    connection.close()
"""
DIE = """
    import os, signal, sys
    from atlas.store.connection import exclusive
    with exclusive(sys.argv[1]) as connection:
        connection.execute("BEGIN TRANSACTION")
        connection.execute("INSERT INTO numbers SELECT * FROM range(500000)")
        if sys.argv[2] == "after the commit":
            connection.execute("COMMIT")
        os.kill(os.getpid(), signal.SIGKILL)
"""
FILL = """
    import sys
    from atlas.errors import DiskFull
    from atlas.store.connection import writing
    try:
        with writing(sys.argv[1]) as connection:
            connection.execute("INSERT INTO numbers SELECT hash(range) // 2 FROM range(300000)")
    except DiskFull as e:
        print(e)
    else:
        print("written")
"""
USE_AS_USER = """
    import sys
    from atlas.errors import AtlasError
    from atlas.store.connection import reading, writing
    with reading(sys.argv[1]) as connection:
        print(connection.execute("SELECT count(*) FROM numbers").fetchone()[0])
    try:
        with writing(sys.argv[1], wait=0) as connection:
            connection.execute("INSERT INTO numbers VALUES (0)")
    except AtlasError as e:
        print(type(e).__name__, e)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE numbers (number BIGINT)")
        connection.execute("INSERT INTO numbers VALUES (1), (2)")
    return path


@pytest.fixture(params=["reading", "writing"])
def holder(request: pytest.FixtureRequest, file: Path) -> Iterator["subprocess.Popen[str]"]:
    process = start(HOLD, file, request.param)
    yield process
    stop(process)


def count(path: Path) -> int:
    with reading(path) as connection:
        row = connection.execute("SELECT count(*) FROM numbers").fetchone()
    assert row is not None
    return int(row[0])


def add(path: Path) -> None:
    with writing(path) as connection:
        connection.execute("INSERT INTO numbers VALUES (3)")


@contextlib.contextmanager
def killing_soon(process: "subprocess.Popen[str]") -> Iterator[None]:
    timer = threading.Timer(0.5, stop, [process])
    timer.start()
    yield
    timer.join()


def one_line(error: pytest.ExceptionInfo[StoreError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert text
    return text


def test_what_was_written_is_read(file: Path) -> None:
    add(file)
    assert count(file) == 3


def test_reading_cannot_write(file: Path) -> None:
    with pytest.raises(duckdb.InvalidInputException), reading(file) as connection:
        connection.execute("INSERT INTO numbers VALUES (3)")
    assert count(file) == 2


@pytest.mark.parametrize("reason", [ValueError, KeyboardInterrupt, SystemExit])
def test_leaving_by_an_exception_rolls_back(file: Path, reason: type[BaseException]) -> None:
    def add_and_leave() -> None:
        with writing(file) as connection:
            connection.execute("INSERT INTO numbers VALUES (3)")
            raise reason

    with pytest.raises(reason):
        add_and_leave()
    assert count(file) == 2


def test_an_error_in_our_own_sql_passes_through(file: Path) -> None:
    with pytest.raises(duckdb.CatalogException), writing(file) as connection:
        connection.execute("SELECT * FROM no_such_table")
    assert count(file) == 2


def test_a_system_error_in_the_block_is_not_blamed_on_the_atlas(file: Path) -> None:
    with pytest.raises(FileNotFoundError), writing(file):
        (file.parent / "elsewhere").read_text()
    assert count(file) == 2


def test_an_interrupted_statement_is_a_keyboard_interrupt(file: Path) -> None:
    with pytest.raises(KeyboardInterrupt), mapped_errors(file):
        raise RuntimeError("Query interrupted")


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    for opening in (reading, writing, exclusive):
        with pytest.raises(StoreError, match="run `atlas index`") as e, opening(tmp_path / "a"):
            pass
        one_line(e)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    text, empty, other = tmp_path / "text", tmp_path / "empty", tmp_path / "other"
    text.write_text("subject,object\n" * 1000)
    empty.touch()
    other.mkdir()
    for path in (text, empty, other):
        with pytest.raises(NotAnAtlas, match=r"not a DuckDB file|is a directory") as e:
            count(path)
        assert str(path) in one_line(e)


def test_an_sqlite_file_is_refused_and_no_extension_is_fetched(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE numbers (number)")
    connection.commit()
    connection.close()
    with pytest.raises(NotAnAtlas, match="not a DuckDB file") as e:
        count(path)
    one_line(e)


@pytest.mark.parametrize("kept", [100, 5000, 13000, 0.6])
def test_a_truncated_file_is_refused(file: Path, kept: float) -> None:
    with writing(file) as connection:
        connection.execute("INSERT INTO numbers SELECT hash(range) // 2 FROM range(300000)")
    content = file.read_bytes()
    file.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(NotAnAtlas) as e, reading(file) as connection:
        connection.execute("SELECT sum(number) FROM numbers").fetchall()
    one_line(e)


def test_a_damaged_file_is_refused(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[12300] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(NotAnAtlas, match="damaged") as e, reading(file) as connection:
        connection.execute("SELECT sum(number) FROM numbers").fetchall()
    one_line(e)


def test_a_file_of_a_newer_duckdb_is_refused() -> None:
    with pytest.raises(NewerAtlas, match="pip install -U duckdb"), mapped_errors(Path("a")):
        raise duckdb.IOException(
            "Trying to read a database file with storage version number 2000, but we can only "
            "read storage versions between 64 and 999.\nThe file was written by …"
        )


def test_a_lock_is_reported_with_its_holder_when_the_wait_is_over(
    file: Path, holder: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = [0.0]
    clock = SimpleNamespace(sleep=pauses.append, monotonic=lambda: sum(pauses))
    monkeypatch.setattr("atlas.store.connection.time", clock)
    with pytest.raises(LockedAtlas, match=f"process {holder.pid}\\b") as e, writing(file, wait=0.3):
        pass
    one_line(e)
    assert 0.2 < sum(pauses) <= 0.3


def test_writing_waits_for_its_turn(file: Path, holder: "subprocess.Popen[str]") -> None:
    with killing_soon(holder):
        add(file)
    assert count(file) == 3


def test_reading_waits_for_a_writer(file: Path) -> None:
    process = start(HOLD, file, "writing")
    with killing_soon(process):
        assert count(file) == 2


def test_readers_do_not_wait_for_each_other(file: Path) -> None:
    process = start(HOLD, file, "reading")
    with reading(file, wait=0) as connection:
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (2,)
    stop(process)


def test_a_second_connection_of_this_process_is_refused_with_advice(file: Path) -> None:
    with (
        reading(file),
        pytest.raises(LockedAtlas, match="already open in this process"),
        writing(file, wait=0.1),
    ):
        pass
    add(file)


@pytest.mark.parametrize(
    ("moment", "rows"), [("before the commit", 2), ("after the commit", 500_002)]
)
def test_a_killed_writer_loses_only_what_it_did_not_commit(
    file: Path, moment: str, rows: int
) -> None:
    assert run(DIE, file, moment).returncode == -9
    assert count(file) == rows
    assert count(file) == rows  # replaying the log while reading changes nothing
    add(file)
    assert count(file) == rows + 1
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_what_a_killed_writer_committed_is_read_without_the_right_to_write(file: Path) -> None:
    run(DIE, file, "after the commit")
    (file.parent / f"{file.name}.wal").chmod(0o444)
    file.chmod(0o444)
    file.parent.chmod(0o555)
    done = run_without_privileges(USE_AS_USER, file)
    file.parent.chmod(0o755)
    assert done.stdout.splitlines()[0] == "500002", done.stderr


@pytest.mark.parametrize(("file_mode", "directory_mode"), [(0o444, 0o755), (0o444, 0o555)])
def test_a_read_only_file_is_read_but_not_written(
    file: Path, file_mode: int, directory_mode: int
) -> None:
    file.chmod(file_mode)
    file.parent.chmod(directory_mode)
    done = run_without_privileges(USE_AS_USER, file)
    file.parent.chmod(0o755)
    rows, error = done.stdout.splitlines()
    assert rows == "2"
    assert re.match(r"ReadOnlyAtlas .*permissions", error)


def test_a_read_only_directory_is_reported(file: Path) -> None:
    file.parent.chmod(0o555)
    done = run_without_privileges(USE_AS_USER, file)
    file.parent.chmod(0o755)
    assert "ReadOnlyAtlas" in done.stdout, done.stdout + done.stderr
    assert count(file) == 2


def test_a_full_disk_leaves_what_was_committed(file: Path) -> None:
    before = file.stat().st_size
    full = 0
    for room in (0, 1_000, 300_000, 600_000, 1_000_000, 2_000_000, 2_500_000, 20_000_000):
        rows = count(file)
        done = run_on_full_disk(FILL, file, size=before + room)
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        if line == "written":
            assert count(file) == rows + 300_000
        else:
            assert "the disk is full" in line
            assert count(file) == rows
            full += 1
    assert full >= 2
    assert line == "written"


def test_a_full_disk_is_told_from_the_system_too() -> None:
    with pytest.raises(DiskFull), mapped_errors(Path("a")):
        raise OSError(28, os.strerror(28))
    with pytest.raises(ReadOnlyAtlas), mapped_errors(Path("a")):
        raise PermissionError(13, os.strerror(13))
    with pytest.raises(StoreError, match="Not a directory"), mapped_errors(Path("a")):
        raise NotADirectoryError(20, os.strerror(20))
