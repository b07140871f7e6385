"""`atlas info`: the whole file at a glance."""

import csv
import io
from pathlib import Path

import pytest
from answers import merged_of
from invocation import run
from synthetic import SKIPPED_BECAUSE, Synthetic

from atlas.atlas import open_atlas
from atlas.store.migrate import revisions


def test_info_shows_totals_models_runs_and_selections(asked: Synthetic) -> None:
    result = run("info", on=asked)
    lines = result.stdout.splitlines()
    about = f"Questions are about selection paper ({asked.selection_id}) of synthetic."
    assert lines[:2] == [about, ""]
    lines = lines[2:]
    assert lines[0] == str(asked.atlas.path)
    assert [" ".join(line.split()) for line in lines[2:7]] == [
        f"schema revision {revisions()[-1]}",
        "relations 2",
        "templates 8",
        "facts 12",
        "prompts 48",
    ]
    text = [" ".join(line.split()) for line in lines]
    assert "synthetic bert masked 4 64" in text
    assert f"Run {asked.run_id} of synthetic" in text
    assert "status finished, atlas 0.1.0" in text
    assert (
        "settings rule adaptive, tolerance 0.01, baseline zero, score floor 0.05, "
        "dtype float32, device cpu" in text
    )
    assert "measured 36 prompts, 180 scores kept" in text
    assert f"12 {SKIPPED_BECAUSE}" in text
    found = "paper ratio 0.2, sharing 0.7, >=, at least 3 prompts 12 3.000"
    assert f"paper default {asked.selection_id} {found}" in text
    assert (result.stderr, result.exit_code) == ("", 0)


def test_info_as_json_holds_everything(asked: Synthetic) -> None:
    answer = merged_of(run("info", "--format", "json", on=asked).stdout, "runs")
    assert sorted(answer) == ["models", "runs", "selections", "skipped", "totals"]
    assert answer["totals"]["bytes"] == asked.atlas.path.stat().st_size
    assert answer["runs"][0]["settings"] == {"synthetic": True}
    assert answer["selections"][0]["selection_id"] == asked.selection_id


@pytest.mark.parametrize(
    ("part", "column", "value"),
    [
        ("runs", "status", "finished"),
        ("models", "name", "synthetic"),
        ("selections", "preset", "paper"),
        ("skipped", "reason", SKIPPED_BECAUSE),
        ("totals", "schema_revision", revisions()[-1]),
    ],
)
def test_info_as_csv_is_the_table_asked_for(
    asked: Synthetic, part: str, column: str, value: str
) -> None:
    text = run("info", "--format", "csv", "--show", part, on=asked).stdout
    (row,) = csv.DictReader(io.StringIO(text))
    assert row[column] == value


def test_info_of_an_empty_atlas_says_how_to_start(tmp_path: Path) -> None:
    path = tmp_path / "empty.duckdb"
    open_atlas(path, create=True)
    result = run("info", "--db", str(path))
    assert result.stderr == "No run yet: start one with `atlas index`.\n"
    assert result.exit_code == 0
    assert run("info", "--db", str(path), "--format", "csv").stdout.startswith("run_id,model,")
