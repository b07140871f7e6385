"""Edits of several facts: solved together, stored as one or as one each, treated as one is."""

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from edit_models import changed, snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invocation import run
from oracle import language_model
from tiny_index import rows, tiny_dataset
from tiny_models import tiny

import atlas
from atlas.atlas import Atlas
from atlas.edits.applying import applied
from atlas.edits.edit import Edit
from atlas.edits.making import refined
from atlas.edits.making.make import make_update, make_updates
from atlas.edits.making.methods import TOGETHER
from atlas.edits.making.settings import SOLVE_TOGETHER, EditSettings
from atlas.edits.making.wanted import read_wanted
from atlas.errors import EditError, SettingsError
from atlas.models.language_model import LanguageModel
from atlas.selection.thresholds import Thresholds

CHANGES = [("Ireland", "P36", "Paris"), ("France", "P36", "Rome"), ("Italy", "P37", "Dublin")]
PAIRS = [("P36-0", "Paris"), ("P36-1", "Rome"), ("P37-2", "Dublin")]
NAMED = "subject,relation,object\n"


@dataclass(frozen=True)
class Indexed:
    lm: LanguageModel
    path: Path
    made: tuple[Edit, ...]  # one of three facts, and one of each of them


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """Half as many and longer ones: in a random model new objects are far away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refined, "STEPS", 150)
        patch.setattr(refined, "RATE", 0.4)
        yield


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    """A tiny BERT whose atlas holds the edit of three facts, and the same as one each."""
    lm = language_model(*tiny("bert"))
    path = tmp_path_factory.mktemp("many") / "atlas.duckdb"
    how = {"rule": "gauss-legendre", "points": 2, "thresholds": Thresholds(known_only=False)}
    atlas.index(path, lm, tiny_dataset(2, 4), **how)
    db = atlas.open(path)
    before = snapshot(lm)
    together = make_updates(lm, db, PAIRS)
    each = make_updates(lm, db, PAIRS, each=True)
    assert not changed(lm, before)
    return Indexed(lm, path, tuple(made.edit for made in (*together, *each)))


@pytest.fixture
def db(ready: Indexed, tmp_path: Path) -> Atlas:
    """A copy to write to, with edit 1 of three facts and edits 2 to 4 of one each."""
    return atlas.open(shutil.copy(ready.path, tmp_path / "atlas.duckdb"))


def write_csv(path: Path, changes: Sequence[tuple[str, str, str]], header: str = NAMED) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(header)
        csv.writer(file).writerows(changes)
    return path


def test_all_new_objects_are_on_top_and_the_report_tells_each_fact(
    ready: Indexed, db: Atlas
) -> None:
    report = db.edit(1)
    assert [(f.subject, f.relation_id, f.old_object, f.new_object) for f in report.facts] == [
        ("Ireland", "P36", "Dublin", "Paris"),
        ("France", "P36", "Paris", "Rome"),
        ("Italy", "P37", "Berlin", "Dublin"),
    ]
    assert (report.subject, report.relation_id, report.new_object) == (None, None, None)
    assert all(f.prompts and f.held_out and f.question for f in report.facts)
    made_from, held_out = report.summary
    assert made_from.prompts == sum(f.prompts for f in report.facts) == 15
    assert made_from.new_on_top_after == sum(f.new_on_top or 0 for f in report.facts) >= 12
    assert held_out.prompts == 3
    assert report.kept is None  # a random model answers no other prompt right
    assert report.settings["together"] == 3
    assert ready.made[0].about == "3 facts"
    assert len(set(ready.made[0].layers.tolist())) == 1


def test_what_is_one_edit_is_the_sum_of_one_each(ready: Indexed) -> None:
    whole, *each = ready.made
    assert [edit.fact_id for edit in each] == [fact_id for fact_id, _ in PAIRS]
    assert all(edit.named_neurons == whole.named_neurons for edit in each)
    added = sum(edit.deltas.astype(np.float64) for edit in each)
    np.testing.assert_allclose(added, whole.deltas, atol=1e-5)


def test_a_batch_of_one_is_the_edit_of_one(ready: Indexed, db: Atlas) -> None:
    spare = EditSettings(keep=4)
    one = make_update(ready.lm, db, "P36-3", "Rome", spare)
    (batch,) = make_updates(ready.lm, db, [("P36-3", "Rome")], spare)
    assert (one.new, batch.new) == (True, False)
    assert batch.edit.digest == one.edit.digest
    np.testing.assert_array_equal(batch.edit.deltas, one.edit.deltas)
    assert (batch.edit.facts, len(batch.edit.edited_facts)) == ((), 1)


def test_equal_input_gives_equal_deltas_from_rows_and_from_files(
    ready: Indexed, db: Atlas, tmp_path: Path
) -> None:
    table = write_csv(tmp_path / "edits.csv", CHANGES, "Subject,relation_id,new object\n")
    made = db.edit_updates(table, lm=ready.lm)
    assert [report.before for report in made.edits] == ["stored"]
    assert (made.edits[0].edit_id, made.facts) == (1, 3)
    lines = [dict(zip(("subject", "relation", "object"), row, strict=True)) for row in CHANGES]
    file = tmp_path / "edits.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert [(w.subject, w.relation, w.object) for w in read_wanted(file)] == CHANGES
    tabs = tmp_path / "edits.tsv"
    tabs.write_text("\n".join("\t".join(row) for row in [("subject", "relation", "to"), *CHANGES]))
    assert [(w.subject, w.relation, w.object) for w in read_wanted(tabs)] == CHANGES
    assert [(w.subject, w.relation, w.object) for w in read_wanted(CHANGES)] == CHANGES


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(order=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), max_size=4))
def test_weights_are_bit_identical_after_any_sequence_of_batches(
    ready: Indexed, order: list[list[int]]
) -> None:
    before = snapshot(ready.lm)

    def nested(left: list[list[int]]) -> None:
        if left:
            with applied(ready.lm, [ready.made[number] for number in left[0]]):
                nested(left[1:])

    nested(order)
    assert not changed(ready.lm, before)


def test_every_command_treats_it_as_one_edit(ready: Indexed, db: Atlas) -> None:
    listed = db.edit_list().rows
    assert [(row.facts, row.subject) for row in listed[:2]] == [(3, None), (1, "Ireland")]
    assert (listed[0].success or 0) >= 0.8  # of a random model's prompts
    checked = db.check(1, scope="own", lm=ready.lm).checks[0].report
    assert [(g.kind, g.facts) for g in checked.groups] == [("own", 3)]
    everything = db.check(1, scope="all", lm=ready.lm).checks[0].report
    assert {g.kind: g.facts for g in everything.groups}["same relation"] == 5
    forecast = db.forecast(1, lm=ready.lm)
    assert (forecast.about, forecast.own_prompts, forecast.facts) == ("3 facts", 18, 5)
    assert len(db.ask(ready.lm, edits=[1]).answers) == 3
    differences = {d.name: d for d in db.edit_diff(1, 2).differences}
    assert "France · P36 · Paris → Rome" in (differences["facts"].first or "")
    (reverted,) = db.edit_revert(1).rows
    assert (reverted.state, reverted.facts, reverted.about) == ("reverted", 3, "3 facts")
    db.edit_delete(1)
    assert rows(db.path, "FROM edit_facts WHERE edit_id = 1") == []


def test_files_carry_all_facts(ready: Indexed, db: Atlas, tmp_path: Path) -> None:
    db.edit_export(1, 2, delta=tmp_path / "edits.safetensors")
    db.edit_export(1, 2, adapter=tmp_path / "adapter", lm=ready.lm)
    db.edit_delete(1, 2)
    for place in ("edits.safetensors", "adapter"):
        found = db.edit_import(tmp_path / place).rows
        assert [row.facts for row in found] == [3, 1]
        (edit,) = db.edits(found[0].edit_id)
        assert edit.facts == ready.made[0].facts
        assert edit.equals(replace(ready.made[0], run_id=None, selection_id=None))


def test_other_methods_make_one_edit_each(ready: Indexed, db: Atlas) -> None:
    with pytest.raises(SettingsError, match="method paper makes one edit a fact") as caught:
        db.edit_updates(CHANGES, method="paper", neurons=5)
    assert caught.value.parameters == ("each", "method")
    made = db.edit_updates(CHANGES, method="paper", neurons=5, each=True, lm=ready.lm)
    assert [report.fact_id for report in made.edits] == [fact_id for fact_id, _ in PAIRS]
    assert set(SOLVE_TOGETHER) == set(TOGETHER)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no fact to change"),
        (NAMED, "holds no fact to change"),
        ("subject,object\nIreland,Paris\n", "edits.csv:1: no column relation: begin with"),
        ("Ireland,P36,Paris\n", "no column subject and no column relation and no column object"),
        ("subject,relation,object,to\n", "two columns are the object"),
        (NAMED + "Ireland,P36,\n", 'edits.csv:2: "object" is empty'),
        (NAMED + "Ireland,P36\n", 'edits.csv:2: "object" is missing'),
        (NAMED + "Ierland,P36,Paris\n", "edits.csv:2: no fact with subject or id 'Ierland'; near"),
        (NAMED + "Ireland,P99,Paris\n", "edits.csv:2: no fact 'Ireland' in P99"),
        (NAMED + "Ireland,P36,Dublin\n", "edits.csv:2: 'Dublin' is the object of Ireland"),
        (NAMED + "Ireland,P36,Atlantis\n", "edits.csv:2: no fact of this atlas has 'Atlantis'"),
        (
            NAMED + "Ireland,P36,Paris\n\nIRELAND,capital,Rome\n",
            "edits.csv:4: Ireland (P36 capital) again, as in line 2",
        ),
        (NAMED + "\x00", "edits.csv:2"),
    ],
)
def test_what_is_wrong_is_told_by_line_and_nothing_is_stored(
    ready: Indexed, db: Atlas, tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "edits.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(EditError) as caught:
        db.edit_updates(file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.parameters == ("changes",)
    assert rows(db.path, "SELECT count(*) FROM edits") == [(4,)]


def test_many_problems_are_counted(db: Atlas) -> None:
    with pytest.raises(EditError, match=r"changes:1: .*; and 2 other problems$"):
        db.edit_updates([(f"Nobody {i}", "P36", "Paris") for i in range(7)])


def test_objects_that_the_tokenizer_cannot_express_are_named_with_their_facts(
    ready: Indexed, db: Atlas
) -> None:
    with pytest.raises(EditError, match=r"France \(P36 capital\): .* cannot be asked for '☃'"):
        db.edit_updates(
            [("Ireland", "P36", "Rome"), ("France", "P36", "☃")], any_object=True, lm=ready.lm
        )
    assert rows(db.path, "SELECT count(*) FROM edits") == [(4,)]


def test_the_command_line_says_what_it_made_and_what_goes_together(
    ready: Indexed, db: Atlas, tmp_path: Path
) -> None:
    shown = run("edit", "show", "1", "--db", str(db.path))
    assert shown.exit_code == 0, shown.output
    assert "Edit 1 · update by spare · 3 facts" in shown.stdout
    assert "Its 3 facts" in shown.stdout
    listed = run("edit", "list", "--db", str(db.path))
    assert "3 facts" in listed.stdout
    table = write_csv(tmp_path / "edits.csv", CHANGES)
    for arguments, message in (
        (("Ireland", "--from", str(table)), "--from FILE names facts and objects"),
        (("Ireland",), "Name a FACT and its new object with --to, or many with --from FILE."),
        (("Ireland", "--to", "Paris", "--each"), "--each goes with --from FILE"),
    ):
        refused = run("edit", "update", *arguments, "--db", str(db.path))
        assert refused.exit_code == 2
        assert message in refused.stderr
    refused = run("edit", "update", "--from", str(table), "--method", "paper", "--db", str(db.path))
    assert refused.exit_code == 1
    assert "ask for one edit each" in refused.stderr
    assert "--each" in refused.stderr
