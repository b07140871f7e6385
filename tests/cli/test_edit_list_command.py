"""`atlas edit list`, `show`, `diff`, `revert`, `delete`: no model is needed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from answers import merged_of, rows_of, summary_of
from invocation import run, start
from stored_edits import outcome
from synthetic import MODEL, Synthetic
from tiny_index import rows

from atlas.atlas import Atlas
from atlas.edits.edit import Edit
from atlas.edits.stored import record_edit
from atlas.errors import EditError
from atlas.indexing.records import prompt_id
from atlas.side_effects.stored import SideEffect, record_side_effects


def _edit(own: Synthetic, **changes: Any) -> Edit:
    about: dict[str, Any] = {
        "kind": "update",
        "method": "solve",
        "weights_sha256": MODEL.weights_sha256,
        "layers": [3, 3],
        "neurons": [0, 1],
        "deltas": np.array([[3.0, 4.0], [0.0, 2.0]]),
        "run_id": own.run_id,
        "selection_id": own.selection_id,
        "relation_id": "P36",
        "fact_id": "P36-0",
        "subject": "Land 0",
        "old_object": "Town 0",
        "new_object": "Town 5",
        "settings": {"common": 0.1, "kept_facts": [f"P37-{i}" for i in range(6)]},
        "atlas_version": "0.1.0",
        "seconds": 1.5,
    }
    return Edit(**(about | changes))


def _prompt(own: Synthetic, template: int, fact_id: str = "P36-0") -> int:
    relation = own.dataset.relations[0]
    return prompt_id(fact_id, relation.templates[template].template_id)


@pytest.fixture
def edited(own: Synthetic) -> Synthetic:
    """Edit 1 with two outcomes and side effects on two own and two others, edit 2 with neither."""
    outcomes = [
        outcome(_prompt(own, 0)),
        outcome(_prompt(own, 1), held_out=True, new_rank_after=2, p_new_after=0.25),
    ]
    effects = [
        SideEffect(_prompt(own, 0), 0.5, 0.8, 0.4, 1, 2, "Town 0", "Town 5"),
        SideEffect(_prompt(own, 1), 0.5, 0.1, 0.3, 3, 2, "Town 3", "Town 5"),
        SideEffect(_prompt(own, 0, "P36-1"), 0.5, 0.8, 0.4, 1, 2, "Town 1", "Town 5"),
        SideEffect(_prompt(own, 1, "P36-1"), 0.5, 0.1, 0.2, 2, 1, "Town 3", "Town 1"),
    ]
    with own.atlas.writing() as connection:
        record_edit(connection, _edit(own), outcomes)
        record_side_effects(connection, 1, effects)
        second = _edit(
            own,
            kind="suppress",
            method="scale",
            new_object=None,
            neurons=[1, 2],
            deltas=np.array([[0.0, -2.0], [1.0, 0.0]]),
            settings={"common": 0.2, "factor": 0},
        )
        record_edit(connection, second)
    return own


def _json(*arguments: str, on: Synthetic) -> str:
    result = run(*arguments, "--format", "json", on=on)
    assert result.exit_code == 0, result.output
    return result.stdout


def _list(on: Synthetic) -> list[Any]:
    return rows_of(_json("edit", "list", on=on))


def test_list_has_one_row_an_edit_with_its_outcome_and_side_effects(
    edited: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _list(edited)
    assert (first["edit_id"], first["success"], first["held_out_success"]) == ("1", 1.0, 0.0)
    assert (first["checked_prompts"], first["other_prompts"]) == (4, 2)
    # what the edit did to its own prompts is what it was made for, and no damage
    assert (first["right_to_wrong"], first["wrong_to_right"]) == (1, 1)
    assert first["mean_delta_log_p"] == pytest.approx(0, abs=1e-6)  # halved and doubled
    assert (first["model"], first["run_id"]) == ("synthetic", edited.run_id)
    assert (first["selection"], first["selection_id"]) == ("paper", edited.selection_id)
    assert (second["edit_id"], second["kind"], second["success"]) == ("2", "suppress", None)
    monkeypatch.setattr("atlas_cli.tables.available", lambda: 80)
    narrow = run("edit", "list", on=edited).stdout.splitlines()
    assert max(map(len, narrow)) <= 80
    assert narrow[2].split()[-3:] == ["others", "broken", "mended"]  # "held" is above "out"
    monkeypatch.undo()
    table = run("edit", "list", on=edited).stdout.splitlines()
    assert table[0] == "2 edits of synthetic, selection paper"
    assert table[3].split()[:8] == ["1", "update", "Land", "0", "·", "P36", "·", "Town"]
    assert table[3].split()[-5:] == ["1.000", "0.000", "2", "1", "1"]
    assert "state" not in table[1]


def test_an_edit_that_was_checked_on_its_own_prompts_alone_broke_nobody_we_know_of(
    own: Synthetic,
) -> None:
    with own.atlas.writing() as connection:
        record_edit(connection, _edit(own), [outcome(_prompt(own, 0))])
        effect = SideEffect(_prompt(own, 0), 0.5, 0.8, 0.4, 1, 2, "Town 0", "Town 5")
        record_side_effects(connection, 1, [effect])
    (found,) = _list(own)
    assert (found["checked_prompts"], found["other_prompts"]) == (1, None)
    assert (found["right_to_wrong"], found["mean_delta_log_p"]) == (None, None)


def test_list_of_an_atlas_without_edits_says_how_to_make_one(own: Synthetic) -> None:
    result = run("edit", "list", on=own)
    assert (result.stdout, result.exit_code) == ("", 0)
    assert result.stderr == "No edit yet: make one with `atlas edit update FACT --to OBJECT`.\n"
    assert _list(own) == []
    assert run("edit", "list", "--format", "csv", on=own).stdout.startswith("edit_id,kind,method,")


def test_show_tells_what_an_edit_changes_and_what_it_came_to(edited: Synthetic) -> None:
    found = merged_of(_json("edit", "show", "1", on=edited), "neurons")
    assert [(n["layer"], n["neuron"], n["norm"]) for n in found["neurons"]] == [
        (3, 0, 5.0),
        (3, 1, 2.0),
    ]
    assert [n["facts"] for n in found["neurons"]] == [12, 6]  # the hub and the relation's neuron
    assert found["norm"] == pytest.approx(29**0.5)
    assert found["settings"]["common"] == 0.1
    assert (found["model"], found["relation"], found["checked_prompts"]) == (
        "synthetic",
        "capital",
        4,
    )
    made_from, held_out = found["summary"]
    assert (made_from["held_out"], made_from["prompts"], made_from["new_on_top_after"]) == (
        False,
        1,
        1,
    )
    assert (held_out["held_out"], held_out["p_new_after"], held_out["new_on_top_after"]) == (
        True,
        0.25,
        0,
    )
    text = run("edit", "show", "1", on=edited).stdout
    assert text.startswith("Edit 1 · update by solve · Land 0 · capital (P36) · Town 0 → Town 5\n")
    assert "kept_facts (6 of them)" in text
    assert "Capital 1 of Land 0 is [Y]." in text


def test_show_prints_one_part_as_table_or_csv(edited: Synthetic) -> None:
    neurons = run("edit", "show", "1", "--format", "csv", on=edited).stdout
    assert neurons == "layer,neuron,norm,facts\n3,0,5.0,12\n3,1,2.0,6\n"
    prompts = run("edit", "show", "1", "--format", "csv", "--show", "prompts", on=edited).stdout
    assert prompts.splitlines()[0].startswith("text,held_out,p_old_before,p_old_after,")
    assert len(prompts.splitlines()) == 3
    table = run("edit", "show", "1", "--show", "neurons", on=edited).stdout
    assert table.splitlines()[0] == "2 value vectors changed"


def test_show_of_an_edit_without_outcomes_has_no_empty_tables(edited: Synthetic) -> None:
    text = run("edit", "show", "2", on=edited).stdout
    assert "Its own prompts" not in text
    assert "held out" not in text


def test_diff_tells_properties_and_neurons_apart(edited: Synthetic) -> None:
    found = merged_of(_json("edit", "diff", "1", "2", on=edited), "neurons")
    differences = {d["name"]: (d["first"], d["second"]) for d in found["differences"]}
    assert differences["kind"] == ("update", "suppress")
    assert differences["new_object"] == ("Town 5", None)
    assert differences["common"] == ("0.1", "0.2")
    assert differences["factor"] == (None, "0")
    assert "relation_id" not in differences
    assert [
        (n["neuron"], n["norm_first"], n["norm_second"], n["cosine"]) for n in found["neurons"]
    ] == [(0, 5.0, None, None), (1, 2.0, 2.0, -1.0), (2, None, 1.0, None)]
    assert found["shared_neurons"] == 1
    assert "Changes: 3 value vectors, 1 in both" in run("edit", "diff", "1", "2", on=edited).stdout
    text = run("edit", "diff", "1", "2", on=edited).stdout
    assert text.endswith(
        f"Both of synthetic, selection paper ({edited.selection_id}), run {edited.run_id}.\n"
    )
    csv = run("edit", "diff", "1", "2", "--format", "csv", on=edited).stdout
    assert csv.splitlines()[0] == "layer,neuron,norm_first,norm_second,cosine"


def test_an_edit_does_not_differ_from_itself(edited: Synthetic) -> None:
    assert summary_of(_json("edit", "diff", "1", "1", on=edited))["differences"] == []
    text = run("edit", "diff", "1", "1", on=edited).stdout
    assert text.startswith("The same properties and settings.\n")


def test_a_reverted_edit_stays_with_its_measurements_and_can_come_back(edited: Synthetic) -> None:
    result = run("edit", "revert", "1", on=edited)
    assert (result.stdout, result.exit_code) == ("", 0)
    assert result.stderr == ("Edit 1 is reverted; `atlas edit revert 1 --undo` brings it back.\n")
    assert [(e["state"], e["checked_prompts"]) for e in _list(edited)] == [
        ("reverted", 4),
        ("stored", None),
    ]
    assert "state" in run("edit", "list", on=edited).stdout.splitlines()[1]
    assert "reverted already" in run("edit", "revert", "1", on=edited).stderr
    assert run("edit", "revert", "1", "--undo", on=edited).stderr == "Edit 1 is back in force.\n"
    assert run("edit", "revert", "1", "--undo", on=edited).stderr == "Edit 1 is in force.\n"
    assert _list(edited)[0]["state"] == "stored"


def test_what_python_reverts_and_deletes_it_tells_briefly(edited: Synthetic) -> None:
    (reverted,) = edited.atlas.edit_revert(1).rows
    assert (reverted.edit_id, reverted.before, reverted.state) == (1, "stored", "reverted")
    assert reverted.about == "Land 0 · P36 · Town 0 → Town 5"
    (back,) = edited.atlas.edit_revert(1, undo=True).rows
    assert (back.before, back.state) == ("reverted", "stored")
    deleted = edited.atlas.edit_delete(1, 2)
    assert [row.state for row in deleted.rows] == ["deleted", "deleted"]
    assert repr(deleted) == "Listed(rows=<2>)"


@pytest.mark.parametrize(
    "measure",
    [
        lambda atlas: atlas.check(1),
        lambda atlas: atlas.ask(None, "Land 0 is [MASK].", edits=[1]),
        lambda atlas: atlas.live(1),
        lambda atlas: atlas.edit_export(1, delta="somewhere"),
        lambda atlas: atlas.edit_export(1, adapter="somewhere"),
        lambda atlas: atlas.edit_export(1, to="somewhere"),
    ],
    ids=["check", "ask", "live", "export delta", "export adapter", "export model"],
)
def test_a_reverted_edit_is_not_measured_from_python(
    edited: Synthetic, measure: Callable[[Atlas], object]
) -> None:
    edited.atlas.edit_revert(1)
    with pytest.raises(EditError, match=r"^edit 1 is reverted: bring it back first$"):
        measure(edited.atlas)


@pytest.mark.parametrize("command", ["apply", "live", "check", "export"])
def test_a_reverted_edit_is_not_applied(edited: Synthetic, command: str) -> None:
    run("edit", "revert", "1", on=edited)
    options = {"export": ("--to", "somewhere")}.get(command, ())
    result = run("edit", command, "1", *options, on=edited)
    assert (result.stdout, result.exit_code) == ("", 1)
    assert result.stderr == (
        "Error: edit 1 is reverted: bring it back first (`atlas edit revert EDIT --undo`)\n"
    )


def test_a_deleted_edit_is_gone_with_its_deltas_and_its_number(edited: Synthetic) -> None:
    assert run("edit", "delete", "2", on=edited).stderr == "Edit 2 is deleted.\n"
    assert [edit["edit_id"] for edit in _list(edited)] == ["1"]
    assert run("edit", "show", "2", on=edited).exit_code == 1
    assert rows(edited.atlas.path, "SELECT count(*) FROM edit_deltas WHERE edit_id = 2") == [(0,)]
    with edited.atlas.writing() as connection:
        assert record_edit(connection, _edit(edited, kind="erase", new_object=None)) == 3


@pytest.mark.parametrize("command", ["show", "revert", "delete", "check", "apply", "live"])
def test_a_number_that_there_is_not_is_refused_with_those_there_are(
    edited: Synthetic, command: str
) -> None:
    result = run("edit", command, "7", on=edited)
    assert (result.stdout, result.exit_code) == ("", 1)
    assert result.stderr == "Error: no edit 7: the atlas has 1, 2 (see `atlas edit list`)\n"


def test_several_edits_are_reverted_or_deleted_all_or_none(edited: Synthetic) -> None:
    for command in ("revert", "delete"):
        assert run("edit", command, "1", "7", on=edited).exit_code == 1
    assert [edit["state"] for edit in _list(edited)] == ["stored", "stored"]
    assert run("edit", "delete", "1", "2", "1", on=edited).exit_code == 0
    assert _list(edited) == []


def test_a_number_that_is_none_is_a_wrong_command_line(edited: Synthetic) -> None:
    for wrong in ("x", "0", "-1"):
        result = run("edit", "show", "--", wrong, on=edited)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    "arguments",
    [("edit", "--help"), ("edit", "list"), ("edit", "show", "1"), ("edit", "diff", "1", "2")],
    ids=" ".join,
)
def test_what_needs_no_model_imports_none(edited: Synthetic, arguments: tuple[str, ...]) -> None:
    code = "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    stdout, stderr = start(*arguments, on=edited, code=code).communicate(timeout=60)
    assert stdout
    imported = set(stderr.splitlines()[-1].split())
    assert not imported & {"torch", "transformers", "sqlalchemy", "alembic", "pyarrow"}
