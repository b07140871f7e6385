import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from atlas_content import content, names, revision, rows
from processes import run, run_on_full_disk, run_without_privileges, start
from revision_assets import asset, released
from synthetic import build

from atlas.atlas import open_atlas
from atlas.errors import LockedAtlas
from atlas.paths import MIGRATIONS
from atlas.selection.thresholds import Thresholds
from atlas.store import connection as connections
from atlas.store import migrate
from atlas.store.connection import exclusive, reading

ADD_A_TABLE = """
from alembic import op

revision = "9998"
down_revision = "{newest}"


def upgrade():
    op.execute("CREATE TABLE additions (addition VARCHAR)")
    op.execute("ALTER TABLE models ADD COLUMN note VARCHAR")
    {end}
"""


OPEN_WITH = """
    import sys
    from pathlib import Path
    from atlas.errors import AtlasError
    from atlas.store import migrate
    from atlas.atlas import open_atlas
    migrate.MIGRATIONS = Path(sys.argv[2])
    print(flush=True)
    try:
        open_atlas(sys.argv[1])
    except AtlasError as e:
        print(type(e).__name__, e)
"""


def with_migration(directory: Path, end: str = "") -> Path:
    """A copy of the migrations with one more, whose upgrade ends with the statement `end`."""
    newest = migrate.revisions()[-1]
    shutil.copytree(MIGRATIONS, directory, ignore=shutil.ignore_patterns("__pycache__"))
    text = ADD_A_TABLE.format(newest=newest, end=end)
    (directory / "versions" / "9998_additions.py").write_text(text)
    return directory


def schema(path: Path) -> list[tuple[object, ...]]:
    with reading(path) as connection:
        return (
            connection.execute(
                """
            SELECT table_name, column_name, data_type, is_nullable
            FROM duckdb_columns()
            WHERE NOT internal
            ORDER BY table_name, column_index
            """
            ).fetchall()
            + connection.execute(
                """
            -- files of an older format have more parentheses
            SELECT view_name, translate(sql, '()', '')
            FROM duckdb_views()
            WHERE NOT internal
            ORDER BY view_name
            """
            ).fetchall()
        )


def test_the_revisions_are_those_that_alembic_sees() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert migrate.revisions() == [s.revision for s in scripts.walk_revisions()][::-1]
    assert migrate.revisions()[-1] == scripts.get_current_head()


def test_an_older_atlas_is_upgraded_after_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.duckdb"
    build(path)
    before = content(path)
    old = migrate.revisions()[-1]
    migrations = with_migration(tmp_path / "migrations")
    monkeypatch.setattr(migrate, "MIGRATIONS", migrations)
    open_atlas(path)
    assert revision(path) == "9998"
    after = content(path)
    assert after.pop("additions") == []
    assert after.pop("models") == [(*row, None) for row in before["models"]]
    assert {**after, "models": [], "alembic_version": []} == {
        **before,
        "models": [],
        "alembic_version": [],
    }
    backup = tmp_path / f"a.duckdb.backup-{old}"
    assert content(backup) == before
    assert names(tmp_path) == ["a.duckdb", backup.name, "migrations"]
    at = backup.stat()
    open_atlas(path)
    assert backup.stat() == at


def test_the_backup_holds_what_a_killed_writer_had_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    old = migrate.revisions()[-1]
    monkeypatch.setattr(migrate, "MIGRATIONS", with_migration(tmp_path / "migrations"))
    open_atlas(path)
    backup = tmp_path / f"a.duckdb.backup-{old}"
    assert content(backup)["relations"] == [("P36", "capital")]
    assert content(path)["relations"] == [("P36", "capital")]


def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.duckdb"
    build(path)
    before, old_schema, old = content(path), schema(path), migrate.revisions()[-1]
    monkeypatch.setattr(
        migrate, "MIGRATIONS", with_migration(tmp_path / "migrations", "raise ValueError('no')")
    )
    with pytest.raises(ValueError, match="no"):
        open_atlas(path)
    assert content(path) == before
    assert schema(path) == old_schema
    assert content(tmp_path / f"a.duckdb.backup-{old}") == before


def test_a_process_killed_while_upgrading_leaves_the_old_atlas(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    build(path)
    before, old_schema = content(path), schema(path)
    migrations = with_migration(
        tmp_path / "migrations", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert run(OPEN_WITH, path, migrations).returncode == -9
    assert content(path) == before
    assert schema(path) == old_schema
    open_atlas(path)


def test_several_processes_may_upgrade_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    build(path)
    migrations = with_migration(tmp_path / "migrations")
    processes = [start(OPEN_WITH, path, migrations) for _ in range(3)]
    for process in processes:
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "")
    assert revision(path) == "9998"


def test_upgrading_keeps_others_out_until_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.duckdb"
    open_atlas(path, create=True)
    (tmp_path / "look.py").write_text(
        "import duckdb, sys\nduckdb.connect(sys.argv[1], read_only=True)\n"
    )
    look = (
        "import subprocess, sys; "
        f"looked = subprocess.run([sys.executable, {str(tmp_path / 'look.py')!r}, {str(path)!r}], "
        "capture_output=True, text=True); "
        "assert 'Could not set lock' in looked.stderr, looked.stderr"
    )
    monkeypatch.setattr(migrate, "MIGRATIONS", with_migration(tmp_path / "migrations", look))
    open_atlas(path)
    assert revision(path) == "9998"


def test_an_older_atlas_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    directory = tmp_path / "shelf"
    directory.mkdir()
    path = directory / "a.duckdb"
    open_atlas(path, create=True)
    migrations = with_migration(tmp_path / "migrations")
    path.chmod(0o444)
    directory.chmod(0o555)
    done = run_without_privileges(OPEN_WITH, path, migrations)
    directory.chmod(0o755)
    assert done.stdout.strip().startswith("ReadOnlyAtlas"), done.stderr
    assert names(directory) == ["a.duckdb"]


def test_a_full_disk_during_the_backup_leaves_the_old_atlas(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    open_atlas(path, create=True)
    before = content(path)
    migrations = with_migration(tmp_path / "migrations")
    done = run_on_full_disk(OPEN_WITH, path, migrations, size=path.stat().st_size - 1)
    assert done.stdout.strip().startswith("DiskFull"), done.stdout + done.stderr
    assert content(path) == before
    assert names(tmp_path) == ["a.duckdb", "migrations"]


def test_an_upgrade_waits_for_readers_and_then_says_who_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.duckdb"
    open_atlas(path, create=True)
    process = start(
        """
        import sys, duckdb
        connection = duckdb.connect(sys.argv[1], read_only=True)
        print(flush=True)
        sys.stdin.readline()
        """,
        path,
    )
    monkeypatch.setattr(migrate, "MIGRATIONS", with_migration(tmp_path / "migrations"))
    monkeypatch.setattr(connections, "exclusive", partial(exclusive, wait=0.2))
    with pytest.raises(LockedAtlas, match=f"process {process.pid}"):
        open_atlas(path)
    process.communicate("\n")


STABILITY = ("fact_stability", "neuron_stability")


@pytest.mark.parametrize("old", released())
def test_an_atlas_of_every_past_revision_can_be_upgraded(tmp_path: Path, old: str) -> None:
    path = tmp_path / "old.duckdb"
    shutil.copyfile(asset(old), path)
    assert revision(path) == old
    before = content(path)
    open_atlas(path)
    fresh = tmp_path / "fresh.duckdb"
    open_atlas(fresh, create=True)
    assert revision(path) == revision(fresh)
    assert schema(path) == schema(fresh)
    after = content(path)
    assert {table: len(rows) for table, rows in before.items()} == {
        table: len(after[table]) for table in before
    }
    assert len(after["knowledge_neurons"]) == 36
    of_then = Thresholds(known_only=False, stops="last") if old < "0007" else Thresholds()
    build(path, thresholds=of_then)  # the same again, through today's code: nothing new to write,
    again = content(path)
    for table in STABILITY:  # but what is new
        assert again[table]
        after[table] = after[table] or again[table]
    assert again == after


@pytest.mark.parametrize("old", [old for old in released() if old < "0005"])
def test_upgrading_names_every_selection_as_selecting_would(tmp_path: Path, old: str) -> None:
    path = tmp_path / "old.duckdb"
    shutil.copyfile(asset(old), path)
    run_id = rows(path, "SELECT run_id FROM runs")[0][0]
    made = [
        Thresholds("fixed", known_only=False),
        Thresholds("fixed", ratio=0.3, comparison=">", min_prompts=1, known_only=False),
        Thresholds("paper", ratio=0.3, target_high=7, step=0.1, known_only=False, stops="last"),
    ]
    with exclusive(path) as connection:
        for i, thresholds in enumerate([*made, made[0]]):
            connection.execute(
                """
                INSERT INTO selections
                SELECT $id, run_id, $preset, 0.3, 0.7, '>=', 3, now()::TIMESTAMP + INTERVAL 1 HOUR,
                       TIMESTAMP '2020-01-01' + to_days($day::INTEGER), $settings
                FROM runs
                """,
                {
                    "id": f"{i}{thresholds.selection_id(run_id)}"[:12],
                    "preset": thresholds.preset,
                    "day": i,
                    "settings": json.dumps(thresholds.settings()),
                },
            )
        if old != "0001":
            connection.execute(
                """
                INSERT INTO neuron_associations
                SELECT selection_id, 0, 0, 'relation', 'P36', 1, 0.5, 0.01, 0.01
                FROM latest_selection
                """
            )
    latest = rows(path, "SELECT selection_id FROM latest_selection")
    open_atlas(path)
    names = rows(path, "SELECT name FROM selections ORDER BY created_at, selection_id")
    assert [name for (name,) in names] == [
        "paper",
        "ratio-0.2-sharing-0.7",
        "ratio-0.3-sharing-0.7-above-prompts-1",
        "paper-ratio-0.3-target-2-7-moves-6-0.1",
        "ratio-0.2-sharing-0.7-2",
    ]
    default = "SELECT selection_id, name, associated FROM default_selection"
    assert rows(path, default) == [(*latest[0], "paper", old != "0001")]
    assert rows(path, "SELECT selection_id FROM latest_selection") == latest
    assert rows(path, "SELECT DISTINCT selection_id FROM neuron_facts") == latest


def test_the_dictionary_says_how_long_ids_are(tmp_path: Path) -> None:
    build(tmp_path / "a.duckdb")
    for table, column in (("runs", "dataset_digest"), ("models", "model_id")):
        (length,) = rows(tmp_path / "a.duckdb", f"SELECT max(length({column})) FROM {table}")[0]
        said = rows(
            tmp_path / "a.duckdb",
            f"""
            SELECT comment
            FROM duckdb_columns()
            WHERE table_name = '{table}'
              AND column_name = '{column}'
            """,
        )
        assert f"{length} hex digits" in said[0][0]


def test_a_directory_name_may_hold_a_percent_sign(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "MIGRATIONS", with_migration(tmp_path / "100%s"))
        open_atlas(tmp_path / "a.duckdb", create=True)
    assert revision(tmp_path / "a.duckdb") == "9998"
