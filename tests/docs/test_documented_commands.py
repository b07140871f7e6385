"""README and docs, followed from top to bottom on a fresh atlas: every command works as shown."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from documented import PAGES, ROOT, Shown, shown_commands
from invocation import run
from tiny_index import indexed

from atlas.datasets import choose, read_dataset
from atlas.indexing.settings import IndexSettings

# Of the embedded dataset, the relations and facts that the pages speak of; all would take minutes.
RELATIONS = ("P36", "P1376", "P47", "P37", "P103")
OTHERS = 12  # facts of each relation beside those that are named
ANALYSES = 8  # that docs/sql.md owes its readers
OVER_THE_LIMIT = 3  # exit code of `edit check --fail-over`


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an atlas of the embedded model, as an `atlas index` leaves it on its way."""
    directory = tmp_path_factory.mktemp("reader")
    text = " ".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    whole = read_dataset(None)
    relations = tuple(
        replace(
            relation,
            facts=tuple(f for i, f in enumerate(relation.facts) if i < OTHERS or f.subject in text),
        )
        for relation in choose(whole, RELATIONS).relations
    )
    indexed(directory / "atlas.duckdb", IndexSettings(), whole, replace(whole, relations=relations))
    return directory


def test_a_reader_can_follow_the_pages_from_top_to_bottom(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.delenv("ATLAS_DB", raising=False)
    for page in PAGES:
        for shown in shown_commands(page):
            if shown.arguments[0] != "index":
                _works_as_shown(shown)


def _works_as_shown(shown: Shown) -> None:
    where = f"{shown.page}:{shown.first + 1}: {shown.command}"
    allowed = {0, OVER_THE_LIMIT} if "--fail-over" in shown.arguments else {0}
    result = run(*shown.arguments, input=":quit\n")
    assert result.exit_code in allowed, f"{where}\n{result.output}"
    printed = {" ".join(line.split()) for line in result.output.splitlines()}
    for header in shown.headers:
        assert header in printed, f"{where}\nshows a table that is headed\n{header}"


def test_sql_has_enough_analyses_and_each_finds_something(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    found = [shown for shown in shown_commands("docs/sql.md") if shown.arguments[0] == "sql"]
    analyses = [shown for shown in found if "SELECT" in shown.command]
    assert len(analyses) >= ANALYSES
    for shown in analyses:
        result = run(*shown.arguments, "--format", "csv")
        header, *rows = csv.reader(io.StringIO(result.stdout))
        assert header, shown.command
        assert rows, shown.command


def test_every_page_is_linked_from_the_readme_and_every_link_leads_somewhere() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {page for page in pages if f"]({page})" not in text} == set()
    for target in ("CONTRIBUTING.md", *pages):
        assert (ROOT / target).is_file()
