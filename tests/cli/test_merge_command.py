"""`atlas merge`, `atlas import run` and `atlas index --shard`: what they print and refuse."""

import csv
import io
import json
from pathlib import Path

import pytest
from atlas_cli import tables
from atlas_content import names
from invocation import run
from rich.cells import cell_len
from synthetic import Synthetic
from synthetic_shards import RUN, measured

from atlas.atlas import open_atlas
from atlas.indexing.shards import Shard


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two of two shards."""
    directory = tmp_path_factory.mktemp("shards")
    paths = (directory / f"shard-{n}.duckdb" for n in (1, 2))
    return [str(measured(path, shard=Shard(n, 2), null=False)) for n, path in enumerate(paths, 1)]


def test_a_merge_says_what_came_from_where_and_how_far_each_run_is(
    shards: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "available", lambda: 80)
    to = tmp_path / "merged.duckdb"
    first = run("merge", shards[0], "--to", str(to))
    assert first.exit_code == 0, first.output
    assert f"Run {RUN.run_id} of synthetic in {to}: " in first.stderr
    assert "prompts measured, finished, shard 1 of 2." in first.stderr
    assert all(cell_len(line) <= 80 for line in first.stdout.splitlines()), first.stdout
    assert "shard 1 of 2" in run("info", "--db", str(to)).stdout
    second = run("merge", *shards, "--to", str(to), "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(second.stdout)))
    assert [(row["source"], row["new_runs"]) for row in rows] == [(p, "0") for p in shards]
    assert rows[0]["prompts"] == "0" < rows[1]["prompts"]
    assert "72 prompts measured, finished." in second.stderr
    assert "merging: 2 sources (" in second.stderr
    answer = json.loads(run("merge", *shards, "--to", str(to), "--format", "json").stdout)
    assert answer["summary"]["created"] is False
    assert answer["summary"]["runs"][0]["shards"] is None


def test_sources_that_are_not_there_are_one_line_and_no_file(tmp_path: Path) -> None:
    to = tmp_path / "merged.duckdb"
    result = run("merge", str(tmp_path / "shard-*.duckdb"), "--to", str(to))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "nothing is called" in result.stderr
    assert names(tmp_path) == []
    itself = run("merge", str(to), "--to", str(to))
    assert "(--to FILE)" in itself.stderr
    assert run("merge").exit_code == 2


@pytest.mark.parametrize("shard", ["65/64", "0/64", "garbage"])
def test_what_is_no_shard_is_one_line_and_no_file(shard: str, tmp_path: Path) -> None:
    result = run("index", "--shard", shard, "--db", str(tmp_path / "a.duckdb"))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.endswith("(--shard K/N)\n")
    assert names(tmp_path) == []


def test_an_exported_run_is_imported(own: Synthetic, tmp_path: Path) -> None:
    directory, db = str(tmp_path / "run"), tmp_path / "other.duckdb"
    run("export", "run", own.run_id, "--to", directory, on=own)
    result = run("import", "run", directory, "--db", str(db))
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert f"Run {own.run_id} of synthetic in {db}: 36 prompts measured, finished." in result.stderr
    assert open_atlas(db).info().runs == own.atlas.info().runs
    missing = run("import", "run", str(tmp_path / "none"), "--db", str(tmp_path / "new.duckdb"))
    assert (missing.exit_code, missing.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "new.duckdb").exists()


def test_import_says_what_it_takes() -> None:
    assert {"published", "run"} <= set(run("import", "--help").stdout.split())
    assert run("import").exit_code == 2
