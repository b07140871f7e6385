"""Every `atlas sql` analysis in the README runs."""

import csv
import io
import re
import shlex
from pathlib import Path

import pytest
from invocation import run
from synthetic import Synthetic, build

README = Path(__file__).parents[2] / "README.md"
LEAST = 8  # analyses that the README owes its readers


def analyses(text: str) -> list[str]:
    """The SQL of every indented block that begins with `atlas sql "`."""
    blocks = re.findall(r'^ {4}(?:\$ )?(atlas sql "[^"]*")', text, re.MULTILINE)
    return [shlex.split(block)[2] for block in blocks]


ANALYSES = analyses(README.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """Four relations, of which the analyses can find something."""
    return build(tmp_path_factory.mktemp("readme") / "atlas.duckdb", relations=4)


def test_the_readme_has_enough_analyses() -> None:
    assert len(ANALYSES) >= LEAST


@pytest.mark.parametrize("number", range(len(ANALYSES)))
def test_an_analysis_of_the_readme_runs(atlas: Synthetic, number: int) -> None:
    result = run("sql", ANALYSES[number], "--format", "csv", on=atlas)
    assert result.exit_code == 0, f"{ANALYSES[number]}\n{result.stderr}"
    header, *_ = csv.reader(io.StringIO(result.stdout))
    assert header


def test_the_analyses_are_found_as_they_are_written() -> None:
    text = 'text `atlas sql "x"`\n\n    atlas sql "SELECT 1\n               FROM a"\n\n    1\n'
    assert analyses(text) == ["SELECT 1\n               FROM a"]
