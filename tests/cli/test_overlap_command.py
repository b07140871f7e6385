"""`atlas overlap`: exact output on the synthetic atlas."""

import csv
import io

import pytest
from answers import merged_of, rows_of
from atlas_cli.heatmap import draw_heatmap
from click.testing import CliRunner
from invocation import run
from synthetic import Synthetic


def test_overlap_by_relation_is_a_summary_and_a_heatmap(asked: Synthetic) -> None:
    result = run("overlap", on=asked)
    assert result.stdout == (
        f"Shared knowledge neurons in synthetic (selection paper ({asked.selection_id}): "
        "12 known facts of 12)\n"
        "pairs of facts    number  shared neurons   mean  mean over relations\n"
        "────────────────────────────────────────────────────────────────────\n"
        "within relations      30              60  2.000                2.000\n"
        "across relations      36              36  1.000                1.000\n"
        "\n"
        "The same pairs, by whether both facts have the same object\n"
        "pairs of facts    object  number  shared neurons   mean\n"
        "───────────────────────────────────────────────────────\n"
        "within relations  same         0               0\n"
        "within relations  other       30              60  2.000\n"
        "across relations  same         0               0\n"
        "across relations  other       36              36  1.000\n"
        "\n"
        "Mean number of shared neurons between two facts, by relation\n"
        "                             1  2\n"
        " 1 capital (P36)            ██ ▓▓\n"
        " 2 official language (P37)  ▓▓ ██\n"
        "                            ·· to 0.125   ░░ to 0.25   ▒▒ to 0.5   ▓▓ to 1   ██ to 2\n"
    )
    assert (result.stderr, result.exit_code) == ("", 0)


def test_a_limit_says_what_it_keeps_back(asked: Synthetic) -> None:
    result = run("overlap", "--limit", "1", on=asked)
    assert "official language" not in result.stdout
    assert result.stderr == "1 of 2 relations; --limit 0 shows all.\n"


def test_overlap_as_csv_and_json_is_complete(asked: Synthetic) -> None:
    rows = list(csv.DictReader(io.StringIO(run("overlap", "--format", "csv", on=asked).stdout)))
    assert [(r["group_a"], r["group_b"], r["mean_shared_neurons"]) for r in rows] == [
        ("P36", "P36", "2.0"),
        ("P36", "P37", "1.0"),
        ("P37", "P37", "2.0"),
    ]
    whole = merged_of(run("overlap", "--format", "json", on=asked).stdout, "pairs")
    assert whole["within"]["mean_over_fact_pairs"] == 2
    assert [group["label"] for group in whole["shown"]] == ["capital", "official language"]


def test_overlap_by_layer_adds_up(asked: Synthetic) -> None:
    result = run("overlap", "--by", "layer", on=asked)
    assert "    3        3    24      0.667   2.000   1.000\n" in result.stdout
    assert "official language (P37)  ·· ·· ·· ██\n" in result.stdout
    layers = rows_of(run("overlap", "--by", "layer", "--format", "json", on=asked).stdout)
    assert sum(layer["within"] for layer in layers) == 2
    text = run("overlap", "--by", "layer", "--format", "csv", on=asked).stdout
    assert text.splitlines()[0] == "layer,neurons,uses,use_share,within,across"


@pytest.mark.parametrize("by", ["object", "subject"])
def test_groups_of_one_fact_are_counted_but_not_drawn(asked: Synthetic, by: str) -> None:
    result = run("overlap", "--by", by, on=asked)
    assert f"within {by}s       0               0\n" in result.stdout
    assert f"across {by}s      66              96  1.455" in result.stdout
    assert "Mean number" not in result.stdout


def test_an_empty_selection_is_a_note(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        for table in ("knowledge_neurons", "selection_relations", "relation_overlaps"):
            connection.execute(f"DELETE FROM {table}")
    for by in ("relation", "object"):
        result = run("overlap", "--by", by, on=own)
        assert result.stderr == f"Selection paper ({own.selection_id}) has no fact yet.\n"
        assert result.exit_code == 0
    assert run("overlap", "--by", "layer", on=own).exit_code == 0


def test_a_heatmap_of_nothing_and_of_missing_numbers_can_be_drawn() -> None:
    with CliRunner().isolation() as (out, _, _):
        draw_heatmap(["a", "b"], ["1", "2"], [[0.0, None], [None, 0.0]], "title")
        lines = out.getvalue().decode().splitlines()
    assert lines[2:4] == ["a  ··   ", "b     ··"]
