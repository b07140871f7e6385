"""`atlas model check`: a verdict on a model, and exit code 1 where it is wrong."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from atlas_cli.main import atlas as command
from click.testing import CliRunner
from tiny_models import save_tiny

import atlas
from atlas import model_check


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(command, ["model", "check", *map(str, arguments)])


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("gpt2", tmp_path_factory.mktemp("model") / "tiny-gpt2")


def test_a_right_model_gets_its_verdict_within_80_columns(
    gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run(gpt2, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "gpt2, listed" in result.output
    assert "3 layers of 96, at mlp.c_proj" in result.output
    assert "40 tokens" in result.output
    assert "Right: the largest error is " in result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_json_holds_what_the_library_returns(gpt2: Path) -> None:
    answer = json.loads(run(gpt2, "--device", "cpu", "--format", "json").stdout)
    assert answer["answer"] == "ModelCheck"
    assert answer["summary"]["right"] is True
    found = atlas.check_model(str(gpt2), device="cpu")
    assert [row["what"] for row in answer["rows"]] == [c.what for c in found.comparisons]
    assert [c.what for c in found.comparisons] == [
        "answers to two prompts at once",
        "answers to one prompt",
        *(f"scores of layer {layer}" for layer in range(3)),
        "scores of layer 1 at an earlier token",
    ]


def test_a_wrong_model_ends_with_1(gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = model_check.try_whole

    def wrong(*args: Any, **kwargs: Any) -> Any:
        return [replace(c, error=0.5, right=False) for c in honest(*args, **kwargs)]

    monkeypatch.setattr(model_check, "try_whole", wrong)
    result = run(gpt2, "--device", "cpu")
    assert result.exit_code == 1
    assert "Wrong" in result.output


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
