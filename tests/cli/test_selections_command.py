"""`atlas selections list`, `use` and `delete`."""

import csv
import io
import json

import pytest
from invocation import run
from synthetic import Synthetic


def test_the_list_marks_the_default(own: Synthetic) -> None:
    run("select", "--ratio", "0.9", "--name", "strict", on=own)
    text = run("selections", "list", on=own).stdout
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[3].startswith("strict default ")
    assert lines[4].startswith(f"paper {own.selection_id} paper ratio 0.2, sharing 0.7, >=, ")
    answer = json.loads(run("selections", "list", "--format", "json", on=own).stdout)
    assert [(row["name"], row["is_default"]) for row in answer["rows"]] == [
        ("strict", True),
        ("paper", False),
    ]
    table = csv.DictReader(io.StringIO(run("selections", "list", "--format", "csv", on=own).stdout))
    assert [(row["name"], row["is_default"]) for row in table] == [
        ("strict", "true"),
        ("paper", "false"),
    ]


def test_thresholds_and_neurons_a_fact_stay_at_80_columns(
    own: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    named = ("--templates", "4", "--against", "answer", "--frequency", "0.5", "--all-facts")
    made = run("select", "--ratio", "0.3", *named, on=own)
    asked = (
        "ratio 0.3, sharing 0.7, >=, at least 3 prompts, by 4 templates a fact, "
        "against the answer, frequency 0.5, all facts"
    )
    assert f"(fixed: {asked})" in " ".join(made.stderr.split())
    for shown in (run("selections", "list", on=own), run("info", on=own)):
        table = shown.stdout[shown.stdout.index("Selections") :]
        assert " a fact" in table.splitlines()[2]
        assert {"against", "templates", "frequency"} <= set(table.replace(",", " ").split())


def test_using_the_default_again_says_that_it_is(own: Synthetic) -> None:
    result = run("selections", "use", "paper", on=own)
    assert result.stderr == f"Selection paper ({own.selection_id}) is the default already.\n"


def test_using_an_empty_selection_says_what_to_expect(own: Synthetic) -> None:
    run("select", "--min-prompts", "50", "--name", "empty", on=own)
    result = run("selections", "use", "empty", on=own)
    assert result.exit_code == 0
    assert result.stderr.endswith("It has no knowledge neuron: questions will find nothing.\n")


def test_a_selection_is_deleted_by_name_but_not_the_default(own: Synthetic) -> None:
    run("select", "--ratio", "0.9", "--name", "strict", on=own)
    refused = run("selections", "delete", "strict", on=own)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "make another the default first, for example paper" in refused.stderr
    run("selections", "use", "paper", on=own)
    result = run("selections", "delete", "strict", on=own)
    assert result.exit_code == 0
    assert result.stderr.startswith("Deleted selection strict (")
    gone = run("query", "--hubs", "--selection", "strict", on=own)
    assert (gone.exit_code, gone.stderr.count("\n")) == (1, 1)
    assert "there are paper (" in gone.stderr
