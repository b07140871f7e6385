"""Edits in the atlas file: what is recorded is read back; numbers are given out once."""

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from processes import start, stop
from synthetic import Synthetic, build

from atlas.atlas import Atlas
from atlas.edits.edit import Edit, EditOutcome
from atlas.edits.stored import (
    delete_edit,
    edit_outcomes,
    edit_summaries,
    held_before,
    record_edit,
    revert_edit,
)
from atlas.errors import NotFound


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    synthetic: Synthetic = build(tmp_path / "atlas.duckdb")
    return synthetic.atlas


def _edit(seed: int = 0) -> Edit:
    draw = np.random.default_rng(seed)
    return Edit(
        kind="update",
        method="solve",
        weights_sha256="5f" * 32,
        layers=np.array([3, 0]),
        neurons=np.array([1, 5]),
        deltas=draw.normal(size=(2, 7)),
        settings={"common": 0.1, "kept_facts": ["P36-1"], "seed": seed},
        relation_id="P36",
        fact_id="P36-0",
        subject="Land 0",
        old_object="Town 0",
        new_object="Town 1",
        seconds=1.5,
    )


def _outcome(prompt_id: int, held_out: bool, new_rank: int) -> EditOutcome:
    return EditOutcome(prompt_id, held_out, 0.5, 0.25, 0.125, 0.75, 1, 2, 9, new_rank, "a", "b")


OUTCOMES = [_outcome(11, False, 1), _outcome(12, False, 2), _outcome(13, True, 1)]


def test_an_edit_comes_back_bit_for_bit(atlas: Atlas) -> None:
    edit = _edit()
    with atlas.writing() as connection:
        assert record_edit(connection, edit, OUTCOMES) == 1
    (found,) = atlas.edits(1)
    deltas = dict(zip(edit.named_neurons, edit.deltas, strict=True))
    for neuron, delta in zip(found.named_neurons, found.deltas, strict=True):
        assert delta.tobytes() == deltas[neuron].tobytes()
    assert found.digest == edit.digest
    assert (found.edit_id, found.state, found.seconds) == (1, "stored", 1.5)
    assert (found.subject, found.old_object, found.new_object) == ("Land 0", "Town 0", "Town 1")
    assert found.settings == edit.settings
    assert found.created_at is not None
    with atlas.reading() as connection:
        assert edit_outcomes(connection, 1) == OUTCOMES


def test_edits_that_other_threads_rounded_otherwise_are_one_edit(atlas: Atlas) -> None:
    edit = _edit()
    rounded = replace(edit, deltas=edit.deltas * np.float32(1 + 1e-5))
    turned = replace(
        rounded, layers=edit.layers[::-1], neurons=edit.neurons[::-1], deltas=rounded.deltas[::-1]
    )
    assert len({edit.digest, rounded.digest}) == 2
    with atlas.writing() as connection:
        assert record_edit(connection, edit) == 1
        assert held_before(connection, rounded) == "stored"
        assert record_edit(connection, rounded) == record_edit(connection, turned) == 1
        others = (
            replace(rounded, deltas=edit.deltas * np.float32(1.01)),
            replace(rounded, new_object="Town 2"),
            replace(rounded, settings={}),
            replace(rounded, neurons=np.array([1, 6])),
        )
        assert [record_edit(connection, other) for other in others] == [2, 3, 4, 5]


def test_an_equal_edit_is_the_same_edit(atlas: Atlas) -> None:
    with atlas.writing() as connection:
        assert record_edit(connection, _edit()) == 1
        assert record_edit(connection, _edit(1)) == 2
        assert record_edit(connection, _edit(), OUTCOMES) == 1
        assert edit_outcomes(connection, 1) == OUTCOMES
        assert record_edit(connection, _edit(), OUTCOMES) == 1
        assert edit_outcomes(connection, 1) == OUTCOMES
        revert_edit(connection, 1)
        assert record_edit(connection, _edit()) == 1
    assert [edit.state for edit in atlas.edits()] == ["stored", "stored"]


def test_edits_come_in_the_order_asked_for(atlas: Atlas) -> None:
    with atlas.writing() as connection:
        for seed in range(3):
            record_edit(connection, _edit(seed))
    assert [edit.edit_id for edit in atlas.edits(3, 1)] == [3, 1]
    assert [edit.edit_id for edit in atlas.edits()] == [1, 2, 3]


def test_a_reverted_edit_is_out_of_force_but_can_be_named(atlas: Atlas) -> None:
    with atlas.writing() as connection:
        record_edit(connection, _edit(0))
        record_edit(connection, _edit(1))
        revert_edit(connection, 1)
    assert [edit.edit_id for edit in atlas.edits()] == [2]
    assert atlas.edits(1)[0].state == "reverted"


def test_a_deleted_number_is_never_given_out_again(atlas: Atlas) -> None:
    with atlas.writing() as connection:
        record_edit(connection, _edit(0), OUTCOMES)
        record_edit(connection, _edit(1), OUTCOMES)
        delete_edit(connection, 2)
        assert edit_outcomes(connection, 2) == []
        assert connection.execute("SELECT count(*) FROM edit_deltas").fetchone() == (2,)
        assert [summary.edit_id for summary in edit_summaries(connection)] == [1]
        assert record_edit(connection, _edit(1)) == 3
    with pytest.raises(NotFound, match="no edit 2: the atlas has 1, 3"):
        atlas.edits(1, 2)
    with pytest.raises(NotFound), atlas.writing() as connection:
        delete_edit(connection, 2)


def test_the_summary_tells_success_apart_from_held_out_success(atlas: Atlas) -> None:
    with atlas.writing() as connection:
        record_edit(connection, _edit(), OUTCOMES)
        (summary,) = edit_summaries(connection)
    assert (summary.prompts, summary.success, summary.held_out_success) == (2, 0.5, 1.0)
    assert (summary.p_old_before, summary.p_new_after) == (0.5, 0.75)
    assert summary.checked_prompts is None


def test_a_failure_leaves_nothing_half_written(atlas: Atlas) -> None:
    broken = replace(OUTCOMES[0], old_rank_after=None)  # type: ignore[arg-type]
    with pytest.raises(duckdb.Error), atlas.writing() as connection:
        record_edit(connection, _edit(), [*OUTCOMES, broken])
    assert atlas.edits() == []
    with pytest.raises(NotFound, match="the atlas has none yet"):
        atlas.edits(1)


def test_an_edit_survives_kill_9_after_it_was_made(atlas: Atlas) -> None:
    process = start(
        """
        import sys, time
        sys.path.append(sys.argv[2])
        from test_store_edit_records import OUTCOMES, _edit
        from atlas.atlas import open_atlas
        from atlas.edits.stored import record_edit
        with open_atlas(sys.argv[1]).writing() as connection:
            record_edit(connection, _edit(), OUTCOMES)
        print("made", flush=True)
        time.sleep(60)
        """,
        atlas.path,
        Path(__file__).parent,
    )
    stop(process)
    (found,) = atlas.edits()
    assert found.digest == _edit().digest
    with atlas.reading() as connection:
        assert edit_outcomes(connection, 1) == OUTCOMES
