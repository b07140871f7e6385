import csv
import io
from pathlib import Path

import pytest
from answers import rows_of, summary_of
from atlas_cli.main import atlas
from click.testing import CliRunner, Result
from dataset_files import CAPITAL, FRANCE, IRELAND, pararel, write


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(atlas, ["data", "check", *map(str, arguments)])


def test_a_sound_file_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", CAPITAL, IRELAND, FRANCE)
    result = check(path, "--format", "json")
    assert result.exit_code == 0
    assert rows_of(result.stdout) == []
    assert summary_of(result.stdout)["counts"] == {
        "dataset": "mine",
        "relations": 1,
        "facts": 2,
        "templates": 1,
        "templates_ending_in_object": 1,
        "prompts": 2,
    }
    assert result.stderr == f"{path}: no problems.\n"


def test_problems_are_listed_by_line_and_the_exit_code_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", CAPITAL, "{", {"relation": "P36", "template": "[X]"})
    result = check(path, "--format", "csv")
    assert result.exit_code == 1
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["file"], row["line"]) for row in rows] == [(str(path), "2"), (str(path), "3")]
    assert rows[0]["message"].startswith("malformed JSON")
    assert result.stderr == f"{path}: 2 problems.\n"


def test_the_table_has_a_line_for_each_problem(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", CAPITAL, IRELAND | {"object": ""})
    result = check(path)
    assert result.exit_code == 1
    header, _, line = result.stdout.splitlines()
    assert header.split() == ["file", "line", "message"]
    assert line.split(None, 2)[1:] == ["2", '"object" is empty: give it, or remove the line']
    assert result.stderr == f"{path}: 1 problem.\n"


def test_relations_that_pararel_has_no_template_for_are_named(tmp_path: Path) -> None:
    result = check(pararel(tmp_path))
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == (
        "Left out, because they have facts but no template: P31."
    )


def test_a_missing_file_is_one_line_on_stderr(tmp_path: Path) -> None:
    result = check(tmp_path / "absent.jsonl")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: no dataset at {tmp_path / 'absent.jsonl'}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["data"], ["data", "check"]])
def test_the_help_has_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(atlas, [*command, "--help"])
    assert result.exit_code == 0
    assert "atlas data check facts.jsonl" in result.stdout
