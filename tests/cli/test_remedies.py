"""What a fresh reader stumbled over: each mistake is answered with what to write instead."""

from pathlib import Path

import pytest
from atlas_cli import tables
from invocation import run
from synthetic import MODEL, Synthetic, build, synthetic_results

from atlas.atlas import Atlas
from atlas.errors import NotFound, PromptError, SettingsError
from atlas.indexing import records
from atlas.prompts import Prompt, as_prompts
from atlas.queries.facts import require_measured
from atlas.queries.named_facts import one_fact
from atlas.selection.chosen import choose_selection
from atlas.selection.select import Thresholds, select


def _second_run(own: Synthetic, relation: int = 0) -> str:
    """A run that measured one relation alone, and its selection, the default; the run's id."""
    with own.atlas.writing() as connection:
        connection.execute("INSERT INTO runs SELECT * REPLACE ('other' AS run_id) FROM runs")
        records.record_results(connection, "other", synthetic_results(own.dataset, relation))
        select(connection, "other", Thresholds())
    return "other"


def test_a_fact_that_another_run_measured_is_asked_there(own: Synthetic) -> None:
    _second_run(own)
    result = run("query", "--fact", "Realm 0", on=own)
    assert result.stderr.endswith(
        "Realm 0 P37: run other has no result of 4 of its 4 prompts.\n"
        f"  Another run has: `atlas query --fact P37-0 --selection {own.selection_id}`.\n"
    )
    with own.atlas.reading() as connection:
        fact = one_fact(connection, "Realm 0")
        with pytest.raises(NotFound, match=f"{own.run_id} of {MODEL.name} has: name its selection"):
            require_measured(connection, choose_selection(connection), fact)


def test_a_fact_that_no_run_measured_names_the_relation_to_index(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        connection.execute("DELETE FROM prompt_results")
    result = run("query", "--fact", "Land 0", on=own)
    assert "`atlas index --relation P36` measures it" in result.stderr
    refused = run("edit", "suppress", "Land 0", on=own)
    assert refused.stderr.endswith("nor has another: index relation P36 with all its facts\n")


def test_what_the_embedded_dataset_has_is_to_be_indexed(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        connection.execute("UPDATE runs SET dataset = 'embedded'")
    assert "has Ireland in P36 (capital): index" in (
        run("query", "--fact", "Ireland:P36", on=own).stderr
    )
    assert "has P17 (country): index that relation" in (
        run("query", "--relation", "P17", on=own).stderr
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("query --hubs --limit abc", "'abc' will not do: write a whole number, 0 or more."),
        ("query --shared a", "Write --shared NAME NAME."),
        ("query --shared a --limit 3", "--shared takes two facts: write --shared NAME NAME."),
        ("edit suppress a --factor 1", "write a number, more than 1 and at most 1000."),
        ("--db x query --hubs", "--db belongs behind the command: `atlas query --db FILE`."),
        ("edit --db x list", "`atlas edit list --db FILE`."),
        ("index --data a --pararel b", "are two names of one option: give just one of them."),
        ("import x --model m", "name the facts with --data PATH."),
        ("query --fact a --tokens --interactions", "ask one at a time."),
        ("query --hubs --model m", "other questions ask no model."),
        ("query --hubs --facts 3", "--facts goes with --measure."),
    ],
)
def test_a_command_line_that_is_not_understood_says_what_to_write(words: str, says: str) -> None:
    result = run(*words.split())
    assert says in result.stderr
    assert (result.stderr.count("\n"), result.exit_code) == (1, 2)


def test_an_unknown_limit_of_side_effects_names_those_that_there_are() -> None:
    from atlas.side_effects.limits import parse_limits

    with pytest.raises(SettingsError, match="no limit 'flipps': there are flips, broken, ppl;"):
        parse_limits("flipps")


def test_zero_and_none_both_show_all(asked: Synthetic) -> None:
    for limit in (0, None):
        assert len(asked.atlas.hubs(limit=limit).hubs) == 15
        assert len(asked.atlas.neighbours("Land 0", limit=limit).neighbours) == 11
    with pytest.raises(SettingsError, match="or 0 for all"):
        asked.atlas.hubs(limit=-1)


def test_a_neuron_is_two_numbers_or_one_word(asked: Synthetic) -> None:
    atlas: Atlas = asked.atlas
    assert atlas.neuron("3:0") == atlas.neuron(3, 0)
    for wrong in (("3",), (3,), ("3", 0), ([3, 0],)):
        with pytest.raises(SettingsError, match="is not a neuron"):
            atlas.neuron(*wrong)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        atlas.neuron(-1, 0)


def test_one_prompt_need_not_be_in_a_list() -> None:
    prompt = Prompt("The capital of Ireland is [MASK].", "Dublin")
    assert as_prompts(prompt) == as_prompts([prompt]) == [prompt]
    with pytest.raises(PromptError, match="is no prompt"):
        as_prompts("The capital of Ireland is [MASK].")  # type: ignore[arg-type]


def test_what_is_piped_follows_columns(own: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tables.available() == 10_000
    monkeypatch.setenv("COLUMNS", "60")
    lines = run("query", "--hubs", on=own).stdout.splitlines()
    assert max(map(len, lines)) <= 60
    monkeypatch.setenv("COLUMNS", "wide")
    assert tables.available() == 10_000


def test_one_of_a_thing_is_said_in_the_singular(tmp_path: Path) -> None:
    own = build(tmp_path / "atlas.duckdb", relations=1, facts=1)
    assert "over 1 known fact of 1.\n" in run("select", on=own).stderr
    assert "known: top answer in 3 of 3 prompts" in run("query", "--fact", "Land 0", on=own).stdout


def test_renaming_a_selection_is_said(own: Synthetic) -> None:
    result = run("select", "--preset", "paper", "--name", "mine", on=own)
    assert "It was called paper until now: a run's equal thresholds are one sel" in result.stderr
    assert "It was called" not in run("select", "--preset", "paper", on=own).stderr


def test_a_name_of_two_selections_is_never_guessed(own: Synthetic) -> None:
    _second_run(own)
    with own.atlas.writing() as connection:
        connection.execute(
            "INSERT INTO runs SELECT * REPLACE ('third' AS run_id) FROM runs WHERE run_id = 'other'"
        )
        records.record_results(connection, "third", synthetic_results(own.dataset, 0))
        select(connection, "third", Thresholds("fixed"), name="own")
    result = run("query", "--hubs", "--selection", "paper", on=own)
    assert "2 selections are called 'paper': name one by its id" in result.stderr
    assert result.exit_code == 1
