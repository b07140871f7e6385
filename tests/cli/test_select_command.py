"""`atlas select`: presets, thresholds and what is printed."""

import json

import pytest
from invocation import run
from synthetic import Synthetic


def test_the_summary_has_a_row_a_relation(own: Synthetic) -> None:
    result = run("select", on=own)
    assert result.stdout == (
        f"Selection paper ({own.selection_id}) of run {own.run_id}\n"
        "id   relation           facts  prompts  neurons a fact  sharing used  moves\n"
        "───────────────────────────────────────────────────────────────────────────\n"
        "P36  capital                6       18           3.000         0.700      0\n"
        "P37  official language      6       18           3.000         0.700      0\n"
    )
    assert result.stderr == (
        "Selection paper (paper: ratio 0.2, sharing 0.7, >=, at least 3 prompts): "
        "3.00 knowledge neurons a fact over 12 facts.\n"
    )
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "preset"),
    [
        ([], "paper"),
        (["--preset", "paper"], "paper"),
        (["--preset", "fixed"], "fixed"),
        (["--ratio", "0.2", "--sharing", "0.7"], "fixed"),
        (["--min-prompts", "2"], "fixed"),
        (["--comparison", ">"], "fixed"),
        (["--preset", "paper", "--ratio", "0.3"], "paper"),
    ],
)
def test_a_threshold_without_preset_is_taken_as_it_is(
    own: Synthetic, arguments: list[str], preset: str
) -> None:
    answer = json.loads(run("select", *arguments, "--format", "json", on=own).stdout)
    assert answer["preset"] == preset


def test_the_thresholds_reach_the_selection(own: Synthetic) -> None:
    arguments = ["--ratio", "0.9", "--sharing", "0.5", "--comparison", ">", "--min-prompts", "2"]
    answer = json.loads(run("select", *arguments, "--format", "json", on=own).stdout)
    assert (answer["ratio"], answer["sharing"]) == (0.9, 0.5)
    assert (answer["comparison"], answer["min_prompts"]) == (">", 2)
    assert answer["mean_neurons"] == 1.0
    assert [relation["facts"] for relation in answer["relations"]] == [6, 6]


def test_the_same_thresholds_give_the_same_selection_again(own: Synthetic) -> None:
    first = json.loads(run("select", "--ratio", "0.5", "--format", "json", on=own).stdout)
    assert json.loads(run("select", "--ratio", "0.5", "--format", "json", on=own).stdout) == first


def test_a_selection_as_csv_is_its_relations(own: Synthetic) -> None:
    assert run("select", "--format", "csv", on=own).stdout == (
        "relation_id,relation,facts,prompts,mean_neurons,sharing,moves\n"
        "P36,capital,6,18,3.0,0.7,0\n"
        "P37,official language,6,18,3.0,0.7,0\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--ratio", "0.01"], 1),
        (["--ratio", "2"], 1),
        (["--sharing", "0"], 1),
        (["--min-prompts", "0"], 1),
        (["--run", "zz"], 1),
        (["--ratio", "much"], 2),
        (["--comparison", "="], 2),
    ],
)
def test_thresholds_out_of_range_are_one_line_and_change_nothing(
    own: Synthetic, arguments: list[str], code: int
) -> None:
    before = run("info", "--format", "csv", "--show", "selections", on=own).stdout
    result = run("select", *arguments, on=own)
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert (result.stdout, result.exit_code) == ("", code)
    assert run("info", "--format", "csv", "--show", "selections", on=own).stdout == before


def test_a_run_without_measured_prompts_is_noted(own: Synthetic) -> None:
    with own.atlas.writing() as con:
        con.execute("DELETE FROM prompt_results")
        con.execute("DELETE FROM selection_relations")
    result = run("select", on=own)
    assert result.stderr == f"Run {own.run_id} has no measured prompt yet.\n"
    assert result.exit_code == 0
