"""Files and directories appear whole or not at all, whenever a process is killed."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from edit_models import language_model, random_edit
from library_source import LIBRARY, SOURCES
from processes import start, stop
from revision_assets import asset
from synthetic import build

from atlas import durability
from atlas.atlas import open_atlas
from atlas.durability import appearing_directory, appearing_file
from atlas.edits.delta_files import read_delta, write_delta
from atlas.edits.model_export import export_model
from atlas.export.run_export import export_run

# Writes half of what it wants to write, says so, and waits for its end.
HALF = """
    import sys, time
    from pathlib import Path
    from atlas.durability import appearing_directory, appearing_file

    path = Path(sys.argv[2])
    if sys.argv[1] == "file":
        with appearing_file(path) as unfinished:
            unfinished.write_text("half")
            Path(f"{unfinished}.wal").write_text("of a database")
            print("half", flush=True)
            time.sleep(600)
    with appearing_directory(path) as unfinished:
        (unfinished / "content").write_text("half")
        print("half", flush=True)
        time.sleep(600)
    """

# Ends where the writer flushes what is complete, before it has its name.
WRITERS = {
    "a new atlas": "open_atlas(path, create=True)",
    "a backup": "open_atlas(path.with_name('old.duckdb'))",
    "a delta file": "write_delta(path, [random_edit(language_model('bert'), 1)])",
    "an exported model": "lm = language_model('bert'); export_model(lm, random_edit(lm, 1), path)",
    "an exported run": "export_run(open_atlas(path.with_name('whole.duckdb')), None, path)",
}
KILLED = """
    import sys, time
    from pathlib import Path
    from atlas import durability
    from atlas.edits.delta_files import write_delta
    from atlas.edits.model_export import export_model
    from atlas.export.run_export import export_run
    from atlas.atlas import open_atlas
    from edit_models import language_model, random_edit

    def wait(path):
        print("written", flush=True)
        time.sleep(600)

    durability.flush = wait
    path = Path(sys.argv[1])
"""


def write(kind: str, path: Path, text: str, then: Exception | None = None) -> None:
    appearing = appearing_file if kind == "file" else appearing_directory
    with appearing(path) as unfinished:
        content(kind, unfinished).write_text(text)
        if then:
            raise then


def content(kind: str, path: Path) -> Path:
    return path if kind == "file" else path / "content"


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_there_stays_until_what_replaces_it_is_whole(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    write(kind, path, "first")
    with pytest.raises(ZeroDivisionError):
        write(kind, path, "half", then=ZeroDivisionError())
    assert content(kind, path).read_text() == "first"
    write(kind, path, "second")
    assert (content(kind, path).read_text(), names(tmp_path)) == ("second", ["it"])


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_process_killed_while_it_writes_leaves_nothing_half(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    write(kind, path, "whole")
    write("file", tmp_path / "it.other", "not concerned")
    process = start(HALF, kind, path)
    write(kind, path, "of another process")  # does not disturb the one that is writing
    assert len(names(tmp_path)) == (4 if kind == "file" else 3)
    stop(process)
    assert content(kind, path).read_text() == "of another process"
    write(kind, path, "next")
    assert (content(kind, path).read_text(), names(tmp_path)) == ("next", ["it", "it.other"])


def test_a_process_killed_between_the_two_renames_of_a_directory_loses_neither(
    tmp_path: Path,
) -> None:
    path = tmp_path / "it"
    process = start(HALF, "directory", path)
    stop(process)
    (unfinished,) = tmp_path.iterdir()
    write("directory", tmp_path / "elsewhere", "former")
    (tmp_path / "elsewhere").rename(unfinished.with_suffix(".former"))
    with pytest.raises(ZeroDivisionError):
        write("directory", path, "half", then=ZeroDivisionError())
    assert (content("directory", path).read_text(), names(tmp_path)) == ("former", ["it"])


def test_what_a_process_of_the_same_number_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".it.1-0.unfinished").write_text("half")  # process 1 runs, and began earlier
    write("file", tmp_path / "it", "whole")
    assert len(names(tmp_path)) == 2
    monkeypatch.setattr("psutil.Process.create_time", lambda _: 1e12)
    write("file", tmp_path / "it", "whole")
    assert names(tmp_path) == ["it"]


def test_a_directory_that_cannot_take_its_name_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "it"
    write("directory", path, "former")
    rename = Path.rename

    def refused(source: Path, target: Path) -> Path:
        if source.suffix == ".unfinished":
            raise PermissionError(13, "Permission denied")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(PermissionError):
        write("directory", path, "new")
    monkeypatch.undo()
    assert (content("directory", path).read_text(), names(tmp_path)) == ("former", ["it"])


def test_content_is_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[str, bool]] = []
    path = tmp_path / "it"

    def flush(what: Path) -> None:
        flushed.append((re.sub(r"\d+-\d+", "N", what.name), path.exists()))

    monkeypatch.setattr(durability, "flush", flush)
    write("directory", path, "whole")
    unfinished = ".it.N.unfinished"
    assert flushed == [("content", False), (unfinished, False), (tmp_path.name, True)]


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_survives_kill_9(writer: str, tmp_path: Path) -> None:
    target = tmp_path / "it"
    again: dict[str, Callable[[], object]] = {
        "a new atlas": lambda: open_atlas(target, create=True),
        "a backup": lambda: open_atlas(tmp_path / "old.duckdb"),
        "a delta file": lambda: write_delta(target, [random_edit(language_model("bert"), 1)]),
        "an exported model": lambda: export_model(
            language_model("bert"), random_edit(language_model("bert"), 1), target
        ),
        "an exported run": lambda: export_run(open_atlas(tmp_path / "whole.duckdb"), None, target),
    }
    if writer == "a backup":
        (tmp_path / "old.duckdb").write_bytes(asset("0001").read_bytes())
        target = tmp_path / "old.duckdb.backup-0001"
    elif writer == "an exported run":
        build(tmp_path / "whole.duckdb")
    before = names(tmp_path)
    stop(start(f"{KILLED}\n    {WRITERS[writer]}", tmp_path / "it"))
    assert not target.exists()
    assert len(names(tmp_path)) > len(before)
    again[writer]()
    assert names(tmp_path) == sorted([*before, target.name])
    if writer == "a delta file":
        assert len(read_delta(target)) == 1


def test_nobody_else_renames_or_flushes() -> None:
    elsewhere = re.compile(r"os\.(replace|rename|fsync)\(|\.rename\(|mkstemp\(|mkdtemp\(")
    found = [path for path in SOURCES if elsewhere.search(path.read_text(encoding="utf-8"))]
    assert found == [LIBRARY / "durability.py"]
