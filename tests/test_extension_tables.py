"""Where people extend, one row of a table is enough: choices, help and behaviour follow from it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from atlas_cli.edit.make import update
from atlas_cli.index import index
from atlas_cli.plot import plot_
from documented import PAGES, ROOT
from invocation import run

from atlas.datasets import layouts, read_dataset
from atlas.datasets.rows import FactRow, Place, Row, TemplateRow
from atlas.edits.making.settings import METHODS as EDIT_METHODS
from atlas.engine.quadrature import RULES
from atlas.engine.settings import DTYPES, METHODS
from atlas.errors import DataError
from atlas.export.plots import DRAWINGS
from atlas.models.architectures import TABLE


def choices(command: click.Command, name: str) -> tuple[str, ...]:
    (parameter,) = (p for p in command.params if p.name == name)
    assert isinstance(parameter.type, click.Choice)
    return tuple(parameter.type.choices)


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_command_line_offers_what_the_tables_hold() -> None:
    assert choices(index, "method") == tuple(METHODS)
    assert choices(index, "rule") == tuple(RULES)
    assert choices(index, "dtype") == tuple(DTYPES)
    assert choices(update, "method") == tuple(EDIT_METHODS)
    assert choices(plot_, "what") == tuple(DRAWINGS)


def test_help_has_a_line_for_every_edit_method() -> None:
    printed = run("edit", "update", "--help").stdout
    for name, about in EDIT_METHODS.items():
        assert f"  {name:<13}{about}\n" in printed


@pytest.mark.parametrize(
    ("names", "where", "written"),
    [
        (METHODS, "docs/numbers.md", "`{}`"),
        (EDIT_METHODS, "docs/editing.md", "`{}`"),
        (DRAWINGS, "docs/figures.md", "| `{}` |"),
    ],
    ids=("attribution", "edits", "figures"),
)
def test_every_row_has_a_place_in_the_docs(names: Any, where: str, written: str) -> None:
    text = page(where)
    assert [name for name in names if written.format(name) not in text] == []


def test_the_readme_names_every_architecture_of_the_table() -> None:
    text = page("README.md").replace("gemma3 (text)", "gemma3_text")
    _, _, listed = text.partition("Supported\narchitectures: ")
    names = " ".join(listed.partition(". ")[0].split()).replace(";", ",").split(", ")
    assert set(names) == set(TABLE)


def test_every_question_of_a_query_is_in_the_docs() -> None:
    text = "".join(page(name) for name in PAGES)
    refused = run("query").stderr
    questions = re.findall(r"--[a-z]+", refused.partition("Ask for just one of ")[2])
    assert len(questions) >= 8
    assert [question for question in questions if question not in text] == []


@pytest.fixture
def two_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layout of its own: SUBJECT OBJECT, one fact a line, as a file or in a directory."""

    def rows(path: Path) -> Iterator[Row]:
        files = sorted(path.glob("*.words")) if path.is_dir() else [path]
        for file in files:
            yield TemplateRow(Place(str(file), 1), "P36", "The capital of [X] is [Y].")
            for number, line in enumerate(file.read_text().splitlines(), 1):
                subject, object_ = line.split()
                yield FactRow(Place(str(file), number), "P36", subject, object_, None)

    monkeypatch.setitem(layouts.READERS, ".words", layouts.Reader(rows, rows))
    marked = layouts.KnownDirectory(
        "two-words", "a directory with words.list", ("words.list",), rows
    )
    monkeypatch.setattr(layouts, "DIRECTORIES", (*layouts.DIRECTORIES, marked))


@pytest.mark.usefixtures("two_words")
def test_a_layout_is_a_reader_and_its_row(tmp_path: Path) -> None:
    for name in ("plain/facts.words", "known/words.list"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("Ireland Dublin\nFrance Paris\n")
    for path in ("plain/facts.words", "plain", "known"):
        dataset = read_dataset(tmp_path / path)
        assert [f.object for r in dataset.relations for f in r.facts] == ["Dublin", "Paris"]
    with pytest.raises(DataError, match=r"\.words .*directories of .*\.words.*words\.list"):
        read_dataset(tmp_path / "none")
