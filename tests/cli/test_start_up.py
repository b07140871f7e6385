"""Start-up: what commands import, and how long whole processes take on a large atlas.

Times are processor times, the best of a few runs, so that a busy machine fails nothing.
"""

import os
import sys
from pathlib import Path

import duckdb
import pytest
from invocation import run, start
from synthetic import Synthetic, build

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


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """20,000 prompts of 2,500 facts in two relations, 60 scores each: 1.2 million scores."""
    path = tmp_path_factory.mktemp("large") / "atlas.duckdb"
    synthetic = build(path, facts=1250, templates=8)
    _add_scores(path, 1_200_000)
    return synthetic


def _add_scores(path: Path, wanted: int) -> None:
    """Weak scores of other neurons, so that the file is as large as a real one."""
    with duckdb.connect(str(path)) as con:
        con.execute(
            """
            INSERT INTO attributions (run_id, prompt_id, layer, neuron, score, activation)
            SELECT r.run_id,
                   r.prompt_id,
                   1,
                   n.neuron,
                   0.02,
                   0.5
            FROM prompt_results AS r
            CROSS JOIN range(?) AS n (neuron)
            WHERE r.max_score IS NOT NULL
            """,
            [wanted // 17_500],
        )


@pytest.mark.skipif(sys.platform == "win32", reason="measures children with os.wait4")
@pytest.mark.parametrize("arguments", QUESTIONS, ids=" ".join)
def test_a_question_to_a_large_atlas_takes_at_most_one_and_a_half_seconds(
    large: Synthetic, arguments: tuple[str, ...]
) -> None:
    assert min(_seconds(*arguments, on=large) for _ in range(2)) <= 1.5


@pytest.mark.skipif(sys.platform == "win32", reason="measures children with os.wait4")
def test_help_takes_at_most_four_tenths_of_a_second() -> None:
    assert min(_seconds("--help") for _ in range(3)) <= 0.4


def _seconds(*arguments: str, on: Synthetic | None = None) -> float:
    process = start(*arguments, on=on)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not process.stdin:
            stream.read()
        stream.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def test_the_large_atlas_is_as_large_as_said(large: Synthetic) -> None:
    counts = "SELECT count(*) AS n FROM prompts UNION ALL SELECT count(*) FROM attributions"
    prompts, scores = run("sql", counts, "--format", "csv", on=large).stdout.split()[1:]
    assert int(prompts) == 20_000
    assert int(scores) >= 1_200_000
