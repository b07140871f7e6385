"""`atlas edit update`, `erase`, `suppress`, `amplify`, and what they refuse."""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers import merged_of
from invocation import run
from refusals import Place, index
from stored_edits import ByHand, Edited, build
from tiny_index import rows

from atlas.atlas import Atlas, open_atlas
from atlas.edits.making.make import MadeEdit
from atlas.errors import AtlasError, EditError, SettingsError

TO_LIMA = ("update", "Ireland", "--relation", "P36", "--to", "Lima")
UPDATE = (*TO_LIMA, "--method", "solve", "--common", "1")


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
    told = lines[1].partition("changed: ")[2].split(", ")
    assert set(told) == named if len(named) <= 5 else (len(told), told[-1]) == (6, "…")
    assert max(map(len, lines)) <= 80
    assert lines[2].endswith(": chosen by 5 prompts alone")
    assert f"strength (norm of all changes) {edit.norm:.3g}, " in lines[3]
    assert lines[4] == f"  selection paper-all-facts ({edit.selection_id}), run {edit.run_id}"
    assert lines[5].split()[:3] == ["prompts", "P(Dublin)", "after"]
    assert [line.split()[:2] for line in lines[7:]] == [["made", "from"], ["held", "out"]]
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
    found = _json(edited, *UPDATE[:-2], *options)
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
        ("update", "Ireland:P36", "--to", "Łódź", "--any-object"),
        "bert cannot be asked for 'Łódź': the model's vocabulary cannot express",
    ),
    "empty object": (("update", "Ireland:P36", "--to", " "), ""),
    "the object that it is": (
        ("update", "Ireland:P36", "--to", "dublin"),
        "'dublin' is the object of Ireland (P36 capital) already: name another (--to OBJECT)",
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


COMMON = {
    "of a relation": (
        ("erase", "--relation", "P36", "--common", "0.5"),
        "erasing a whole relation takes its commonest neurons, so none is left out as common "
        "(--common SHARE)",
    ),
    "of the strongest": (
        ("erase", "Ireland:P36", "--common", "0.5", "--neurons", "5"),
        "a number of neurons takes the strongest, also common ones: give either that or the share "
        "from which neurons are common (--neurons N, --common SHARE)",
    ),
}
CHEAP = {
    name: REFUSED[name] for name in REFUSED if name not in ("inexpressible object", "empty object")
} | {
    **COMMON,
    "a weight of another method": (
        ("update", "Ireland:P36", "--to", "Lima", "--lambda2", "4"),
        "lambda2 is a setting of method paper, and method spare would ignore it: leave it out, or "
        "choose that method (--lambda2 WEIGHT, --method METHOD)",
    ),
    "an edit that is not there": (("apply", "7"), "no edit 7: the atlas has "),
    "unknown scope": (("check", "7", "--scope", "everything"), "unknown scope 'everything'; "),
    "malformed limits": (("check", "7", "--fail-over", "flips"), "cannot read the limit 'flips'"),
    "limits on nobody": (
        ("check", "7", "--scope", "own", "--fail-over", "flips=0"),
        "limits are about prompts that are not the edit's own",
    ),
}


@pytest.mark.parametrize("what", CHEAP)
def test_what_is_cheap_to_see_is_refused_before_the_model_is_loaded(
    edited: Edited, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("atlas.indexing.load_run_model.load_run_model", load)
    edited.store("P36-1")
    arguments, says = CHEAP[what]
    result = _edit(edited, *arguments)
    assert (result.stdout, result.exit_code) == ("", 1)
    assert result.stderr.startswith(f"Error: {says}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("to", ["directory", "file"])
def test_an_export_to_what_exists_is_refused_before_the_model_is_loaded(
    edited: Edited, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("atlas.indexing.load_run_model.load_run_model", load)
    edited.store("P36-1")
    there = tmp_path / "there"
    there.mkdir() if to == "directory" else there.touch()
    option = "--to" if to == "directory" else "--delta"
    result = run("edit", "export", "1", option, str(there), on=edited)
    assert result.stderr.startswith(f"Error: {there} exists: name another {to}, or have it repl")
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("edit", "error", "says"),
    [
        (lambda db: db.edit_scale("Ireland:P36", 1.0), SettingsError, "factor is 1.0: use 0 to"),
        (lambda db: db.edit_scale("Ireland:P36", -1), SettingsError, "factor is -1: use 0 to"),
        (
            lambda db: db.edit_update("Ireland:P36", "Lima", frobnicate=3),
            SettingsError,
            "no setting 'frobnicate' of this kind of edit: there are method, common, neurons,",
        ),
        (
            lambda db: db.edit_erase("Ireland:P36", method="paper"),
            SettingsError,
            "no setting 'method' of this kind of edit: there are common, neurons, held_out",
        ),
        (
            lambda db: db.edit_update("Ireland:P36", "Lima", method="magic"),
            SettingsError,
            "unknown method 'magic': choose spare, solve, paper",
        ),
        (lambda db: db.edit_update("Ireland:P36", " DUBLIN "), EditError, "'DUBLIN' is the object"),
        (lambda db: db.check(), EditError, "no edit: name one or more"),
        (lambda db: db.live(), EditError, "no edit: name one or more"),
        (lambda db: db.edit_export(delta="x"), EditError, "no edit: name one or more"),
    ],
)
def test_python_is_refused_before_the_model_is_loaded_too(
    edited: Edited, edit: Callable[[Atlas], object], error: type[AtlasError], says: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(says)}"):
        edit(edited.atlas)  # the model 'bert' is not here, so loading it would be another error


@pytest.mark.parametrize("what", COMMON)
def test_a_share_of_common_neurons_that_would_be_ignored_is_refused(
    edited: Edited, what: str
) -> None:
    arguments, says = COMMON[what]
    result = _edit(edited, *arguments)
    assert result.stderr == f"Error: {says}\n"
    assert rows(edited.atlas.path, "FROM edits") == []


def test_a_reverted_edit_that_is_made_again_is_back_in_force_and_that_is_said(
    edited: Edited,
) -> None:
    erase = ("erase", "Ireland:P36", "--common", "1")
    first = _json(edited, *erase)
    assert first["before"] == "new"
    run("edit", "revert", "1", on=edited)
    again = _edit(edited, *erase)
    assert "Edit 1 was reverted and is back in force: it is the same edit.\n" in again.stderr
    assert "The atlas held this edit already" not in again.stderr
    assert edited.atlas.edit(1).state == "stored"
    run("edit", "revert", "1", on=edited)
    report = edited.atlas.edit_erase("Ireland:P36", common=1.0, lm=edited.lm)
    assert (report.edit_id, report.before, report.state) == (1, "reverted", "stored")


def test_an_edit_that_changes_hardly_anything_says_so_first(edited: Edited) -> None:
    strong = edited.atlas.edit_update(
        "Ireland:P36", "Lima", method="solve", common=1.0, lm=edited.lm
    )
    assert strong.hardly_changed is None
    edited.atlas.edit_delete(1)
    with edited.atlas.writing() as connection:  # the strongest neurons are those that do least
        connection.execute(
            "UPDATE attributions SET score = 1e-6 / (1e-6 + abs(score) + abs(activation))"
        )
    weak = ("suppress", "Ireland:P36", "--neurons", "1", "--factor", "1.0001")
    result = _edit(edited, *weak)
    lines = result.stdout.splitlines()
    found = edited.atlas.edit(2)
    before = sum(o.p_old_before for o in found.outcomes) / 6
    after = sum(o.p_old_after for o in found.outcomes) / 6
    went = "fell" if after < before else "rose"
    assert found.hardly_changed == (
        f"P(Dublin) {went} from {before:.3g} to {after:.3g} and all 6 top answers stayed"
    )
    assert lines[1] == f"  Hardly anything changed: {found.hardly_changed}."


def test_an_update_says_what_became_of_the_prompts_it_was_told_to_keep(edited: Edited) -> None:
    with edited.atlas.writing() as connection:  # that the tiny model answered everything right
        connection.execute("UPDATE prompt_results SET answer_rank = 1")
    result = _edit(edited, *UPDATE)
    report = edited.atlas.edit(1)
    (edit,) = edited.atlas.edits(1)
    kept = report.kept
    assert kept is not None
    assert kept.prompts == len(edit.settings["kept_facts"]) > 0
    assert "kept_prompts" not in report.settings
    by_fact: dict[str, list[tuple[str, str]]] = {}
    for fact, text, answer in rows(
        edited.atlas.path,
        "SELECT fact_id, text, object FROM prompts JOIN facts USING (fact_id)",
    ):
        by_fact.setdefault(fact, []).append((text, answer))
    hand = ByHand(edited.lm)
    for which, right in ((None, kept.right_before), (edit, kept.right_after)):
        ranks = [
            [hand.answer(text, answer, which)[1] for text, answer in by_fact[fact]]
            for fact in edit.settings["kept_facts"]
        ]  # one prompt of each, we do not know which
        assert sum(all(rank == 1 for rank in r) for r in ranks) <= right
        assert right <= sum(any(rank == 1 for rank in r) for r in ranks)
    before = f" ({kept.right_before} had it before)" if kept.right_before < kept.prompts else ""
    have = "has its" if kept.right_after == 1 else "have their"
    assert result.stdout.splitlines()[1] == (
        f"  of the {kept.prompts} prompts it was told to keep, {kept.right_after} still {have} "
        f"right answer{before}"
    )


def test_a_batch_says_how_many_prompts_it_was_told_to_keep_beside_those_asked(
    edited: Edited,
) -> None:
    settings = {"keep": 62, "kept_prompts": 40, "kept_right_before": 40, "kept_right_after": 39}
    one = edited.store("P36-1", settings=settings)
    several = edited.store("P36-1", settings={**settings, "together": 31})
    shown = [run("edit", "show", str(number), on=edited).stdout for number in (one, several)]
    assert "of the 40 prompts it was told to keep, 39 still have" in shown[0]
    assert "of 40 of the 62 prompts it was told to keep, 39 still have" in shown[1]


def test_what_was_measured_of_an_edit_is_no_part_of_what_it_is(edited: Edited) -> None:
    number = edited.store("P36-1")
    (edit,) = edited.atlas.edits(number)
    settings = {**edit.settings, "kept_prompts": 4, "kept_right_before": 4, "kept_right_after": 3}
    assert replace(edit, settings=settings).digest == edit.digest


def test_every_edit_says_its_run_model_and_selection(edited: Edited) -> None:
    result = _edit(edited, "erase", "Ireland:P36", "--common", "1", "--format", "json")
    (edit,) = edited.atlas.edits(1)
    for text in (result.stdout, run("edit", "show", "1", "--format", "json", on=edited).stdout):
        answer = json.loads(text)
        assert (answer["run"]["run_id"], answer["run"]["model"]) == (
            edit.run_id,
            edited.directory.name,
        )
        assert answer["selection"]["selection_id"] == edit.selection_id
    assert edited.atlas.edit_diff(1, 1).selection is not None
    with edited.atlas.writing() as connection:  # an edit outlives its selection
        connection.execute("UPDATE edits SET selection_id = 'gone'")
    assert edited.atlas.edit(1).selection is None


def test_what_python_gets_prints_itself_briefly(edited: Edited) -> None:
    edited.store()
    (edit,) = edited.atlas.edits(1)
    assert repr(edit) == (
        f"Edit(1: update by solve, Ireland · P36 · Dublin → Lima, {len(edit.neurons)} neurons, "
        f"norm {edit.norm:.3g}, stored)"
    )
    made = MadeEdit(edit, (), "new")
    assert repr(made) == f"MadeEdit({edit!r}, outcomes=<0>, before='new')"
    assert repr(edited.lm) == (
        f"LanguageModel('bert', {edited.lm.model_id}, bert masked, layers={edited.lm.layers}, "
        f"neurons_per_layer={edited.lm.neurons_per_layer}, float32 on cpu)"
    )
    db = edited.atlas
    answers = (
        db.edit_list(),
        db.edit(1),
        db.edit_diff(1, 1),
        db.check(1, scope="own", lm=edited.lm),
        db.ask(edited.lm, "Ireland is [MASK].", edits=[1]),
        db.live(1, lm=edited.lm),
        db.edit_revert(1),
        db.edit_revert(1, undo=True),
        db.edit_delete(1),
    )
    for answer in answers:
        assert len(repr(answer)) < 700, repr(answer)
        assert "array(" not in repr(answer)
        assert "\n" not in repr(answer)


def test_a_fact_without_knowledge_neurons_is_refused_with_the_ways_out(edited: Edited) -> None:
    strict = ("--ratio", "1", "--sharing", "1", "--min-prompts", "6")
    run("select", "--all-facts", *strict, on=edited)
    result = _edit(edited, "erase", "Ireland:P36")
    assert result.exit_code == 1
    assert "Ireland (P36 capital) has no knowledge neurons in selection " in result.stderr
    assert result.stderr.endswith("say 20 (--selection SELECTION, --neurons N)\n")
    assert rows(edited.atlas.path, "FROM edits") == []


def test_where_all_neurons_are_common_the_strongest_are_edited_and_that_is_said(
    edited: Edited,
) -> None:
    with edited.atlas.writing() as connection:  # every neuron serves France and Italy, too
        connection.execute(
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
    arguments = ("update", "France:P36", "--to", "Rome")
    result = run("edit", *arguments, "--model", str(place.model), "--db", str(place.db))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
