"""`atlas data check --model` and `atlas query --tokens`: the tokens that a model is asked."""

from pathlib import Path

import pytest
from answers import rows_of, summary_of
from invocation import run
from stored_edits import Edited
from stored_edits import build as build_edited
from tiny_index import tiny_dataset, write_jsonl


@pytest.fixture(scope="module")
def edited(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    """An atlas of the tiny BERT."""
    return build_edited(tmp_path_factory.mktemp("tokens"), saved_bert)


def test_a_check_with_a_model_says_what_it_can_be_asked(saved_gpt2: Path, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", tiny_dataset(1, 3))
    result = run("data", "check", str(path), "--model", str(saved_gpt2))
    assert result.exit_code == 0
    # two of six templates do not end in [Y]
    assert "can be asked 12 of 18 prompts" in result.stderr
    assert "  6 not: template does not end in [Y], as in " in result.stderr
    found = run("data", "check", str(path), "--model", str(saved_gpt2), "--format", "json")
    asked = summary_of(found.stdout)["asked"]
    assert (asked["prompts"], asked["askable"]) == (18, 12)
    first = asked["examples"][0]
    assert first["text"] == "The capital of Ireland is [Y]."
    assert "".join(first["tokens"]).replace("␣", " ") == "The capital of Ireland is"
    assert "".join(first["answer_tokens"]).replace("␣", " ") == " Dublin"


def test_a_fact_is_shown_token_by_token(edited: Edited) -> None:
    words = ("query", "--fact", "P36-0", "--tokens", "--model", str(edited.directory))
    result = run(*words, "--db", str(edited.atlas.path), "--format", "json")
    assert result.exit_code == 0, result.output
    (row, *_) = [r for r in rows_of(result.stdout) if r["text"] == "The capital of Ireland is [Y]."]
    words = ["[CLS]", "The", "capital", "of", "Ireland", "is", "[MASK]", ".", "[SEP]"]
    assert row["tokens"] == words
    assert row["answer_tokens"] == ["Dublin"]


def test_tokens_go_with_a_fact() -> None:
    result = run("query", "--hubs", "--tokens")
    assert result.exit_code == 2
    assert "--tokens goes with --fact" in result.stderr


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", tiny_dataset(1, 3))
    result = run("data", "check", str(path), "--model", str(tmp_path / "none"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
