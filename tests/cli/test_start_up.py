"""Start-up: what commands import, for imports are most of what a quick command costs."""

import pytest
from invocation import start
from synthetic import Synthetic

HEAVY = {"torch", "transformers", "sqlalchemy", "alembic"}
UNWANTED_IN_HELP = HEAVY | {"duckdb", "pyarrow", "numpy", "rich"}
QUESTIONS = (
    ("query", "--neuron", "3:0"),
    ("query", "--fact", "Land 0"),
    ("query", "--relation", "P36"),
    ("query", "--hubs"),
    ("sql", "SELECT layer, neuron, facts FROM neuron_degrees ORDER BY facts DESC LIMIT 5"),
    ("select", "--ratio", "0.3"),
    ("info",),
)
_TELL_MODULES = """
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def _imported(*arguments: str, on: Synthetic | None = None) -> set[str]:
    process = start(*arguments, on=on, code=_TELL_MODULES)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert stdout
    return set(stderr.splitlines()[-1].split())


def test_help_imports_nothing_heavy() -> None:
    assert not _imported("--help") & UNWANTED_IN_HELP


@pytest.mark.parametrize("arguments", QUESTIONS, ids=" ".join)
def test_a_question_imports_neither_torch_nor_sqlalchemy(
    own: Synthetic, arguments: tuple[str, ...]
) -> None:
    assert not _imported(*arguments, on=own) & HEAVY


@pytest.mark.parametrize("name", ["query", "select", "sql", "info", "data", "index"])
def test_the_help_of_a_command_imports_neither_torch_nor_sqlalchemy(name: str) -> None:
    assert not _imported(name, "--help") & HEAVY
