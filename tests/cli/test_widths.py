"""No line is wider than the terminal, at 80 columns and at 100, whatever the command."""

from pathlib import Path

import pytest
from atlas_cli import tables
from invocation import run
from rich.cells import cell_len
from stored_edits import Edited, build
from synthetic import Synthetic

COMMANDS = (
    ("info",),
    ("selections", "list"),
    ("select", "--preset", "paper"),
    ("overlap",),
    ("overlap", "--by", "layer"),
    ("overlap", "--by", "object"),
    ("query", "--neuron", "3:0"),
    ("query", "--fact", "Land 0"),
    ("query", "--fact", "Land 0", "--by", "prompt"),
    ("query", "--object", "Town 1"),
    ("diff", "paper", "paper"),
    ("query", "--relation", "P36"),
    ("query", "--hubs"),
    ("query", "--hubs", "--by", "entropy"),
    ("query", "--hubs", "--by", "ratio"),
    ("query", "--shared", "Land 0:P36", "Land 1:P36"),
    ("query", "--neighbours", "Land 0:P36"),
    ("query", "--interference", "Land 0:P36"),
    ("sql", "SELECT * FROM neuron_facts"),
    ("sql", "SELECT * FROM runs"),
    ("sql", "--explain-views"),
    ("edit", "list"),
    ("data", "check", str(Path(__file__).parents[2] / "data" / "relations")),
)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_line_is_wider_than_the_terminal(
    own: Synthetic, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], width: int
) -> None:
    monkeypatch.setattr(tables, "available", lambda: width)
    result = run(*command, on=own)
    assert result.exit_code == 0, result.stderr
    for line in result.stdout.splitlines():
        assert cell_len(line) <= width, line


OF_EDITS = (
    "edit list",
    "edit show 1",
    "edit diff 1 1",
    "edit forecast 1 --model {model}",
    "edit check 1 --model {model}",
    "edit apply 1 --ask Dublin_is_[MASK]. --model {model}",
    "export run {run} --to {out}/run",
)


@pytest.fixture(scope="module")
def edited(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    """An atlas of the tiny BERT with an edit in it."""
    found = build(tmp_path_factory.mktemp("widths"), saved_bert)
    found.store()
    return found


@pytest.mark.parametrize("width", [80, 100])
def test_no_line_about_an_edit_is_wider_than_the_terminal(
    edited: Edited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(tables, "available", lambda: width)
    with edited.atlas.reading() as connection:
        row = connection.execute("SELECT run_id FROM runs").fetchone()
    assert row
    for command in OF_EDITS:
        words = command.format(model=edited.directory, run=row[0], out=tmp_path)
        result = run(*words.split(), "--db", str(edited.atlas.path))
        assert result.exit_code == 0, f"{command}\n{result.output}"
        for line in result.stdout.splitlines():
            assert cell_len(line) <= width, f"{command}: {line}"
