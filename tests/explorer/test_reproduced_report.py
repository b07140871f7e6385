"""The report of claims on trial: one page that needs nothing else, and its rows beside it."""

import csv
import re
from pathlib import Path

import pytest
from invocation import run
from planted import planted_dataset, save_planted
from tiny_index import CHEAP, indexed, on, rows

from atlas.atlas import Atlas, open_atlas
from atlas.errors import SettingsError
from atlas.evidence.experiments.experiment import Chart, Estimate, Point
from atlas.explorer.rendering import figures

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = ("neurons", "sharing", "suppress")


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    place = tmp_path_factory.mktemp("reproduced")
    model = save_planted(place / "model")
    indexed(place / "a.duckdb", on(model, integration=CHEAP), planted_dataset())
    atlas = open_atlas(place / "a.duckdb")
    atlas.reproduce(*FEW)
    return atlas


def test_the_page_needs_nothing_but_itself(db: Atlas, tmp_path: Path) -> None:
    path = tmp_path / "trial.html"
    report = db.reproduce(*FEW, report=path)
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=|url\(|@import|<script", text)
    for claim in report.claims:
        assert f"<strong>{claim.claim}</strong>".replace("'", "&#39;") in text
        assert claim.source in text
    assert text.count('role="img"') == sum(len(one.charts) for one in report.experiments) == 3
    assert text.count("aria-label=") >= 3


def test_rows_beside_it_are_those_of_the_atlas(db: Atlas, tmp_path: Path) -> None:
    db.reproduce(*FEW, report=tmp_path / "trial.html")
    for name in FEW:
        with (tmp_path / "trial-rows" / f"{name}.csv").open(encoding="utf-8") as file:
            found = [
                (r["item"], r["measure"], r["series"], float(r["x"]) if r["x"] else None,
                 float(r["value"]))
                for r in csv.DictReader(file)
            ]  # fmt: skip
        stored = rows(
            db.path,
            f"""
            SELECT item, measure, series, x, value
            FROM experiment_rows
            WHERE experiment = '{name}'
            ORDER BY measure, series, x, item, value
            """,
        )
        assert found == stored


def test_what_is_there_is_replaced_only_by_force(db: Atlas, tmp_path: Path) -> None:
    path = tmp_path / "trial.html"
    path.write_text("mine")
    with pytest.raises(SettingsError, match="is there already"):
        db.reproduce("sharing", report=path)
    assert path.read_text() == "mine"
    db.reproduce("sharing", report=path, force=True)
    assert "Published claims" in path.read_text()
    (tmp_path / "trial-rows" / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="no directory of rows"):
        db.reproduce("sharing", report=path, force=True)
    with pytest.raises(SettingsError, match="there is no directory"):
        db.reproduce("sharing", report=tmp_path / "nowhere" / "trial.html")


def test_names_in_charts_are_escaped() -> None:
    some = Estimate(0.5, 0.4, 0.6, 3)
    for x in ("<script>", 2.0):
        chart = Chart("c", "t", 'about "it" <b>', "x", "y", (Point("<i>&", x, some),))
        drawn = figures.experiment(chart)
        assert "<script>" not in drawn
        assert "<i>" not in drawn
        assert "<b>" not in drawn
        assert "0.500 (0.400 to 0.600), n = 3" in drawn


def test_the_command_prints_claims_and_writes_the_page(db: Atlas, tmp_path: Path) -> None:
    page = tmp_path / "trial.html"
    result = run("reproduce", *FEW, "--db", str(db.path), "--report", str(page))
    assert result.exit_code == 0, result.output
    assert "suppressed, random" in result.stdout
    assert "verdict" in result.stdout
    assert page.exists()
    again = run("reproduce", "sharing", "--db", str(db.path), "--report", str(page))
    assert again.exit_code == 1
    assert again.stderr.count("\n") == 1
    assert "--force" in again.stderr
    unknown = run("reproduce", "supress", "--db", str(db.path))
    assert unknown.exit_code == 1
    assert "choose neurons, sharing, baseline" in unknown.stderr
    told = run("reproduce", *FEW, "--db", str(db.path), "--format", "csv")
    claims = list(csv.DictReader(told.stdout.splitlines()))
    assert {claim["experiment"] for claim in claims} == set(FEW)
