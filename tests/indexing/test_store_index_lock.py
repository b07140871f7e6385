import os
import subprocess
import threading
from pathlib import Path

import pytest
from processes import run, run_without_privileges, start, stop

from atlas.errors import LockedAtlas
from atlas.indexing.index_lock import indexing
from atlas.store.file_lock import Held, file_lock

INDEX = """
    import sys
    from atlas.indexing.index_lock import indexing
    with indexing(sys.argv[1]):
        print("indexing", flush=True)
        sys.stdin.readline()
"""
TRY = """
    import sys
    from atlas.errors import AtlasError
    from atlas.indexing.index_lock import indexing
    try:
        with indexing(sys.argv[1]):
            print("indexing")
    except AtlasError as e:
        print(type(e).__name__, e)
"""
COUNT = """
    import sys
    from pathlib import Path
    from atlas.store.file_lock import file_lock
    number = Path(sys.argv[1])
    print(flush=True)
    for _ in range(100):
        with file_lock(Path(sys.argv[2]), wait=True):
            number.write_text(str(int(number.read_text()) + 1))
"""


def refusal(path: Path) -> str:
    with pytest.raises(LockedAtlas) as e, indexing(path):
        pass
    assert "\n" not in str(e.value)
    return str(e.value)


def test_a_second_indexer_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    process = start(INDEX, path)
    assert f"a.duckdb is being indexed by process {process.pid}: " in refusal(path)
    process.communicate("\n")
    with indexing(path):
        pass


def test_the_lock_file_goes_away_on_a_clean_exit_and_on_an_error(tmp_path: Path) -> None:
    with indexing(tmp_path / "a.duckdb"):
        names = sorted(p.name for p in tmp_path.iterdir())
        assert names == ["a.duckdb.indexing", "a.duckdb.indexing.pid"]
        assert (tmp_path / names[1]).read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), indexing(tmp_path / "a.duckdb"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_killed_indexer_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    process = start(INDEX, path)
    stop(process)
    assert (tmp_path / "a.duckdb.indexing").exists()
    with indexing(path):
        assert str(os.getpid()) in refusal(path)
    assert list(tmp_path.iterdir()) == []


def test_two_files_are_indexed_side_by_side(tmp_path: Path) -> None:
    with indexing(tmp_path / "a.duckdb"), indexing(tmp_path / "b.duckdb"):
        pass


def test_a_program_that_the_indexer_starts_does_not_keep_the_lock(tmp_path: Path) -> None:
    with indexing(tmp_path / "a.duckdb"):
        child = start("import sys; print(flush=True); sys.stdin.readline()")
    with indexing(tmp_path / "a.duckdb"):
        pass
    child.communicate("\n")


def test_a_read_only_directory_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    done = run_without_privileges(TRY, tmp_path / "a.duckdb")
    tmp_path.chmod(0o755)
    assert done.stdout.startswith("ReadOnlyAtlas"), done.stderr


def test_a_missing_directory_is_one_line(tmp_path: Path) -> None:
    done = run(TRY, tmp_path / "nowhere" / "a.duckdb")
    assert done.stdout.startswith("StoreError cannot use"), done.stderr
    assert done.stdout.count("\n") == 1


def test_a_holder_that_has_not_written_its_id_yet_is_just_another_process(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with file_lock(lock, wait=False):
        for unlink in (False, True):
            pid = tmp_path / "lock.pid"
            pid.unlink() if unlink else pid.write_text("")
            with pytest.raises(Held, match="another process"), file_lock(lock, wait=False):
                pass


def test_who_waits_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    order: list[str] = []

    def wait_and_take() -> None:
        with file_lock(lock, wait=True):
            order.append("second")

    waiting = threading.Thread(target=wait_and_take)
    with file_lock(lock, wait=True):
        waiting.start()
        waiting.join(0.2)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]
    assert not lock.exists()


def test_no_two_processes_ever_hold_it_at_once(tmp_path: Path) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    processes: list[subprocess.Popen[str]] = [
        start(COUNT, number, tmp_path / "lock") for _ in range(3)
    ]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert number.read_text() == "300"
    assert [p.name for p in tmp_path.iterdir()] == ["number"]
