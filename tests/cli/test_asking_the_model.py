"""Questions of `atlas query` that ask the model once and remember the answer."""

from pathlib import Path

import pytest
from answers import merged_of
from invocation import run, start
from synthetic import Synthetic
from tiny_index import CHEAP, indexed, on, rows, tiny_dataset

# No torch from here on: whoever needs the model fails.
BLOCKED = "sys.modules['torch'] = sys.modules['transformers'] = None\nmain()"


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory, saved_bert: Path) -> Path:
    path = tmp_path_factory.mktemp("asking") / "atlas.duckdb"
    indexed(path, on(saved_bert, integration=CHEAP), tiny_dataset())
    return path


@pytest.fixture(scope="module")
def neuron(db: Path) -> str:
    sql = "SELECT layer, neuron FROM knowledge_neurons ORDER BY mean_score DESC LIMIT 1"
    ((layer, neuron),) = rows(db, sql)
    return f"{layer}:{neuron}"


def test_a_second_look_at_a_neurons_meaning_loads_no_model(
    db: Path, neuron: str, saved_bert: Path
) -> None:
    question = ("query", "--neuron", neuron, "--meaning", "--db", str(db))
    first = run(*question, "--model", str(saved_bert))
    assert first.exit_code == 0, first.output
    for title in ("raises", "Prompts with its strongest activation", "highest score"):
        assert title in first.stdout
    process = start(*question, code=BLOCKED)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (0, first.stdout), stderr
    told = merged_of(run(*question, "--format", "json").stdout, "tokens")
    assert len(told["tokens"]) == 20
    assert run(*question, "--format", "csv").stdout.startswith("aspect,value,label,facts,expected")


def test_a_second_look_at_a_facts_interactions_loads_no_model(db: Path, saved_bert: Path) -> None:
    question = ("query", "--fact", "P36-0", "--interactions", "--db", str(db))
    first = run(*question, "--model", str(saved_bert))
    assert first.exit_code == 0, first.output
    assert "Ireland · capital (P36)" in first.stdout
    process = start(*question, code=BLOCKED)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (0, first.stdout), stderr
    told = merged_of(run(*question, "--format", "json", "--limit", "1").stdout, "pairs")
    assert told["fact"]["fact_id"] == "P36-0"
    assert len(told["pairs"]) == min(1, told["pairs_in_all"])


def test_interference_is_measured_and_compared(db: Path, saved_bert: Path) -> None:
    question = ("query", "--interference", "P36-0", "--measure", "--limit", "2", "--db", str(db))
    result = run(*question, "--model", str(saved_bert))
    assert result.exit_code == 0, result.output
    assert "self" in result.stdout
    extremes, random = result.stderr.splitlines()[-3:-1]
    assert extremes.startswith("Extremes, ")
    assert random.startswith("Random, ")
    for line in (extremes, random):
        assert "Spearman of Δ log P" in line
        assert "AUC" in line


def test_a_limit_shows_so_many_measurements_in_every_format(db: Path, saved_bert: Path) -> None:
    question = ("query", "--interference", "P36-0", "--measure", "--db", str(db))
    asked = (*question, "--model", str(saved_bert), "--facts", "2", "--format")
    told = {
        limit: merged_of(run(*asked, "json", "--limit", limit).stdout, "measurements")
        for limit in ("0", "3")
    }
    assert len(told["0"]["measurements"]) > 3
    assert told["3"]["measurements"] == told["0"]["measurements"][:3]
    assert told["3"]["random"] == told["0"]["random"]  # how well it held is of all
    assert len(run(*asked, "csv", "--limit", "3").stdout.splitlines()) == 1 + 3


def test_a_model_that_is_not_at_hand_is_one_line_that_names_the_option(
    asked: Synthetic, tmp_path: Path
) -> None:
    for question in (
        ("--neuron", "3:1", "--meaning"),
        ("--fact", "P36-1", "--interactions"),
        ("--interference", "P36-1", "--measure"),
    ):
        result = run("query", *question, on=asked)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
        assert "--model" in result.stderr


def test_other_weights_are_refused(db: Path, saved_gpt2: Path) -> None:
    result = run(
        "query", "--interference", "P36-0", "--measure", "--db", str(db), "--model", str(saved_gpt2)
    )
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "weights" in result.stderr


def test_an_option_without_its_question_is_a_wrong_command_line(asked: Synthetic) -> None:
    for words in (
        ("--fact", "P36-1", "--meaning"),
        ("--neuron", "3:1", "--interactions"),
        ("--hubs", "--measure"),
    ):
        result = run("query", *words, on=asked)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert "goes with" in result.stderr


def test_a_neuron_outside_the_model_is_told_before_the_model_is_loaded(asked: Synthetic) -> None:
    result = run("query", "--neuron", "9:1", "--meaning", on=asked)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "has no neuron 9:1" in result.stderr
