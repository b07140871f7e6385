"""`atlas query`: exact output and exit codes on the synthetic atlas."""

import csv
import io
from pathlib import Path

import pytest
from answers import merged_of, rows_of
from invocation import run
from synthetic import HUB, LAST, SKIPPED_BECAUSE, Synthetic

from atlas.atlas import open_atlas

ASK = (
    "Ask for just one of --neuron, --fact, --relation, --object, --hubs, --shared, "
    "--neighbours and "
    "--interference."
)


def test_a_neuron_is_answered_with_the_facts_it_serves(asked: Synthetic) -> None:
    result = run("query", "--neuron", f"{LAST}:1", "--limit", "2", on=asked)
    assert result.stdout == (
        f"Neuron 3:1 of synthetic serves 6 facts in 1 relation "
        f"(selection paper ({asked.selection_id}): 12 known facts of 12)\n"
        "id   relation  subject  object  mean score  prompt share\n"
        "────────────────────────────────────────────────────────\n"
        "P36  capital   Land 0   Town 0       0.250         1.000\n"
        "P36  capital   Land 1   Town 1       0.250         1.000\n"
    )
    assert result.stderr == "2 of 6 facts; --limit 0 shows all.\n"
    assert result.exit_code == 0


def test_the_same_facts_come_as_json_and_csv_with_every_column(asked: Synthetic) -> None:
    rows = rows_of(run("query", "--neuron", "0:7", "--format", "json", on=asked).stdout)
    text = run("query", "--neuron", "0:7", "--format", "csv", on=asked).stdout
    (row,) = csv.DictReader(io.StringIO(text))
    expected = {
        "relation_id": "P37",
        "relation": "official language",
        "fact_id": "P37-1",
        "subject": "Realm 1",
        "object": "Tongue 1",
        "mean_score": 0.20000000298023224,  # the stored float32, undiminished
        "prompt_share": 1.0,
    }
    assert rows == [expected]
    assert row == {name: str(value) for name, value in expected.items()}


def test_a_neuron_without_facts_is_an_empty_answer_with_a_note(asked: Synthetic) -> None:
    note = f"Neuron 2:5 of synthetic serves no fact in selection paper ({asked.selection_id}).\n"
    header = "relation_id,relation,fact_id,subject,object,mean_score,prompt_share\n"
    for format_, stdout in (("table", ""), ("csv", header)):
        result = run("query", "--neuron", "2:5", "--format", format_, on=asked)
        assert (result.stdout, result.stderr, result.exit_code) == (stdout, note, 0)
    result = run("query", "--neuron", "2:5", "--format", "json", on=asked)
    assert (rows_of(result.stdout), result.stderr, result.exit_code) == ([], note, 0)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ["--neuron", "9-2047"],
            "'9-2047' is not a neuron: write LAYER:NEURON, both counted from 0, e.g. 9:2047",
        ),
        (
            ["--neuron", "9:99999"],
            "synthetic has no neuron 9:99999: its layers are 0 to 3, its neurons 0 to 63",
        ),
        (["--fact", "Raelm 3"], "no fact with subject or id 'Raelm 3'; near: Realm 3, "),
        (
            ["--relation", "capitol"],
            "no relation 'capitol' in this atlas; there is P36 (capital)",
        ),
        (["--hubs", "--selection", "zz"], "no selection 'zz'; there are "),
        (["--hubs", "--run", "zz"], "no run 'zz'; there are "),
    ],
)
def test_what_the_atlas_does_not_hold_is_one_line_and_exit_code_1(
    asked: Synthetic, arguments: list[str], error: str
) -> None:
    result = run("query", *arguments, on=asked)
    assert result.stderr.startswith(f"Error: {error}")
    assert result.stderr.count("\n") == 1
    assert (result.stdout, result.exit_code) == ("", 1)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], ASK),
        (["--hubs", "--fact", "x"], ASK),
        (["--shared", "a", "b", "--neighbours", "x"], ASK),
        (["--neighbours", "x", "--show", "neurons"], "--neighbours has nothing but facts to show"),
        (["--hubs", "--show", "layers"], "--hubs has neurons to show, not layers."),
        (
            ["--hubs", "--limit", "-1"],
            "Invalid value for '--limit': -1 will not do: write a whole number, 0 or more.",
        ),
        (["--hubs", "--format", "xml"], "Invalid value for '--format': 'xml' is not one of "),
    ],
)
def test_a_command_line_that_makes_no_sense_is_one_line_and_exit_code_2(
    asked: Synthetic, arguments: list[str], error: str
) -> None:
    result = run("query", *arguments, on=asked)
    assert result.stderr.startswith(f"Error: {error}")
    assert result.stderr.endswith("See `atlas query --help`.\n")
    assert result.stderr.count("\n") == 1
    assert (result.stdout, result.exit_code) == ("", 2)


def test_a_fact_is_answered_with_its_prompts_and_neurons(asked: Synthetic) -> None:
    result = run("query", "--fact", "land 1", on=asked)
    assert result.stdout == (
        "Land 1 · capital (P36) · Town 1 · P36-1\n"
        "  known: top answer in 3 of 3 prompts · 3 knowledge neurons · "
        f"selection paper ({asked.selection_id}) of synthetic\n"
        "  halves of its prompts choose the same neurons to 1.00 (Jaccard, mean of 10 splits)\n"
        "prompt                       P(answer)  rank  top answer  P(top)     gap\n"
        "────────────────────────────────────────────────────────────────────────\n"
        "Capital 0 of Land 1 is [Y].      0.800     1  Town 1       0.800  -0.001\n"
        "Capital 1 of Land 1 is [Y].      0.800     1  Town 1       0.800  -0.001\n"
        "Capital 2 of Land 1 is [Y].      0.800     1  Town 1       0.800  -0.001\n"
        "Capital 3 of Land 1 is [Y].  skipped: template does not end in [Y]\n"
        "\n"
        "neuron  mean score  prompt share  facts  relations  frequency\n"
        "─────────────────────────────────────────────────────────────\n"
        "   3:0       0.300         1.000     12          2      1.000\n"
        "   3:1       0.250         1.000      6          1      1.000\n"
        "   0:1       0.200         1.000      1          1      1.000\n"
    )
    assert (result.stderr, result.exit_code) == ("", 0)


def test_only_the_part_asked_for_is_shown(asked: Synthetic) -> None:
    prompts = run("query", "--fact", "P36-1", "--show", "prompts", on=asked).stdout
    neurons = run("query", "--fact", "P36-1", "--show", "neurons", on=asked).stdout
    for text in (prompts, neurons):
        assert text.startswith("Land 1 · capital (P36) · Town 1 · P36-1\n")
    assert ("P(answer)" in prompts, "mean score" in prompts) == (True, False)
    assert ("P(answer)" in neurons, "mean score" in neurons) == (False, True)


def test_a_fact_as_json_holds_prompts_and_neurons(asked: Synthetic) -> None:
    (fact,) = rows_of(run("query", "--fact", "P36-1", "--format", "json", on=asked).stdout)
    assert (fact["subject"], fact["relation"], fact["object"]) == ("Land 1", "capital", "Town 1")
    assert fact["prompts"][3]["skipped_because"] == SKIPPED_BECAUSE
    assert [(n["layer"], n["neuron"], n["facts"]) for n in fact["neurons"]] == [
        (*HUB, 12),
        (LAST, 1, 6),
        (0, 1, 1),
    ]


def test_a_fact_as_csv_is_its_neurons_or_its_prompts(asked: Synthetic) -> None:
    def rows(*arguments: str) -> list[dict[str, str]]:
        text = run("query", "--fact", "P36-1", "--format", "csv", *arguments, on=asked).stdout
        return list(csv.DictReader(io.StringIO(text)))

    assert [(r["subject"], r["layer"], r["neuron"]) for r in rows()] == [
        ("Land 1", "3", "0"),
        ("Land 1", "3", "1"),
        ("Land 1", "0", "1"),
    ]
    assert [r["skipped_because"] for r in rows("--show", "prompts")] == [
        "",
        "",
        "",
        SKIPPED_BECAUSE,
    ]


def test_all_facts_of_a_subject_are_shown_one_after_the_other(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        connection.execute("UPDATE facts SET subject = 'Ireland' WHERE fact_id LIKE '%-0'")
    text = run("query", "--fact", "Ireland", on=own).stdout
    assert [line for line in text.splitlines() if line.startswith("Ireland")] == [
        "Ireland · capital (P36) · Town 0 · P36-0",
        "Ireland · official language (P37) · Tongue 0 · P37-0",
    ]
    facts = rows_of(run("query", "--fact", "Ireland", "--format", "json", on=own).stdout)
    assert [fact["fact_id"] for fact in facts] == ["P36-0", "P37-0"]


def test_a_relation_is_answered_with_summary_neurons_and_histogram(asked: Synthetic) -> None:
    result = run("query", "--relation", "Capital", "--limit", "3", on=asked)
    assert result.stdout == (
        f"capital (P36) in synthetic, selection paper ({asked.selection_id})\n"
        "  6 facts, 6 known, with 18 measured prompts; mean P(answer) 0.800, "
        "top answer right in 100.0%\n"
        "  6 prompts skipped: template does not end in [Y]\n"
        "  3.00 knowledge neurons a known fact, 8 different ones\n"
        "  thresholds: score >= 0.2 of the prompt's largest, in 0.7 of the prompts, "
        "at least 3 of them\n"
        "\n"
        "Neurons of synthetic that serve most facts of capital\n"
        "neuron  facts  fact share  mean score  relations\n"
        "────────────────────────────────────────────────\n"
        "   3:0      6       1.000       0.300          2\n"
        "   3:1      6       1.000       0.250          1\n"
        "   0:0      1       0.167       0.200          1\n"
        "\n"
        "Layers of capital's knowledge neurons (pairs of fact and neuron)\n"
        f"layer 0   6  {'█' * 20}\n"
        "layer 1   0\n"
        "layer 2   0\n"
        f"layer 3  12  {'█' * 40}\n"
    )
    assert result.stderr == "3 of 8 neurons; --limit 0 shows all.\n"
    assert result.exit_code == 0


def test_a_relation_as_json_is_one_object_and_as_csv_one_table(asked: Synthetic) -> None:
    text = run("query", "--relation", "P36", "--format", "json", on=asked).stdout
    answer = merged_of(text, "neurons")
    assert (answer["relation"], answer["sharing"], answer["mean_neurons"]) == ("capital", 0.7, 3.0)
    assert [layer["uses"] for layer in answer["layers"]] == [6, 0, 0, 12]
    assert answer["skipped"] == [{"run_id": asked.run_id, "reason": SKIPPED_BECAUSE, "prompts": 6}]
    layers = run("query", "--relation", "P36", "--format", "csv", "--show", "layers", on=asked)
    assert layers.stdout == "layer,neurons,uses\n0,6,6\n1,0,0\n2,0,0\n3,2,12\n"
    neurons = run("query", "--relation", "P36", "--format", "csv", "--limit", "1", on=asked)
    assert neurons.stdout == (
        "layer,neuron,facts,fact_share,mean_score,relations\n3,0,6,1.0,0.30000001192092896,2\n"
    )


def test_hubs_are_the_neurons_that_serve_most(asked: Synthetic) -> None:
    result = run("query", "--hubs", "--limit", "2", on=asked)
    assert result.stdout == (
        f"Neurons of synthetic that serve most facts (selection paper ({asked.selection_id}): "
        "12 known facts of 12)\n"
        "neuron  facts  relations  mean score  id   top relation       top share  entropy\n"
        "────────────────────────────────────────────────────────────────────────────────\n"
        "   3:0     12          2       0.300  P37  official language      0.500    1.000\n"
        "   3:1      6          1       0.250  P36  capital                1.000    0.000\n"
    )
    assert result.stderr == "2 of 15 neurons; --limit 0 shows all.\n"
    everything = rows_of(
        run("query", "--hubs", "--limit", "0", "--format", "json", on=asked).stdout
    )
    assert len(everything) == 15


def test_an_earlier_selection_can_be_asked(own: Synthetic) -> None:
    run("select", "--ratio", "0.9", "--sharing", "0.7", on=own)
    latest = rows_of(run("query", "--hubs", "--format", "json", on=own).stdout)
    earlier = rows_of(
        run("query", "--hubs", "--format", "json", "--selection", own.selection_id, on=own).stdout
    )
    assert [(hub["layer"], hub["neuron"]) for hub in latest] == [HUB]
    assert len(earlier) == 15


def test_a_run_that_goes_on_is_said_to_be_unfinished(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        connection.execute("UPDATE runs SET status = 'running'")
    result = run("query", "--neuron", "0:0", on=own)
    assert result.stderr.startswith(
        f"Run {own.run_id} has not finished; this is what it has measured so far.\n"
    )
    assert result.exit_code == 0


def test_an_empty_atlas_says_what_to_run(tmp_path: Path) -> None:
    path = tmp_path / "empty.duckdb"
    open_atlas(path, create=True)
    result = run("query", "--hubs", "--db", str(path))
    assert result.stderr == "Error: the atlas has no run yet: run `atlas index`\n"
    assert result.exit_code == 1


def test_a_missing_or_foreign_file_is_one_line(tmp_path: Path) -> None:
    missing = run("query", "--hubs", "--db", str(tmp_path / "none.duckdb"))
    foreign = tmp_path / "notes.txt"
    foreign.write_text("not an atlas\n" * 1000)
    other = run("query", "--hubs", "--db", str(foreign))
    for result in (missing, other):
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        assert (result.stdout, result.exit_code) == ("", 1)
    assert foreign.read_text() == "not an atlas\n" * 1000
