"""A run as Parquet files."""

import shutil
from pathlib import Path

import duckdb
import pytest
from synthetic import Synthetic, build
from synthetic_null import add_null

from atlas.errors import NotFound, SettingsError
from atlas.export.run_export import export_run
from atlas.export.run_tables import EXPORTED
from atlas.selection.select import Thresholds, select


@pytest.fixture
def made(tmp_path: Path) -> Synthetic:
    return build(tmp_path / "atlas.duckdb")


def test_every_table_of_an_atlas_is_exported(made: Synthetic) -> None:
    with made.atlas.reading() as connection:
        names = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert {name for name, _ in EXPORTED} == {name for (name,) in names} - {"alembic_version"}


def test_an_only_run_is_exported_with_all_that_the_atlas_holds(
    made: Synthetic, tmp_path: Path
) -> None:
    exported = export_run(made.atlas, made.run_id[:5], tmp_path / "out")
    assert exported.run_id == made.run_id
    with made.atlas.reading() as connection:
        for table in exported.tables:
            file = tmp_path / "out" / f"{table.table}.parquet"
            stored = connection.execute(f"FROM {table.table} ORDER BY ALL")
            columns = stored.description
            wanted = stored.fetchall()
            found = duckdb.execute(f"FROM '{file}' ORDER BY ALL")
            assert [c[0] for c in found.description] == [c[0] for c in columns]
            assert found.fetchall() == wanted
            assert (table.rows, table.bytes) == (len(wanted), file.stat().st_size)


def test_rows_of_other_runs_stay_behind(made: Synthetic, tmp_path: Path) -> None:
    with made.atlas.writing() as connection:
        connection.execute("INSERT INTO runs SELECT * REPLACE ('other' AS run_id) FROM runs")
        connection.execute(
            """
            INSERT INTO selections
            SELECT * REPLACE ('other' AS run_id, 'theirs' AS selection_id)
            FROM selections
            """
        )
        connection.execute(
            """
            INSERT INTO knowledge_neurons
            SELECT 'theirs', fact_id, layer, neuron, prompt_share, mean_score
            FROM knowledge_neurons
            WHERE fact_id = 'P36-0'
            """
        )
    export_run(made.atlas, "other", tmp_path / "out")
    for table, rows in (
        ("runs", 1),
        ("selections", 1),
        ("knowledge_neurons", 3),
        ("facts", 1),
        ("relations", 1),
        ("prompts", 0),
        ("attributions", 0),
    ):
        file = tmp_path / "out" / f"{table}.parquet"
        assert duckdb.execute(f"SELECT count(*) FROM '{file}'").fetchall() == [(rows,)], table


def test_the_readme_tells_the_settings_and_every_column(made: Synthetic, tmp_path: Path) -> None:
    exported = export_run(made.atlas, made.run_id, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert text.startswith(f"# Run {made.run_id} of synthetic\n")
    assert "- rule: adaptive\n" in text
    for table in exported.tables:
        assert f"### {table.table} ({table.rows:,} row" in text
        file = tmp_path / "out" / f"{table.table}.parquet"
        for column, *_ in duckdb.execute(f"DESCRIBE FROM '{file}'").fetchall():
            assert f"| {column} |" in text


def test_the_readme_tells_position_known_facts_and_the_null(
    made: Synthetic, tmp_path: Path
) -> None:
    null = add_null(made)
    for name, run_id in (("real", made.run_id), ("null", null.run_id)):
        export_run(made.atlas, run_id, tmp_path / name)
    real, of_null = ((tmp_path / n / "README.md").read_text() for n in ("real", "null"))
    assert "- neurons attributed at: the answer\n" in real
    assert "- facts known: 12 of 12 (the object is the top answer in at least half" in real
    assert f"- null: run {null.run_id}, the same facts with shuffled objects" in real
    assert "- null of: " not in real
    assert f"- null of: run {made.run_id}: its facts with shuffled objects" in of_null
    assert "- null: " not in of_null


def test_the_example_in_the_readme_is_about_one_selection(
    made: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with made.atlas.writing() as connection:
        select(connection, made.run_id, Thresholds("fixed", ratio=0.9), make_default=False)
    export_run(made.atlas, made.run_id, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    sql = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    monkeypatch.chdir(tmp_path / "out")
    assert duckdb.execute(sql).fetchall()[0] == (3, 0, 12)


def test_a_directory_that_is_there_is_replaced_with_force_alone(
    made: Synthetic, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_run(made.atlas, made.run_id, out)
    with pytest.raises(SettingsError, match="have it replaced"):
        export_run(made.atlas, made.run_id, out)
    (out / "stale.parquet").touch()
    export_run(made.atlas, made.run_id, out, force=True)
    assert not (out / "stale.parquet").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"atlas.duckdb", "out"}


def test_force_replaces_nothing_but_an_export(made: Synthetic, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "README.md").write_text("mine")
    (home / "letters.txt").write_text("dear")
    with pytest.raises(SettingsError, match=r"letters\.txt"):
        export_run(made.atlas, made.run_id, home, force=True)
    assert (home / "letters.txt").read_text() == "dear"
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="is a file"):
        export_run(made.atlas, made.run_id, tmp_path / "file", force=True)
    with pytest.raises(SettingsError, match="there is no directory"):
        export_run(made.atlas, made.run_id, tmp_path / "none" / "out")


def test_a_failure_leaves_nothing_and_an_earlier_export_as_it_was(
    made: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export_run(made.atlas, made.run_id, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(
        "atlas.export.run_export.EXPORTED", (*EXPORTED, ("none", "SELECT error('a bug')"))
    )
    with pytest.raises(duckdb.Error, match="a bug"):
        export_run(made.atlas, made.run_id, out, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    shutil.rmtree(out)
    with pytest.raises(duckdb.Error, match="a bug"):
        export_run(made.atlas, made.run_id, out)
    assert not list(tmp_path.glob("out*"))


def test_an_unknown_run_is_told_before_anything_is_made(made: Synthetic, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no run 'zz'"):
        export_run(made.atlas, "zz", tmp_path / "out")
    assert not (tmp_path / "out").exists()
