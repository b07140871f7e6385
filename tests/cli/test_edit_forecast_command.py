"""`atlas edit forecast`: three formats, the limit, notes; and what a check says of it."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from answers import rows_of, summary_of
from invocation import run
from stored_edits import Edited, build


@pytest.fixture(scope="module")
def edited(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    directory = tmp_path_factory.mktemp("forecast")
    made = build(directory, saved_bert).copied(directory / "own.duckdb")
    made.store()
    return made


def _forecast(edited: Edited, *options: str) -> Any:
    return run("edit", "forecast", "1", *options, "--model", str(edited.directory), on=edited)


def test_three_formats_say_the_same_and_the_limit_cuts_them(edited: Edited) -> None:
    expected = edited.atlas.forecast(1, lm=edited.lm, limit=None)
    found = _forecast(edited, "--limit", "0", "--format", "json")
    assert found.exit_code == 0, found.output
    assert [row["fact_id"] for row in rows_of(found.stdout)] == [
        fact.fact_id for fact in expected.affected
    ]
    assert summary_of(found.stdout)["own_forecast"] == pytest.approx(expected.own_forecast)
    text = _forecast(edited, "--limit", "2", "--format", "csv").stdout
    table = list(csv.DictReader(io.StringIO(text)))
    assert [row["fact_id"] for row in table] == [f.fact_id for f in expected.affected[:2]]
    assert float(table[0]["forecast"]) == expected.affected[0].forecast
    shown = _forecast(edited, "--limit", "2")
    assert shown.stdout.startswith("Edit 1, ")
    assert expected.affected[0].subject in shown.stdout
    assert f"2 of {expected.facts} facts; --limit 0 shows all." in shown.stderr
    said = " ".join(shown.stderr.split())
    assert f"On the edit's own prompts the forecast is {expected.own_forecast:.3g}" in said
    assert f"From activations of {expected.prompts} prompts in" in said
    assert "atlas edit check 1 --scope all" in said


def test_what_cannot_be_forecast_is_one_line(edited: Edited) -> None:
    result = run("edit", "forecast", "9", on=edited)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "no edit 9: the atlas has 1" in result.stderr


def test_a_check_shows_how_well_the_forecast_did_beside_score_mass(edited: Edited) -> None:
    edited.atlas.forecast(1, lm=edited.lm)
    arguments = ("--scope", "all", "--model", str(edited.directory))
    lines = run("edit", "check", "1", *arguments, on=edited).stdout.splitlines()
    (place,) = [n for n, line in enumerate(lines) if line.startswith("How well that was foretold")]
    assert "with stored activations" in " ".join(lines[place : place + 2])
    rows = [
        line.split()[0] for line in lines[place:] if line.startswith(("forecast", "score mass"))
    ]
    assert rows == ["forecast", "score"]
