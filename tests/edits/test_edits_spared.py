"""Method spare: key directions, shifts, what an edit looks at, what is refused."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tiny_index
import torch
from edit_models import changed, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import language_model
from tiny_index import tiny_dataset
from tiny_models import tiny

import atlas
from atlas.atlas import Atlas
from atlas.edits.applying import applied
from atlas.edits.making import sources
from atlas.edits.making.basis import read_basis
from atlas.edits.making.edited_model import EditedModel
from atlas.edits.making.found import Change
from atlas.edits.making.key_directions import key_directions, strongest
from atlas.edits.making.layer_keys import key_in_layer
from atlas.edits.making.least_step import least_step
from atlas.edits.making.make import make_update
from atlas.edits.making.methods import CHOOSE_THEMSELVES, EDIT_METHODS, PREPARATIONS
from atlas.edits.making.own_keys import (
    behind_sentences,
    contexts,
    key_position,
    mean_keys,
    subject_keys,
)
from atlas.edits.making.questions import ask_for
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.shift_costs import costs_of_shifts
from atlas.edits.making.shifts import find_shifts
from atlas.edits.making.spared import Spared, spared_activations
from atlas.engine.probe import probe
from atlas.errors import EditError, SettingsError
from atlas.models.language_model import LanguageModel
from atlas.selection.thresholds import Thresholds

HOW = {"rule": "gauss-legendre", "points": 2, "thresholds": Thresholds(known_only=False)}
FACT = "P36-0"  # Ireland - Dublin
SPARE = EditSettings(keep=4)


@dataclass(frozen=True)
class Indexed:
    lm: LanguageModel
    path: Path
    selections: dict[str, str]  # by position


@pytest.fixture(scope="module", params=["bert", "llama"])
def ready(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    """A masked model without gates and a causal one with them, indexed at both positions."""
    lm = language_model(*tiny(request.param))
    path = tmp_path_factory.mktemp("spared") / "atlas.duckdb"
    made = atlas.index(path, lm, tiny_dataset(2, 4), position="both", **HOW)
    assert made.at_subject is not None
    selections = {
        report.run.position: report.selection.selection_id
        for report in (made, made.at_subject)
        if report.selection is not None
    }
    return Indexed(lm, path, selections)


@pytest.fixture
def db(ready: Indexed, tmp_path: Path) -> Atlas:
    """A copy to write to."""
    return atlas.open(shutil.copy(ready.path, tmp_path / "atlas.duckdb"))


def moment_and_keys(seed: int, neurons: int, keys: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(3 * neurons, neurons))
    return rows.T @ rows / len(rows), draw.normal(size=(neurons, keys))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 99), st.integers(2, 8), st.floats(0.01, 1))
def test_one_key_gets_the_direction_that_moves_least_elsewhere(
    seed: int, neurons: int, damping: float
) -> None:
    moment, keys = moment_and_keys(seed, neurons, 1)
    (u,) = key_directions(moment, keys, damping).T
    assert u @ keys[:, 0] == pytest.approx(1)
    damped = moment + damping * np.trace(moment) / neurons * np.eye(neurons)
    draw = np.random.default_rng(seed + 1)
    for _ in range(5):  # any other direction with a·u = 1 costs more
        other = u + draw.normal(size=neurons)
        other /= other @ keys[:, 0]
        assert u @ damped @ u <= other @ damped @ other + 1e-9


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 99), st.integers(2, 4))
def test_every_key_has_a_direction_that_the_other_keys_hardly_follow(seed: int, keys: int) -> None:
    moment, columns = moment_and_keys(seed, 12, keys)
    products = columns.T @ key_directions(moment, columns, 0.1)
    np.testing.assert_allclose(np.diag(products), 1, atol=0.3)
    off = products - np.diag(np.diag(products))
    assert np.abs(off).max() < 0.3
    np.testing.assert_allclose(products.sum(1), 1, atol=0.3)  # one direction for all keys


def test_a_key_of_silent_neurons_is_refused() -> None:
    with pytest.raises(EditError, match="silent on the fact's prompts"):
        key_directions(np.eye(3), np.zeros((3, 1)), 0.1)


def test_the_strongest_neurons_are_those_that_carry_most_with_some_given_ones() -> None:
    moment, keys = np.diag([1.0, 1.0, 1.0, 1.0]), np.array([[0.1], [3.0], [2.0], [0.2]])
    directions = key_directions(moment, keys, 0.1)
    assert strongest(moment, keys, directions, 2) == [1, 2]
    assert strongest(moment, keys, directions, 2, first=[0]) == [0, 1]
    assert strongest(moment, keys, directions, 9) == [0, 1, 2, 3]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 99), st.integers(1, 5))
def test_the_least_step_suffices_to_first_order_and_no_shorter_one_does(
    seed: int, rows: int
) -> None:
    draw = np.random.default_rng(seed)
    gradients, growth = draw.normal(size=(rows, 9)), draw.normal(size=rows)
    step = least_step(gradients, growth)
    assert (gradients @ step >= growth - 1e-4).all()
    for _ in range(5):  # of all that suffice, each is longer
        other = step + 0.1 * draw.normal(size=9)
        if (gradients @ other >= growth).all():
            assert np.linalg.norm(other) >= np.linalg.norm(step) - 1e-4
    assert not least_step(gradients, -np.abs(growth)).any()


def test_a_row_without_a_gradient_asks_for_no_step() -> None:
    step = least_step(np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([5.0, 1.0]))
    np.testing.assert_allclose(step, [0.5, 0])


def test_every_target_may_have_a_shift_of_its_own(ready: Indexed) -> None:
    lm = ready.lm
    texts = [f"The {what} of Ireland is [Y]" for what in ("capital", "official language")]
    targets = [lm.targets(text, "Paris")[0] for text in texts]
    neurons = [(0, neuron) for neuron in range(lm.neurons_per_layer)]
    draw = torch.Generator().manual_seed(0)
    directions = torch.randn(len(neurons), 2, generator=draw)
    shifts = torch.randn(2, 2, lm.d_model, generator=draw)
    model = EditedModel(lm, neurons, targets)
    with torch.no_grad():
        found = model.logits_along(directions, shifts)
        for row, shift in enumerate(shifts):
            expected = model.logits(directions @ shift)[row]
            torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("position", ["answer", "subject"])
def test_an_update_puts_the_new_object_on_top_along_one_direction(
    ready: Indexed, db: Atlas, position: str
) -> None:
    before = snapshot(ready.lm)
    settings = replace(
        SPARE, selection_id=ready.selections[position], neurons=12, position=position
    )
    made = make_update(ready.lm, db, FACT, "Paris", settings)
    assert not changed(ready.lm, before)
    assert made.success == 1
    edit = made.edit
    assert (edit.method, len(edit.neurons)) == ("spare", 12)
    assert len(set(edit.layers.tolist())) == 1
    assert np.linalg.matrix_rank(edit.deltas, tol=1e-4 * edit.norm) == 1
    how = edit.settings
    assert (how["layer"], how["position"]) == (edit.layers[0], position)
    assert how["spared_prompts"] > 0
    # on its own prompts the layer's output moves by the shift
    basis = read_basis(ready.lm, db, FACT, settings, neurons_too=False)
    key = key_in_layer(ready.lm, db, [Change(basis, "Paris")], settings, how["layer"])
    assert key.neurons == edit.neurons.tolist()
    if position == "subject" and ready.lm.objective == "causal":
        keys = subject_keys(ready.lm, basis.prompts, "Ireland", how["layer"], [])
    else:
        keys = mean_keys(ready.lm, basis.prompts, "Paris", how["layer"], position)
        assert keys.shape == (ready.lm.neurons_per_layer, 1)
    assert len(keys) == ready.lm.neurons_per_layer
    np.testing.assert_allclose(keys[key.neurons].T @ key.directions, 1, atol=0.3)


def test_equal_input_gives_equal_deltas(ready: Indexed, db: Atlas) -> None:
    first = make_update(ready.lm, db, FACT, "Paris", SPARE)
    second = make_update(ready.lm, db, FACT, "Paris", SPARE)
    assert (first.new, second.new) == (True, False)
    np.testing.assert_array_equal(first.edit.deltas, second.edit.deltas)


def test_an_edit_does_not_look_at_facts_that_were_not_indexed(
    ready: Indexed, db: Atlas, tmp_path: Path
) -> None:
    """Half of the facts taken out of the run, and whatever is written in their place."""
    with db.writing() as connection:
        connection.execute(
            """
            DELETE FROM prompt_results
            WHERE prompt_id IN (SELECT prompt_id FROM prompts WHERE fact_id LIKE 'P37%')
            """
        )
    first = make_update(ready.lm, db, FACT, "Paris", SPARE)
    spoilt = atlas.open(shutil.copy(ready.path, tmp_path / "spoilt.duckdb"))
    with spoilt.writing() as connection:
        connection.execute(
            """
            DELETE FROM prompt_results
            WHERE prompt_id IN (SELECT prompt_id FROM prompts WHERE fact_id LIKE 'P37%')
            """
        )
        connection.execute("UPDATE prompts SET text = 'city ' || text WHERE fact_id LIKE 'P37%'")
    second = make_update(ready.lm, spoilt, FACT, "Paris", SPARE)
    np.testing.assert_array_equal(first.edit.deltas, second.edit.deltas)
    whole = atlas.open(shutil.copy(ready.path, tmp_path / "whole.duckdb"))
    other = make_update(ready.lm, whole, FACT, "Paris", SPARE)
    assert not np.array_equal(first.edit.deltas, other.edit.deltas)


def test_the_second_edit_measures_no_activations(ready: Indexed, db: Atlas) -> None:
    settings, events = replace(SPARE, layer=1), list[object]()
    make_update(ready.lm, db, FACT, "Paris", settings, events.append)
    assert events
    held = tiny_index.rows(db.path, "FROM activation_layers")
    make_update(ready.lm, db, "P36-1", "Rome", settings, events.clear)
    assert events
    assert tiny_index.rows(db.path, "FROM activation_layers") == held


def test_an_answer_of_several_tokens_has_a_shift_for_each(ready: Indexed, db: Atlas) -> None:
    new = "Paris Rome"
    settings = replace(SPARE, neurons=1000, position="answer")
    made = make_update(ready.lm, db, FACT, new, settings)
    assert len(made.edit.neurons) == ready.lm.neurons_per_layer
    assert np.linalg.matrix_rank(made.edit.deltas, tol=1e-4 * made.edit.norm) == 2
    least = 0.8 if ready.lm.objective == "masked" else 0.6  # of a random model's five, or three
    assert (made.success or 0) >= least


def test_a_text_to_spare_stays_as_it_is_and_is_enough_without_other_facts(
    ready: Indexed, tmp_path: Path
) -> None:
    path = tmp_path / "one.duckdb"
    atlas.index(path, ready.lm, tiny_dataset(1, 1), **HOW)
    db = atlas.open(path)
    with pytest.raises(EditError, match="no other fact") as caught:
        db.edit_update(FACT, "Paris", lm=ready.lm, any_object=True)
    assert caught.value.parameters == ("spare_on",)
    assert tiny_index.rows(path, "FROM edits") == []
    file = tmp_path / "texts.txt"
    file.write_text("the language of the city\n\nthe official seat is located in the city\n")
    made = db.edit_update(FACT, "Paris", lm=ready.lm, any_object=True, spare_on=file)
    assert made.settings["spared_prompts"] == 0
    assert made.settings["spared_elsewhere"] >= 10
    asked = made.summary[0].prompts
    assert (made.summary[0].new_on_top_after or 0) >= 0.8 * asked  # of a random model's prompts


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\x00"])
def test_a_file_without_a_text_is_refused(db: Atlas, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes(content)
    with pytest.raises(EditError, match=r"write a sentence a line") as caught:
        db.edit_update(FACT, "Paris", any_object=True, spare_on=file)
    assert "\n" not in str(caught.value)


def test_what_spare_would_ignore_or_cannot_do_is_refused(ready: Indexed, db: Atlas) -> None:
    with pytest.raises(SettingsError, match="common is a setting of method solve and paper"):
        db.edit_update(FACT, "Paris", common=0.5)
    with pytest.raises(SettingsError, match="layer is a setting of method spare"):
        db.edit_update(FACT, "Paris", method="paper", layer=1)
    with pytest.raises(EditError, match="no layer 99"):
        make_update(ready.lm, db, FACT, "Paris", replace(SPARE, layer=99))
    assert tiny_index.rows(db.path, "FROM edits") == []


def test_layers_that_share_their_value_vectors_are_refused(tmp_path: Path) -> None:
    lm = language_model(*tiny("albert"))
    path = tmp_path / "atlas.duckdb"
    atlas.index(path, lm, tiny_dataset(1, 2), **HOW)
    with pytest.raises(EditError, match=r"share .* value vectors") as caught:
        atlas.open(path).edit_update(FACT, "Paris", lm=lm, any_object=True)
    assert caught.value.parameters == ("method",)
    assert tiny_index.rows(path, "FROM prompt_activations") == []


def test_a_layer_that_does_not_do_gives_way_to_another(
    ready: Indexed, db: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas.edits.making import layer_keys, spare

    found = spare._on_layer

    def breaking(*arguments: object) -> object:
        result = found(*arguments)  # type: ignore[arg-type]
        return replace(result, reached=1.0, broken=0.5 if arguments[5] == 1 else 0.0)

    monkeypatch.setattr(layer_keys, "default_layers", lambda lm, position: [1, 0])
    monkeypatch.setattr(spare, "_on_layer", breaking)
    made = make_update(ready.lm, db, FACT, "Paris", SPARE)
    assert made.edit.settings["layers_tried"] == [1, 0]
    assert set(made.edit.layers.tolist()) == {0}


def test_bfloat16_keeps_what_was_found(tmp_path: Path) -> None:
    lm = language_model(*tiny("llama"), dtype="bfloat16")
    path = tmp_path / "atlas.duckdb"
    atlas.index(path, lm, tiny_dataset(1, 3), **HOW)
    made = make_update(lm, atlas.open(path), FACT, "Paris", SPARE)
    assert made.success == 1
    with atlas.open(path).reading() as connection:
        prompts = sources.measured_prompts(connection, made.edit.run_id or "", [FACT])
    with applied(lm, made.edit):
        ranks = probe(lm, ask_for(lm, prompts, "Paris")).answer_rank
    assert (ranks[[not o.held_out for o in made.outcomes]] == 1).mean() >= 0.5


def test_shifts_stop_at_the_first_that_suffices(ready: Indexed) -> None:
    lm = ready.lm
    template = "The capital of Ireland is [Y]"
    wanted = [lm.targets(template, "Paris")]
    neurons = [(lm.layers - 1, neuron) for neuron in range(lm.neurons_per_layer)]
    directions = torch.ones(len(neurons), 1) / len(neurons)
    found = find_shifts(lm, neurons, directions, wanted, 0.5, 1.0)
    assert found.reached in (0, 1)
    assert found.deltas.shape == (len(neurons), lm.d_model)
    again = find_shifts(lm, neurons, directions, wanted, 0.5, 1.0)
    assert torch.equal(found.deltas, again.deltas)
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


def test_what_others_look_at_costs_more_and_is_left_alone(ready: Indexed) -> None:
    lm = ready.lm
    neurons = [(lm.layers - 1, neuron) for neuron in range(lm.neurons_per_layer)]
    directions = torch.ones(len(neurons), 1) / len(neurons)
    wanted = [lm.targets("The capital of Ireland is [Y]", "Paris")]
    (target,) = lm.targets("The language of Ireland is [Y]", "Rome")
    costs = costs_of_shifts(lm, neurons, directions, [[target]])
    assert float(costs.diagonal().mean()) == pytest.approx(1)
    values = torch.linalg.eigvalsh(costs)
    assert values[-1] > 10 * values[0] > 0  # one prompt looks in one direction
    assert values[0] == pytest.approx(float(values[-2]))
    shifts = [
        find_shifts(lm, neurons, directions, wanted, 0.5, 1.0, costs=by).shifts[0].double()
        for by in (None, costs)
    ]
    share = [float(shift @ costs @ shift / shift.square().sum()) for shift in shifts]
    assert share[1] < share[0]
    assert torch.equal(costs_of_shifts(lm, neurons, directions, []), torch.eye(lm.d_model).double())


def _lead(logits: torch.Tensor, token: int) -> float:
    others = logits.clone()
    others[token] = -torch.inf
    return float(logits[token] - others.max())


def test_an_answer_to_keep_leads_by_more_than_where_nobody_keeps_it(ready: Indexed) -> None:
    """Two prompts that move alike, of which one is to change and the other is not."""
    lm = ready.lm
    text = "The capital of Ireland is [Y]"
    other = "The language of Ireland is [Y]"
    neurons = [(0, neuron) for neuron in range(lm.neurons_per_layer)]
    directions = torch.ones(len(neurons), 1) / len(neurons)
    wanted = [lm.targets(text, "Paris")]
    (target,) = lm.targets(other, "Rome")
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([target.token_ids])).logits
    top = int(logits[0, target.position].argmax())
    kept = [[replace(target, token=top)]]
    free = find_shifts(lm, neurons, directions, wanted, 4.0, 1.0)
    found = find_shifts(lm, neurons, directions, wanted, 4.0, 1.0, kept=kept)
    edited = EditedModel(lm, neurons, kept[0])
    with torch.no_grad():
        with_it, without = (edited.logits(shifts.deltas)[0] for shifts in (found, free))
    if lm.objective == "masked":  # the others' steps are few, and leads of a random model wild
        assert _lead(with_it, top) >= _lead(without, top) - 1e-3
    again = find_shifts(lm, neurons, directions, wanted, 4.0, 1.0, free.shifts)
    assert again.steps <= free.steps


def test_a_causal_edit_is_written_at_the_subject_wherever_the_run_measured(
    ready: Indexed, db: Atlas
) -> None:
    prompts = read_basis(ready.lm, db, FACT, SPARE, neurons_too=False).prompts
    causal = ready.lm.objective == "causal"
    assert key_position(ready.lm, prompts, "answer", None) == ("subject" if causal else "answer")
    assert key_position(ready.lm, prompts, "subject", None) == "subject"
    for wanted in ("answer", "subject"):
        assert key_position(ready.lm, prompts, "answer", wanted) == wanted
    nameless = [replace(prompts[0], subject_end=None), *prompts[1:]]
    assert key_position(ready.lm, nameless, "answer", None) == "answer"
    with pytest.raises(EditError, match="which its subject ends") as caught:
        key_position(ready.lm, nameless, "answer", "subject")
    assert caught.value.parameters == ("position",)


def test_a_subject_has_a_key_behind_what_other_relations_have_before_it(
    ready: Indexed, db: Atlas
) -> None:
    basis = read_basis(ready.lm, db, FACT, SPARE, neurons_too=False)
    with db.reading() as connection:
        before = contexts(connection, basis.fact)
        own = replace(basis.fact, relation_id="P0")
        assert set(before) <= set(contexts(connection, own))
    assert before == list(dict.fromkeys(before))
    assert 1 <= len(before) <= 8
    if ready.lm.objective == "masked":
        return
    prompts = basis.prompts
    alone = subject_keys(ready.lm, prompts, "Ireland", 0, [])
    more = subject_keys(ready.lm, prompts, "Ireland", 0, ["the official ", ""])
    assert alone.shape[0] == more.shape[0] == ready.lm.neurons_per_layer
    assert more.shape[1] - alone.shape[1] in (1, 2)
    assert len(np.unique(more.round(4), axis=1).T) == more.shape[1]


def test_a_prompt_behind_a_sentence_still_ends_its_subject_where_it_did(
    ready: Indexed, db: Atlas
) -> None:
    prompts = read_basis(ready.lm, db, FACT, SPARE, neurons_too=False).prompts
    other = replace(prompts[0], text="The capital of Italy is [Y].", object="Rome")
    found = behind_sentences(prompts[:2], [other, other, other])
    assert len(found) == 2
    for plain, longer in zip(prompts, found, strict=False):
        assert longer.text == f"The capital of Italy is Rome. {plain.text}"
        assert longer.text[: longer.subject_end].endswith("Ireland")


def test_prompts_that_move_like_the_own_ones_are_at_risk(ready: Indexed, db: Atlas) -> None:
    settings = replace(SPARE, selection_id=ready.selections["subject"], position="subject")
    made = make_update(ready.lm, db, FACT, "Paris", settings)
    with db.reading() as connection:
        layer = made.edit.settings["layer"]
        stored = spared_activations(connection, made.edit.run_id or "", layer, [FACT])
    assert stored is not None
    spared = Spared(np.zeros((1, 1)), 0, 0, stored)
    direction = stored.values[3] / np.square(stored.values[3]).sum()
    found = spared.at_risk(direction[:, None].astype(float), 0.99)
    assert stored.prompt_ids[3] in found
    moved = np.abs(stored.values @ direction)
    assert set(found) == set(stored.prompt_ids[moved >= 0.99].tolist())
    assert len(found) == len(set(found))
    assert Spared(np.zeros((1, 1)), 0, 0).at_risk(direction[:, None], 0.5) == []


def test_the_tables_of_methods_agree() -> None:
    assert set(PREPARATIONS) | CHOOSE_THEMSELVES <= EDIT_METHODS.keys()
