"""Atlas files that cannot be used: one line from every command, and they stay as they are."""

import shutil
from collections.abc import Callable

import duckdb
import processes
import pytest
from invocation import MAIN
from refusals import Place, files, index, refused
from synthetic import Synthetic

from atlas.store import connection

COMMANDS = (
    ("index",),
    ("query", "--hubs"),
    ("select",),
    ("sql", "SELECT sum(score) FROM attributions"),
    ("info",),
)


def on(place: Place, command: tuple[str, ...]) -> tuple[str, ...]:
    """A command with the place's atlas."""
    return index(place) if command == ("index",) else (*command, "--db", str(place.db))


def _foreign(place: Place, _: Synthetic) -> None:
    place.db.write_bytes(b"a picture of an atlas" * 1000)


def _other(place: Place, _: Synthetic) -> None:
    with duckdb.connect(str(place.db)) as connection:
        connection.execute("CREATE TABLE recipes (name VARCHAR)")


def _newer(place: Place, asked: Synthetic) -> None:
    shutil.copy(asked.atlas.path, place.db)
    with duckdb.connect(str(place.db)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def _truncated(place: Place, asked: Synthetic) -> None:
    place.db.write_bytes(asked.atlas.path.read_bytes()[:20_000])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_foreign, "is not a DuckDB file"),
        (_other, "is a DuckDB file of something else"),
        (_newer, "has schema revision 9999"),
        (_truncated, "truncated or damaged"),
    ],
)
def test_a_file_that_is_no_atlas_of_this_version_is_one_line_and_stays_as_it_is(
    place: Place,
    asked: Synthetic,
    spoil: Callable[[Place, Synthetic], None],
    complaint: str,
    command: tuple[str, ...],
) -> None:
    spoil(place, asked)
    assert complaint in refused(place, *on(place, command))


@pytest.mark.parametrize("command", COMMANDS[1:], ids=" ".join)
def test_a_missing_atlas_is_one_line_and_is_not_created(
    place: Place, command: tuple[str, ...]
) -> None:
    line = refused(place, *on(place, command))
    assert line.startswith(f"Error: no atlas at {place.db}: run `atlas index`")


def test_an_atlas_in_a_missing_directory_is_one_line(place: Place) -> None:
    missing = place.directory / "no" / "such" / "atlas.duckdb"
    assert str(missing) in refused(place, *index(place, "--db", str(missing)))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_atlas_that_another_process_holds_is_one_line_with_its_number(
    place: Place, asked: Synthetic, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 1e9)  # so that nobody waits for it
    shutil.copy(asked.atlas.path, place.db)
    holder = processes.start(
        """
        import sys, duckdb
        connection = duckdb.connect(sys.argv[1])
        print("held", flush=True)
        sys.stdin.read()
        """,
        place.db,
    )
    try:
        assert f"is in use by process {holder.pid}" in refused(place, *on(place, command))
    finally:
        processes.stop(holder)


@pytest.mark.parametrize("directory_mode", [0o755, 0o555], ids=["file", "directory"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_atlas_that_may_not_be_written_is_read_and_writing_is_one_line(
    place: Place, asked: Synthetic, command: tuple[str, ...], directory_mode: int
) -> None:
    shutil.copy(asked.atlas.path, place.db)
    place.db.chmod(0o444)
    before = files(place.directory)
    place.directory.chmod(directory_mode)
    done = processes.run_without_privileges(MAIN, *on(place, command))
    place.directory.chmod(0o755)
    assert files(place.directory) == before
    if command[0] in ("index", "select"):
        assert done.stderr.startswith(f"Error: {place.db} or its directory does not permit this")
        assert done.stderr.count("\n") == 1
        assert (done.stdout, done.returncode) == ("", 1)
    else:
        assert (done.stderr.count("Error"), done.returncode) == (0, 0), done.stderr
        assert done.stdout
