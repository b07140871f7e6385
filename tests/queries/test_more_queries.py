"""Facts by object, neurons prompt by prompt, two selections side by side: against SQL by hand."""

from pathlib import Path

import pytest
from answers import rows_of, summary_of
from invocation import run
from synthetic import HUB, LAST, Synthetic, build

from atlas.errors import NotFound


@pytest.fixture
def own(tmp_path: Path) -> Synthetic:
    """An atlas to change."""
    return build(tmp_path / "atlas.duckdb")


def test_facts_are_found_by_their_object_whatever_its_case(own: Synthetic) -> None:
    report = own.atlas.facts_with_object("town 1")
    (fact,) = report.facts
    assert (report.object, fact.subject, fact.relation) == ("Town 1", "Land 1", "capital")
    assert (fact.known, fact.right, fact.measured, fact.neurons) == (True, 3, 3, 3)
    with pytest.raises(NotFound, match="no fact with the object 'Twon 1'; near: Town 1"):
        own.atlas.facts_with_object("Twon 1")


def test_an_object_is_asked_for_on_the_command_line(own: Synthetic) -> None:
    result = run("query", "--object", "Town 1", on=own)
    assert result.stdout.startswith("1 fact with the object Town 1, 1 of them known (selection ")
    (row,) = rows_of(run("query", "--object", "Town 1", "--format", "json", on=own).stdout)
    assert row["subject"] == "Land 1"


def test_a_facts_neurons_are_shown_in_each_of_its_prompts(own: Synthetic) -> None:
    report = own.atlas.fact_prompts("P36-1")
    assert (report.prompts, report.neurons, len(report.scores)) == (3, 3, 9)
    with own.atlas.reading() as connection:
        stored = connection.execute(
            """
            SELECT prompt_id, layer, neuron, score
            FROM attributions
            JOIN prompts USING (prompt_id)
            WHERE fact_id = 'P36-1'
            """
        ).fetchall()
    scores = {(s.prompt_id, s.layer, s.neuron): s.score for s in report.scores}
    for prompt_id, layer, neuron, score in stored:
        if (prompt_id, layer, neuron) in scores:
            assert scores[prompt_id, layer, neuron] == score
    assert {(s.layer, s.neuron) for s in report.scores if s.passes} >= {HUB, (LAST, 1)}


def test_scores_of_each_token_stand_beside_those_of_the_whole_answer(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        (prompt_id,) = connection.execute(
            """
            UPDATE prompt_results
            SET answer_tokens = 3
            WHERE prompt_id = (
                SELECT min(prompt_id)
                FROM prompt_results
                JOIN prompts USING (prompt_id)
                WHERE fact_id = 'P36-1'
                  AND skipped_because IS NULL
            )
            RETURNING prompt_id
            """
        ).fetchall()[0]
        connection.execute(
            """
            INSERT INTO token_attributions
            VALUES ($run_id, $prompt_id, 2, 3, 0, 0.75),
                   ($run_id, $prompt_id, 0, 3, 0, 0.25),
                   ($run_id, $prompt_id, 0, 1, 9, 0.5)
            """,
            {"run_id": own.run_id, "prompt_id": prompt_id},
        )
    shown = run("query", "--fact", "P36-1", "--by", "prompt", "--format", "json", on=own).stdout
    tokens = {
        (row["prompt_id"], row["layer"], row["neuron"]): row["token_scores"]
        for row in rows_of(shown)
    }
    assert tokens.pop((str(prompt_id), 3, 0)) == [0.25, None, 0.75]
    assert tokens.pop((str(prompt_id), 3, 1)) == [None, None, None]
    assert tokens.pop((str(prompt_id), 0, 1)) == [None, None, None]
    assert set(map(tuple, tokens.values())) == {()}


def test_prompts_and_neurons_make_a_table(own: Synthetic) -> None:
    result = run("query", "--fact", "P36-1", "--by", "prompt", on=own)
    title, head, _, *rows = result.stdout.splitlines()
    assert title.startswith(
        "Land 1 · capital (P36) · Town 1: scores of its 3 knowledge neurons in "
    )
    assert head.split() == ["prompt", "3:0", "3:1", "0:1"]
    assert len(rows) == 3
    assert all("0.3000*" in row for row in rows)
    wrong = run("query", "--hubs", "--by", "prompt", on=own)
    assert (wrong.exit_code, wrong.stdout) == (2, "")


def test_two_selections_are_told_apart(own: Synthetic) -> None:
    own.atlas.select(ratio=0.9, sharing=0.5, min_prompts=2, name="strict")
    found = own.atlas.diff("paper", "strict")
    assert {s.name for s in found.settings} >= {"ratio", "sharing", "min_prompts"}
    assert (found.compared, found.neurons_a, found.neurons_b) == (12, 3.0, 1.0)
    assert found.same == 0
    assert found.jaccard == pytest.approx(1 / 3)
    assert found.jaccard_facts == len(found.facts) == 12
    same = own.atlas.diff("paper", own.run_id)
    assert (same.compared, same.settings[:0]) == (12, ())


def test_diff_on_the_command_line(own: Synthetic) -> None:
    run("select", "--ratio", "0.9", "--sharing", "0.5", "--name", "strict", on=own)
    result = run("diff", "paper", "strict", "--limit", "2", on=own)
    assert "12 facts are measured in both: 3.00 and 1.00 knowledge neurons a fact" in result.stdout
    assert result.stderr == "2 of 12 facts; --limit 0 shows all.\n"
    text = run("diff", "paper", "strict", "--format", "json", on=own).stdout
    assert len(rows_of(text)) == summary_of(text)["compared"] == 12
    nothing = run("diff", "paper", "nowhere", on=own)
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    assert nothing.stderr.startswith("Error: no selection 'nowhere'")


def test_a_fact_without_a_neuron_says_what_lower_thresholds_would_give(own: Synthetic) -> None:
    own.atlas.select(ratio=0.5, sharing=1.0, min_prompts=4, name="none", make_default=False)
    report = own.atlas.fact("P36-1", selection="none")
    assert (report.chosen, report.neurons) == (0, ())
    miss = report.near_miss
    assert miss is not None
    assert (miss.layer, miss.neuron, miss.passes, miss.measured) == (*HUB, 3, 3)
    assert miss.at_half >= 1
    assert own.atlas.fact("P36-1").near_miss is None
    result = run("query", "--fact", "P36-1", "--selection", "none", on=own)
    assert (
        "The nearest, 3:0, passes in 3 of 3 prompts; a sharing of 0.5 would give" in result.stderr
    )
