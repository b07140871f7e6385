"""`atlas select`: presets, thresholds and what is printed."""

import json
import re

import pytest
from answers import merged_of
from invocation import run
from synthetic import Synthetic


def test_the_summary_has_a_row_a_relation(own: Synthetic) -> None:
    result = run("select", on=own)
    assert result.stdout == (
        f"Selection paper ({own.selection_id}) of run {own.run_id}\n"
        "id   relation           facts  prompts  neurons a fact  sharing used  moves  on target\n"
        "──────────────────────────────────────────────────────────────────────────────────────\n"
        "P36  capital                6       18           3.000         0.700      0  yes\n"
        "P37  official language      6       18           3.000         0.700      0  yes\n"
    )
    assert result.stderr == (
        "Selection paper (paper: ratio 0.2, sharing 0.7, >=, at least 3 prompts): "
        "3.00 knowledge neurons a fact over 12 known facts of 12.\n"
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
    answer = merged_of(run("select", *arguments, "--format", "json", on=own).stdout, "relations")
    assert answer["preset"] == preset


def test_the_thresholds_reach_the_selection(own: Synthetic) -> None:
    arguments = ["--ratio", "0.9", "--sharing", "0.5", "--comparison", ">", "--min-prompts", "2"]
    answer = merged_of(run("select", *arguments, "--format", "json", on=own).stdout, "relations")
    assert (answer["ratio"], answer["sharing"]) == (0.9, 0.5)
    assert (answer["comparison"], answer["min_prompts"]) == (">", 2)
    assert answer["mean_neurons"] == 1.0
    assert [relation["facts"] for relation in answer["relations"]] == [6, 6]


def test_the_same_thresholds_give_the_same_selection_again(own: Synthetic) -> None:
    first = json.loads(run("select", "--ratio", "0.5", "--format", "json", on=own).stdout)
    assert json.loads(run("select", "--ratio", "0.5", "--format", "json", on=own).stdout) == first


def test_a_selection_as_csv_is_its_relations(own: Synthetic) -> None:
    assert run("select", "--format", "csv", on=own).stdout == (
        "relation_id,relation,facts,measured_facts,known_facts,templates,prompts,mean_neurons,"
        "sharing,moves,target_met,left_out,unjudged\n"
        "P36,capital,6,6,6,3,18,3.0,0.7,0,true,,\n"
        "P37,official language,6,6,6,3,18,3.0,0.7,0,true,,\n"
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
    with own.atlas.writing() as connection:
        connection.execute("DELETE FROM prompt_results")
        connection.execute("DELETE FROM selection_relations")
    result = run("select", on=own)
    assert result.stderr == f"Run {own.run_id} has no measured prompt yet.\n"
    assert result.exit_code == 0


def test_a_selection_that_becomes_the_default_says_so_and_how_to_go_back(own: Synthetic) -> None:
    result = run("select", "--ratio", "0.9", "--name", "strict", on=own)
    *_, said = result.stderr.splitlines()
    assert re.fullmatch(
        r"Selection strict \([0-9a-f]{12}\) is now the default, what questions and edits are "
        r"about; `atlas selections use paper` goes back\.",
        said,
    )
    assert "(selection strict (" in run("query", "--hubs", on=own).stdout
    back = run("selections", "use", "paper", on=own)
    assert back.exit_code == 0
    assert "`atlas selections use strict` goes back" in back.stderr
    assert "(selection paper (" in run("query", "--hubs", on=own).stdout


def test_the_indexs_selection_stays_in_reach_by_its_name(own: Synthetic) -> None:
    run("select", "--ratio", "0.9", on=own)
    assert "serves no fact" in run("query", "--neuron", "3:1", on=own).stderr
    by_name = run("query", "--neuron", "3:1", "--selection", "paper", on=own)
    assert "serves 6 facts" in by_name.stdout
    assert f"(selection paper ({own.selection_id}): 12 known facts of 12)" in by_name.stdout


def test_keep_default_leaves_it_and_tells_how_to_use_the_new_one(own: Synthetic) -> None:
    result = run("select", "--ratio", "0.9", "--keep-default", on=own)
    assert f"paper ({own.selection_id}) stays the default; `atlas selections use" in result.stderr
    assert "(selection paper (" in run("query", "--hubs", on=own).stdout


def test_an_empty_selection_leaves_the_default_and_says_so(own: Synthetic) -> None:
    result = run("select", "--min-prompts", "50", on=own)
    assert (
        f"It has no knowledge neuron, so paper ({own.selection_id}) stays the default"
        in result.stderr
    )
    assert "(selection paper (" in run("query", "--hubs", on=own).stdout


def test_a_name_that_is_taken_is_one_line(own: Synthetic) -> None:
    result = run("select", "--ratio", "0.9", "--name", "paper", on=own)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "is called paper already" in result.stderr
