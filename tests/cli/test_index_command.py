"""`atlas index`: what it prints, where it can be interrupted, and what works beside it."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from answers import merged_of
from click.testing import Result
from invocation import MAIN, run, start
from tiny_index import TEMPLATES, tables, tiny_dataset, write_jsonl

from atlas import progress_bars

FACTS = 3  # a relation
PROMPTS = FACTS * len(TEMPLATES)
PACE = r"\([\d,.]+ prompts/s, ETA \d:\d\d:\d\d\)"
CHEAP = ("--rule", "gauss-legendre", "--points", "2")
# Every batch is small, slow and committed at once.
SLOWLY = """
import time
from atlas.indexing import batches, indexer, measuring

batches.LARGEST_BATCH = 2
indexer.COMMIT_EVERY = -1.0
measure = measuring.Attributing.measure

def slowly(*arguments):
    time.sleep(0.2)
    return measure(*arguments)

measuring.Attributing.measure = slowly
main()
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A JSONL file with two relations."""
    return write_jsonl(tmp_path / "mine.jsonl", tiny_dataset(relations=2, facts=FACTS))


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where an atlas may be made."""
    return tmp_path / "atlas.duckdb"


@pytest.fixture
def command(saved_bert: Path, data: Path, db: Path) -> tuple[str, ...]:
    """`index` of the data on the tiny BERT."""
    where = ("--data", str(data), "--db", str(db))
    return ("index", "--model", str(saved_bert), "--device", "cpu", *where, *CHEAP)


def told(db: Path) -> dict[str, list[dict[str, object]]]:
    """`atlas info` as JSON."""
    return merged_of(run("info", "--format", "json", "--db", str(db)).stdout, "runs")


def one_line(result: Result) -> str:
    """The only line of stderr, without its end; the command failed and said nothing else."""
    assert result.stdout == ""
    assert result.exit_code != 0
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1
    return result.stderr[:-1]


def test_progress_and_summary_go_to_stderr_a_line_a_relation(
    command: tuple[str, ...], db: Path
) -> None:
    result = run(*command)
    assert (result.stdout, result.exit_code) == ("", 0), result.stderr
    first, second, summary, gaps, found, after = result.stderr.splitlines()
    assert re.fullmatch(rf"P36 capital: {PROMPTS} prompts {PACE}", first)
    assert re.fullmatch(rf"P37 official language: {PROMPTS} prompts {PACE}", second)
    assert second.endswith("ETA 0:00:00)")
    (ran,) = told(db)["runs"]
    assert summary == f"Run {ran['run_id']} of bert in {db}: {2 * PROMPTS} prompts measured."
    assert re.fullmatch(r"  \d+ with a completeness gap over the tolerance", gaps)
    assert found == (
        f"None of the {2 * FACTS} measured facts is known, so no neuron is selected: "
        f"`atlas select --all-facts --db {db}` selects from all of them."
    )
    steps = ("atlas query --hubs", "atlas query --relation P36", "atlas info")
    assert after == "Next: " + ", ".join(f"`{step} --db {db}`" for step in steps)
    for step in (("query", "--hubs"), ("query", "--relation", "P36"), ("info",)):
        assert run(*step, "--db", str(db)).exit_code == 0


def test_the_same_command_again_says_that_all_is_measured_and_changes_nothing(
    command: tuple[str, ...], db: Path
) -> None:
    first = run(*command)
    before = tables(db, clocks=True)
    again = run(*command)
    assert again.exit_code == 0
    assert again.stderr.splitlines()[:2] == [
        f"P36 capital: {PROMPTS} prompts (already measured)",
        f"P37 official language: {PROMPTS} prompts (already measured)",
    ]
    assert again.stderr.splitlines()[2:] == first.stderr.splitlines()[2:]
    assert tables(db, clocks=True) == before


def test_relations_and_limit_choose_and_later_calls_extend_the_same_run(
    command: tuple[str, ...], db: Path
) -> None:
    run(*command, "--relation", "official language", "--limit", "1")
    (ran,) = told(db)["runs"]
    assert ran["measured"] == len(TEMPLATES)
    result = run(*command, "--relation", "P36", "--relation", "P37", "--limit", "2")
    assert [line.split(":")[0] for line in result.stderr.splitlines()[:2]] == [
        "P36 capital",
        "P37 official language",
    ]
    (extended,) = told(db)["runs"]
    assert (extended["run_id"], extended["measured"]) == (ran["run_id"], 4 * len(TEMPLATES))


def test_settings_reach_the_run(saved_bert: Path, data: Path, db: Path) -> None:
    where = ("--model", str(saved_bert), "--data", str(data), "--db", str(db), "--limit", "1")
    options = ("--tolerance", "0.05", "--max-evaluations", "50", "--score-floor", "0.1")
    result = run("index", *where, *options, "--memory-budget", "0.5")
    assert result.exit_code == 0, result.stderr
    (ran,) = told(db)["runs"]
    assert (ran["rule"], ran["points"], ran["tolerance"]) == ("adaptive", None, 0.05)
    assert (ran["score_floor"], ran["settings"]) == (
        0.1,
        {"attention": "sdpa", "max_evaluations": 50},
    )


def test_the_summary_counts_the_reasons_for_which_prompts_were_skipped(
    tmp_path: Path, saved_bert: Path, saved_gpt2: Path, db: Path
) -> None:
    rows = [
        {"relation": "P36", "template": text, "subject": "Ireland", "object": city}
        for text in TEMPLATES
        for city in ("Dublin", "Łódź")
    ]
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    for model, reason in (
        (saved_bert, "6 skipped: answer has an unknown token"),
        (saved_gpt2, "4 skipped: template does not end in [Y]"),
    ):
        result = run("index", "--model", str(model), "--data", str(data), "--db", str(db), *CHEAP)
        assert result.exit_code == 0, result.stderr
        assert f"  {reason}" in result.stderr.splitlines()
        assert result.stderr.count("skipped:") == 1


def test_a_log_does_not_stay_silent_during_a_long_relation(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bars, "LONGEST_SILENCE", 0.0)
    lines = run(*command, "--relation", "P36").stderr.splitlines()
    assert re.fullmatch(rf"P36 capital: \d+ of {PROMPTS} prompts {PACE}", lines[1])


def test_a_terminal_gets_bars_with_pace_and_time_left(command: tuple[str, ...]) -> None:
    terminal, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=side,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"},
    )
    os.close(side)
    drawn = b"".join(_chunks(terminal)).decode()
    os.close(terminal)
    assert process.communicate(timeout=60)[0] == b""
    assert process.returncode == 0, drawn
    assert "Loading" in drawn
    assert re.search(rf"all relations .*━.* {2 * PROMPTS}/{2 * PROMPTS} .*prompts/s, ETA", drawn)
    assert re.search(rf"P37 official language .*━.* {PROMPTS}/{PROMPTS}", drawn)
    assert f"{2 * PROMPTS} prompts measured." in " ".join(drawn.split())  # notes are folded


def _chunks(terminal: int) -> Iterator[bytes]:
    """What arrives at a terminal until its other side is closed."""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # how Linux says so
            return
        if not chunk:
            return
        yield chunk


@pytest.fixture
def slow(command: tuple[str, ...]) -> Iterator["subprocess.Popen[str]"]:
    """`atlas index` as a process that takes its time; its first relation is complete."""
    process = start(*command, code=SLOWLY)
    assert process.stderr
    assert process.stderr.readline().startswith("P36 capital: ")
    yield process
    process.kill()
    process.communicate()


def test_others_may_ask_while_an_index_runs_but_not_index(
    slow: "subprocess.Popen[str]", command: tuple[str, ...], db: Path
) -> None:
    assert one_line(run(*command)) == (
        f"Error: {db} is being indexed by process {slow.pid}: wait for it to end, stop it, or "
        "index into another file (--db FILE or ATLAS_DB)"
    )
    questions = (
        ("info",),
        ("query", "--hubs"),
        ("query", "--relation", "P36"),
        ("query", "--fact", "Ireland"),
        ("sql", "SELECT count(*) AS prompts FROM prompt_results"),
    )
    asked = 0
    while slow.poll() is None:
        result = run(*questions[asked % len(questions)], "--db", str(db))
        assert result.exit_code == 0, result.stderr
        asked += 1
    assert asked >= len(questions)
    stdout, stderr = slow.communicate()
    assert (stdout, slow.returncode) == ("", 0), stderr
    assert run(*command).stderr.count("already measured") == 2


def test_ctrl_c_is_one_line_and_the_same_command_continues(
    slow: "subprocess.Popen[str]", command: tuple[str, ...], db: Path
) -> None:
    slow.send_signal(signal.SIGINT)
    stdout, stderr = slow.communicate(timeout=60)
    assert stderr == (f"Interrupted: what was measured is in {db}; the same command continues.\n")
    assert (stdout, slow.returncode) == ("", 130)
    (ran,) = told(db)["runs"]
    assert ran["status"] == "interrupted"
    assert isinstance(ran["measured"], int)
    assert PROMPTS <= ran["measured"] < 2 * PROMPTS
    assert run(*command).exit_code == 0
    (finished,) = told(db)["runs"]
    assert (finished["status"], finished["measured"]) == ("finished", 2 * PROMPTS)
    assert finished["run_id"] == ran["run_id"]


def test_ctrl_c_while_the_model_is_loaded_is_one_line_and_leaves_no_file(
    command: tuple[str, ...], db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas.indexing import indexer

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(indexer, "load_model", interrupted)
    result = run(*command)
    assert (one_line(result), result.exit_code) == ("Interrupted.", 130)
    assert not db.exists()
