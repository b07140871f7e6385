"""`atlas edit update`, `erase`, `suppress`, `amplify`, and what they refuse."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers import merged_of
from invocation import run
from refusals import Place, index
from stored_edits import ByHand, Edited, build
from tiny_index import rows

from atlas.atlas import open_atlas

UPDATE = ("update", "Ireland", "--relation", "P36", "--to", "Lima", "--common", "1")


@pytest.fixture(scope="module")
def indexed_bert(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    return build(tmp_path_factory.mktemp("bert"), saved_bert)


@pytest.fixture
def edited(indexed_bert: Edited, tmp_path: Path) -> Edited:
    """An atlas of the tiny BERT without an edit."""
    return indexed_bert.copied(tmp_path / "own.duckdb")


def _edit(edited: Edited, *arguments: str) -> Any:
    return run("edit", *arguments, "--model", str(edited.directory), on=edited)


def _json(edited: Edited, *arguments: str) -> Any:
    result = _edit(edited, *arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return merged_of(result.stdout, "neurons")


def _shown(edited: Edited) -> Any:
    shown = run("edit", "show", "1", "--format", "json", on=edited).stdout
    return merged_of(shown, "neurons")


def test_update_stores_an_edit_whose_outcome_plain_transformers_confirms(edited: Edited) -> None:
    found = _json(edited, *UPDATE)
    assert (found["edit_id"], found["kind"], found["method"]) == ("1", "update", "solve")
    assert (found["subject"], found["old_object"], found["new_object"]) == (
        "Ireland",
        "Dublin",
        "Lima",
    )
    (edit,) = edited.atlas.edits(1)
    hand = ByHand(edited.lm)
    assert len(found["outcomes"]) == 6
    for one in found["outcomes"]:
        for which, when in ((None, "before"), (edit, "after")):
            p_old, old_rank, top = hand.answer(one["text"], "Dublin", which)
            p_new, new_rank, _ = hand.answer(one["text"], "Lima", which)
            assert one[f"p_old_{when}"] == pytest.approx(p_old, rel=1e-3, abs=1e-9)
            assert one[f"p_new_{when}"] == pytest.approx(p_new, rel=1e-3, abs=1e-9)
            assert (one[f"old_rank_{when}"], one[f"new_rank_{when}"]) == (old_rank, new_rank)
            assert one[f"predicted_{when}"] == top


def test_update_says_what_it_changed_how_strongly_with_what_outcome_and_what_next(
    edited: Edited,
) -> None:
    result = _edit(edited, *UPDATE)
    assert result.exit_code == 0, result.output
    (edit,) = edited.atlas.edits(1)
    lines = result.stdout.splitlines()
    assert lines[0] == "Edit 1 · update by solve · Ireland · capital (P36) · Dublin → Lima"
    named = {f"{layer}:{neuron}" for layer, neuron in edit.named_neurons}
    assert set(lines[1].partition("changed: ")[2].split(", ")) == named
    assert f"strength (norm of all changes) {edit.norm:.3g}, " in lines[2]
    assert lines[3].split()[:3] == ["prompts", "P(Dublin)", "after"]
    assert [line.split()[:2] for line in lines[5:]] == [["made", "from"], ["held", "out"]]
    assert result.stderr.endswith("Next: `atlas edit check 1`, `atlas edit apply 1`\n")


def test_update_writes_its_prompts_as_csv(edited: Edited) -> None:
    text = _edit(edited, *UPDATE, "--format", "csv").stdout
    table = list(csv.DictReader(io.StringIO(text)))
    assert len(table) == 6
    assert {row["held_out"] for row in table} == {"true", "false"}


def test_an_update_that_does_not_win_everywhere_says_so_and_how_to_widen_it(
    edited: Edited,
) -> None:
    result = _edit(edited, *UPDATE, "--method", "paper", "--lambda2", "0.001")
    won = _shown(edited)["summary"][0]["new_on_top_after"]
    assert won < 4
    assert f"Lima is on top in {won} of " in result.stderr
    assert "`--neurons " in result.stderr


def test_the_options_of_an_update_reach_its_settings(edited: Edited) -> None:
    options = ("--method", "paper", "--lambda1", "0.5", "--lambda2", "4", "--neurons", "5")
    found = _json(edited, *UPDATE, *options)
    assert (found["method"], len(found["neurons"])) == ("paper", 5)
    settings = found["settings"]
    assert (settings["lambda1"], settings["lambda2"], settings["neurons"]) == (0.5, 4.0, 5)


def test_the_same_edit_again_is_the_same_edit(edited: Edited) -> None:
    first = _json(edited, *UPDATE, "--method", "paper")
    again = _edit(edited, *UPDATE, "--method", "paper")
    assert "The atlas held this edit already, as edit 1.\n" in again.stderr
    assert [n["norm"] for n in first["neurons"]] == [n["norm"] for n in _shown(edited)["neurons"]]
    assert rows(edited.atlas.path, "SELECT edit_id FROM edits") == [(1,)]


def test_erasing_a_fact_zeroes_its_value_vectors(edited: Edited) -> None:
    found = _json(edited, "erase", "Ireland", "--relation", "P36", "--common", "1")
    assert (found["kind"], found["new_object"]) == ("erase", None)
    (edit,) = edited.atlas.edits(1)
    for (layer, neuron), delta in zip(edit.named_neurons, edit.deltas, strict=True):
        np.testing.assert_array_equal(-delta, edited.lm.value_vectors(layer)[neuron].numpy())


def test_erasing_a_relation_zeroes_the_neurons_of_most_of_its_facts(edited: Edited) -> None:
    found = _json(edited, "erase", "--relation", "capital", "--neurons", "2")
    assert (found["relation_id"], found["fact_id"], len(found["neurons"])) == ("P36", None, 2)
    counts = dict(
        ((layer, neuron), facts)
        for layer, neuron, facts in rows(
            edited.atlas.path,
            """
            SELECT layer, neuron, count(*)
            FROM neuron_facts
            WHERE relation_id = 'P36'
            GROUP BY layer, neuron
            """,
        )
    )
    (edit,) = edited.atlas.edits(1)
    assert sorted(counts[n] for n in edit.named_neurons) == sorted(counts.values())[-2:]
    text = _edit(edited, "erase", "--relation", "P36", "--neurons", "2").stdout
    assert text.splitlines()[0] == "Edit 1 · erase by zero · capital (P36)"


@pytest.mark.parametrize(
    ("command", "options", "factor"),
    [
        ("suppress", (), 0.0),
        ("suppress", ("--factor", "2"), 0.5),
        ("amplify", (), 2.0),
        ("amplify", ("--factor", "3"), 3.0),
    ],
)
def test_suppressing_and_amplifying_scale_the_value_vectors(
    edited: Edited, command: str, options: tuple[str, ...], factor: float
) -> None:
    found = _json(edited, command, "Ireland:P36", "--common", "1", *options)
    assert (found["kind"], found["settings"]["factor"]) == (command, factor)
    (edit,) = edited.atlas.edits(1)
    for (layer, neuron), delta in zip(edit.named_neurons, edit.deltas, strict=True):
        vector = edited.lm.value_vectors(layer)[neuron].numpy()
        np.testing.assert_allclose(vector + delta, factor * vector, rtol=1e-6, atol=1e-7)


def test_a_causal_model_is_edited_too(saved_gpt2: Path, tmp_path: Path) -> None:
    edited = build(tmp_path, saved_gpt2)
    found = _json(edited, *UPDATE)
    assert found["summary"][0]["p_new_after"] > found["summary"][0]["p_new_before"]


REFUSED = {
    "unknown object": (
        ("update", "Ireland:P36", "--to", "Dublinn"),
        "no fact of this atlas has 'Dublinn' as its subject or object: did you mean Dublin? "
        "If not, allow any object (--any-object)",
    ),
    "unknown fact": (("update", "Atlantis", "--to", "Lima"), "no fact with subject or id 'Atlan"),
    "several facts": (
        ("update", "Ireland", "--to", "Lima"),
        "'Ireland' names 3 facts, in P2 (city), P36",
    ),
    "unknown relation of it": (
        ("update", "Ireland", "--relation", "P30", "--to", "Lima"),
        "no fact 'Ireland' in P30: the atlas has Ireland in P2 (city), P36",
    ),
    "inexpressible object": (
        ("update", "Ireland:P36", "--to", "Łódź", "--common", "1", "--any-object"),
        "bert cannot be asked for 'Łódź': the model's vocabulary cannot express",
    ),
    "empty object": (("update", "Ireland:P36", "--to", " ", "--common", "1"), ""),
    "the object that it is": (
        ("update", "Ireland:P36", "--to", "dublin", "--common", "1"),
        "'dublin' is the object of Ireland (P36 capital) already: name another with --to",
    ),
    "unknown selection": (
        ("update", "Ireland:P36", "--to", "Lima", "--selection", "zzz"),
        "no selection 'zzz'; there are ",
    ),
    "unknown relation": (("erase", "--relation", "P999"), "no relation 'P999' in this atlas"),
    "common beyond a share": (
        ("erase", "Ireland:P36", "--common", "2"),
        "common is 2.0: use a share between 0 and 1",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_edited_is_one_line_and_nothing_is_stored(edited: Edited, what: str) -> None:
    arguments, says = REFUSED[what]
    result = _edit(edited, *arguments)
    assert (result.stdout, result.exit_code) == ("", 1)
    assert result.stderr.startswith(f"Error: {says}")
    assert result.stderr.count("\n") == 1
    for table in ("edits", "edit_deltas", "edit_outcomes"):
        assert rows(edited.atlas.path, f"FROM {table}") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("update", "Ireland:P36"),
        ("update", "--to", "Lima"),
        ("update", "Ireland:P36", "--to", "Lima", "--neurons", "0"),
        ("update", "Ireland:P36", "--to", "Lima", "--method", "magic"),
        ("erase",),
        ("suppress", "Ireland:P36", "--factor", "0.5"),
        ("suppress", "Ireland:P36", "--factor", "-1"),
        ("amplify", "Ireland:P36", "--factor", "0.5"),
        ("export", "1"),
        ("export", "1", "--to", "a", "--delta", "b"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_one_line_with_exit_code_2(
    edited: Edited, arguments: tuple[str, ...]
) -> None:
    result = _edit(edited, *arguments)
    assert (result.stdout, result.exit_code) == ("", 2)
    assert result.stderr.count("\n") == 1
    assert rows(edited.atlas.path, "FROM edits") == []


def test_a_fact_without_knowledge_neurons_is_refused_with_the_ways_out(edited: Edited) -> None:
    run("select", "--ratio", "1", "--sharing", "1", "--min-prompts", "6", on=edited)
    result = _edit(edited, "erase", "Ireland:P36")
    assert result.exit_code == 1
    assert "Ireland (P36 capital) has no knowledge neurons in selection " in result.stderr
    assert "--neurons 20" in result.stderr
    assert rows(edited.atlas.path, "FROM edits") == []


def test_where_all_neurons_are_common_the_strongest_are_edited_and_that_is_said(
    edited: Edited,
) -> None:
    with edited.atlas.writing() as con:  # every neuron serves France and Italy, too
        con.execute(
            """
            INSERT INTO knowledge_neurons
            SELECT s.selection_id, f.fact_id, l.layer, n.neuron, 1, 1
            FROM selections AS s,
                 (VALUES ('P36-1'), ('P36-2')) AS f (fact_id),
                 range(3) AS l (layer),
                 range(40) AS n (neuron)
            """
        )
    result = _edit(edited, "erase", "Ireland:P36")
    assert result.exit_code == 0
    assert "knowledge neurons of Ireland (P36 capital) are common to more than 10%" in result.stderr
    assert "--common 1" in result.stderr
    assert "--neurons" in result.stderr
    assert rows(edited.atlas.path, "SELECT neurons FROM edits") == [(20,)]


def test_another_model_is_refused(edited: Edited, saved_gpt2: Path) -> None:
    result = run("edit", *UPDATE, "--model", str(saved_gpt2), on=edited)
    assert (result.stdout, result.exit_code) == ("", 1)
    assert result.stderr.startswith("Error: 'gpt2' has weights ")
    assert rows(edited.atlas.path, "FROM edits") == []


def test_an_atlas_without_a_run_or_no_atlas_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.duckdb"
    missing = run("edit", *UPDATE, "--db", str(path))
    assert missing.stderr.startswith(f"Error: no atlas at {path}: run `atlas index`")
    open_atlas(path, create=True)
    empty = run("edit", *UPDATE, "--db", str(path))
    assert empty.stderr == "Error: the atlas has no run yet: run `atlas index`\n"
    assert (missing.exit_code, empty.exit_code) == (1, 1)


def test_a_fact_that_is_known_but_not_measured_yet_is_refused(place: Place) -> None:
    run(*index(place, "--limit", "1", "--rule", "gauss-legendre", "--points", "2"))
    arguments = ("update", "France:P36", "--to", "Rome", "--common", "1")
    result = run("edit", *arguments, "--model", str(place.model), "--db", str(place.db))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
