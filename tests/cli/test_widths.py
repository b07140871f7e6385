"""No line is wider than the terminal, at 80 columns and at 100, whatever the command."""

from pathlib import Path

import pytest
from atlas_cli import tables
from invocation import run
from rich.cells import cell_len
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
