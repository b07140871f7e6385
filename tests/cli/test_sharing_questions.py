"""`atlas query --shared, --neighbours, --interference`: exact output on the synthetic atlas."""

import csv
import io

import pytest
from answers import merged_of
from invocation import run
from synthetic import Synthetic


def test_shared_neurons_come_with_both_scores(asked: Synthetic) -> None:
    result = run("query", "--shared", "Land 0", "Realm 0:P37", on=asked)
    assert result.stdout == (
        "a  Land 0 · capital (P36) · Town 0: known: top answer in 3 of 3 prompts · "
        "3 knowledge neurons\n"
        "b  Realm 0 · official language (P37) · Tongue 0: known: top answer in 3 of 3 prompts · "
        "3 knowledge neurons\n"
        f"1 neuron in common, Jaccard 0.200 (selection paper ({asked.selection_id}))\n"
        "neuron  score a  score b  prompt share a  prompt share b  facts  relations\n"
        "──────────────────────────────────────────────────────────────────────────\n"
        "   3:0    0.300    0.300           1.000           1.000     12          2\n"
    )
    assert (result.stderr, result.exit_code) == ("", 0)


def test_shared_neurons_as_json_and_csv_hold_everything(asked: Synthetic) -> None:
    whole = merged_of(
        run("query", "--shared", "Land 0", "Land 1", "--format", "json", on=asked).stdout, "shared"
    )
    assert whole["fact_a"]["fact_id"] == "P36-0"
    assert (whole["both"], whole["jaccard"], len(whole["shared"])) == (2, 0.5, 2)
    text = run("query", "--shared", "Land 0", "Land 1", "--format", "csv", on=asked).stdout
    assert [row["neuron"] for row in csv.DictReader(io.StringIO(text))] == ["0", "1"]


def test_neighbours_are_ranked_by_what_they_share(asked: Synthetic) -> None:
    result = run("query", "--neighbours", "Land 0:P36", "--limit", "2", on=asked)
    assert result.stdout == (
        "11 facts share some of the 3 neurons of Land 0 · capital (P36) · Town 0 "
        f"(selection paper ({asked.selection_id}))\n"
        "id   relation  subject  object  shared neurons  jaccard  rarity\n"
        "───────────────────────────────────────────────────────────────\n"
        "P36  capital   Land 1   Town 1               2    0.500   1.000\n"
        "P36  capital   Land 2   Town 2               2    0.500   1.000\n"
    )
    assert result.stderr == "2 of 11 facts; --limit 0 shows all.\n"


def test_interference_is_predicted_for_others_and_told_for_the_fact_itself(
    asked: Synthetic,
) -> None:
    result = run("query", "--interference", "Land 0:P36", "--limit", "1", on=asked)
    assert result.stdout == (
        "Share of other facts' score mass on the neurons of Land 0 · capital (P36) · Town 0 "
        f"(selection paper ({asked.selection_id}))\n"
        "id   relation  subject  object  predicted interference  neurons  predicted Δ log P\n"
        "──────────────────────────────────────────────────────────────────────────────────\n"
        "P36  capital   Land 1   Town 1                   0.714        2             -0.688\n"
    )
    assert result.stderr == (
        "Land 0 · capital (P36) · Town 0: its 3 knowledge neurons hold 97.4% of its own score "
        "mass.\n"
        "1 of 11 facts; --limit 0 shows all.\n"
    )
    whole = merged_of(
        run("query", "--interference", "Land 0", "--format", "json", on=asked).stdout, "affected"
    )
    assert whole["on_itself"] == pytest.approx(0.75 / 0.77)
    assert len(whole["affected"]) == whole["facts"] == 11


def test_shares_of_a_run_that_kept_no_totals_are_said_to_be_of_the_stored_mass(
    own: Synthetic,
) -> None:
    with own.atlas.writing() as connection:
        connection.execute("UPDATE prompt_results SET positive_mass = NULL")
    result = run("query", "--interference", "Land 0:P36", "--limit", "1", on=own)
    assert result.stdout.startswith("Share of the stored mass of other facts' scores on the neu")
    assert "hold 97.4% of the stored mass of its own scores.\n" in result.stderr


@pytest.mark.parametrize("question", ["--neighbours", "--interference"])
def test_an_ambiguous_fact_is_one_line_that_lists_its_relations(
    own: Synthetic, question: str
) -> None:
    with own.atlas.writing() as connection:
        connection.execute("UPDATE facts SET subject = 'Ireland' WHERE fact_id LIKE '%-0'")
    result = run("query", question, "Ireland", on=own)
    assert result.stderr == (
        "Error: 'Ireland' names 2 facts, in P36 (capital), P37 (official language): "
        "write one of them, e.g. 'Ireland:P36'\n"
    )
    assert (result.stdout, result.exit_code) == ("", 1)


def test_a_fact_without_knowledge_neurons_is_an_empty_answer_with_a_note(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        connection.execute("DELETE FROM knowledge_neurons WHERE fact_id = 'P36-0'")
    of = f"selection paper ({own.selection_id}), which is of known facts alone"
    note = f"no knowledge neuron in {of}.\n"
    for question in ("--neighbours", "--interference"):
        result = run("query", question, "P36-0", on=own)
        assert (result.stdout, result.exit_code) == ("", 0)
        assert result.stderr == f"Land 0 · capital (P36) · Town 0: {note}"
    shared = run("query", "--shared", "P36-0", "P36-1", on=own)
    assert shared.stdout.splitlines()[0].endswith("0 knowledge neurons")
    assert shared.stderr == f"Land 0 · capital (P36) · Town 0: {note}"


def test_whether_two_facts_are_known_comes_before_what_they_share(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        connection.execute(
            """
            UPDATE prompt_results
            SET answer_rank = 2
            WHERE prompt_id IN (SELECT prompt_id FROM prompts WHERE fact_id = 'P36-1')
            """
        )
    first, second, *_ = run("query", "--shared", "P36-0", "P36-1", on=own).stdout.splitlines()
    assert ": known: top answer in " in first
    assert ": not known: top answer in 0 of " in second


def test_a_run_without_scores_shares_neurons_but_predicts_nothing(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        connection.execute("DELETE FROM attributions")
        connection.execute("DELETE FROM fact_masses")
        connection.execute("UPDATE knowledge_neurons SET mean_score = NULL, prompt_share = NULL")
    shared = run("query", "--shared", "Land 0", "Land 1", on=own)
    assert "neuron  facts  relations\n" in shared.stdout  # and no column of scores
    assert run("query", "--neighbours", "Land 0", on=own).stdout.startswith("11 facts share")
    refused = run("query", "--interference", "Land 0", on=own)
    assert refused.stderr.startswith(f"Error: run {own.run_id} has no scores, so interference")
    assert (refused.stderr.count("\n"), refused.exit_code) == (1, 1)
