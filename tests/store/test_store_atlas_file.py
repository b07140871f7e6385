from pathlib import Path

import duckdb
import pytest
from atlas_content import content, names, revision
from processes import run, run_on_full_disk, run_without_privileges, start
from synthetic import build

from atlas.atlas import Atlas, open_atlas
from atlas.errors import NewerAtlas, NotAnAtlas, StoreError
from atlas.store import migrate
from atlas.store.connection import exclusive

CREATE = """
    import sys
    from atlas.errors import AtlasError
    from atlas.atlas import open_atlas
    print(flush=True)
    try:
        open_atlas(sys.argv[1], create=True)
    except AtlasError as e:
        print(type(e).__name__, e)
"""


DIE_WHILE_CREATING = """
    import os, signal, sys
    from atlas.store import migrate
    from atlas.atlas import open_atlas
    upgrade = migrate.upgrade
    def upgrade_and_die(connection):
        upgrade(connection)
        os.kill(os.getpid(), signal.SIGKILL)
    migrate.upgrade = upgrade_and_die
    open_atlas(sys.argv[1], create=True)
"""


HEAVY = ("alembic", "sqlalchemy", "pyarrow", "torch", "transformers", "click", "rich")


def test_a_new_atlas_is_in_a_format_that_older_duckdbs_read(tmp_path: Path) -> None:
    path = build(tmp_path / "a.duckdb").atlas.path  # created, and then written to as ever
    with open_atlas(path).reading() as connection:
        tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal")
        assert [tag["storage_version"] for (tag,) in tags.fetchall()] == ["v1.0.0+"]


def test_a_new_atlas_has_the_newest_revision_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "new.duckdb"
    assert open_atlas(path, create=True) == Atlas(path)
    assert revision(path) == migrate.revisions()[-1]
    assert names(tmp_path) == ["new.duckdb"]


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    open_atlas(path, create=True)
    before = path.read_bytes()
    open_atlas(str(path), create=True)
    open_atlas(path)
    assert path.read_bytes() == before


def test_a_missing_atlas_is_not_created_unless_asked(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run `atlas index`, or name another file"):
        open_atlas(tmp_path / "a.duckdb")
    assert names(tmp_path) == []


def test_a_missing_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file or directory") as e:
        open_atlas(tmp_path / "nowhere" / "a.duckdb", create=True)
    assert "\n" not in str(e.value)


def test_reading_and_writing_go_through_the_atlas(tmp_path: Path) -> None:
    atlas = open_atlas(tmp_path / "a.duckdb", create=True)
    with atlas.writing() as connection:
        connection.execute("INSERT INTO relations VALUES ('P36', 'capital')")
    with atlas.reading() as connection:
        rows = connection.execute("SELECT relation_id, label FROM relations").fetchall()
    assert rows == [("P36", "capital")]


def test_opening_a_current_atlas_loads_no_heavy_library(tmp_path: Path) -> None:
    open_atlas(tmp_path / "a.duckdb", create=True)
    done = run(
        """
        import sys
        import atlas.selection.select, atlas.store.user_sql, atlas.indexing.records
        from atlas.atlas import open_atlas
        with open_atlas(sys.argv[1]).reading() as connection:
            connection.execute("SELECT * FROM runs").fetchall()
        print(sorted({name.split(".")[0] for name in sys.modules} & set(sys.argv[2:])))
        """,
        tmp_path / "a.duckdb",
        *HEAVY,
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_process_killed_while_creating_leaves_no_atlas_and_the_next_one_cleans_up(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.duckdb"
    assert run(DIE_WHILE_CREATING, path).returncode == -9
    assert path.name not in names(tmp_path)
    open_atlas(path, create=True)
    assert names(tmp_path) == ["a.duckdb"]
    assert revision(path) == migrate.revisions()[-1]


def test_the_log_of_a_deleted_atlas_does_not_spoil_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    open_atlas(path, create=True)
    run(
        """
        import os, signal, sys
        from atlas.store.connection import exclusive
        with exclusive(sys.argv[1]) as connection:
            connection.execute("INSERT INTO relations VALUES ('P36', 'capital')")
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        path,
    )
    assert names(tmp_path) == ["a.duckdb", "a.duckdb.wal"]
    path.unlink()
    open_atlas(path, create=True)
    assert content(path)["relations"] == []


def test_several_processes_may_create_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    processes = [start(CREATE, path) for _ in range(3)]
    for process in processes:
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "")
    assert names(tmp_path) == ["a.duckdb"]


def test_creating_on_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    for size in (0, 100, 5_000, 20_000, 300_000, 600_000):
        done = run_on_full_disk(CREATE, tmp_path / "a.duckdb", size=size)
        assert done.stdout.strip().startswith("DiskFull"), done.stdout + done.stderr
        assert names(tmp_path) == []


def test_creating_in_a_read_only_directory_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    done = run_without_privileges(CREATE, tmp_path / "a.duckdb")
    tmp_path.chmod(0o755)
    assert done.stdout.strip().startswith("ReadOnlyAtlas"), done.stderr
    assert names(tmp_path) == []


def test_a_duckdb_file_without_tables_becomes_an_atlas_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(NotAnAtlas, match="atlas index"):
        open_atlas(path)
    open_atlas(path, create=True)
    assert revision(path) == migrate.revisions()[-1]
    assert names(tmp_path) == ["a.duckdb"]


@pytest.mark.parametrize("create", [False, True])
def test_a_duckdb_file_of_something_else_is_left_alone(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "a.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
    before = path.read_bytes()
    with pytest.raises(NotAnAtlas, match="something else"):
        open_atlas(path, create=create)
    assert path.read_bytes() == before


def test_a_newer_atlas_is_refused_and_both_revisions_named(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    open_atlas(path, create=True)
    with exclusive(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(NewerAtlas, match=f"9999.*{migrate.revisions()[-1]}") as e:
        open_atlas(path, create=True)
    assert "\n" not in str(e.value)
    assert path.read_bytes() == before
