"""The hypernetwork: what it learns from, its file, edits by it, and what is refused."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tiny_index
import torch
from edit_models import changed, snapshot
from oracle import language_model
from tiny_index import tiny_dataset
from tiny_models import tiny

import atlas
from atlas.atlas import Atlas
from atlas.edits.making.key_directions import key_directions
from atlas.edits.making.make import make_update
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.sources import MeasuredPrompt
from atlas.edits.network import training
from atlas.edits.network.inputs import told
from atlas.edits.network.network import ShiftNetwork, file_beside
from atlas.edits.network.parts import PARTS, part_of, wanted_edits
from atlas.edits.network.shifted import Row, leads
from atlas.errors import EditError, SettingsError
from atlas.models.language_model import LanguageModel
from atlas.selection.thresholds import Thresholds

HOW = {"rule": "gauss-legendre", "points": 2, "thresholds": Thresholds(known_only=False)}
BRIEF = {"edits": 24, "steps": 30}
FACT = "P36-0"  # Ireland - Dublin
BY_NETWORK = EditSettings(method="hypernetwork")


@dataclass(frozen=True)
class Trained:
    lm: LanguageModel
    path: Path
    selections: dict[str, str]  # by position


@pytest.fixture(scope="module", autouse=True)
def little_to_try() -> Iterator[None]:
    """A few edits of each part say as much of a random model as many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "TRIED", 4)
        patch.setattr(training, "LOOKS", 2)
        yield


def indexed(family: str, directory: Path) -> Trained:
    """A model's atlas at both positions, without a network so far."""
    lm, path = language_model(*tiny(family)), directory / "atlas.duckdb"
    made = atlas.index(path, lm, tiny_dataset(2, 9), position="both", **HOW)
    assert made.at_subject is not None
    selections = {
        report.run.position: report.selection.selection_id
        for report in (made, made.at_subject)
        if report.selection is not None
    }
    return Trained(lm, path, selections)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A masked model without gates, with a network at the answer."""
    ready = indexed("bert", tmp_path_factory.mktemp("network"))
    answer = ready.selections["answer"]
    atlas.open(ready.path).edit_train(lm=ready.lm, selection=answer, **BRIEF)
    return ready


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A causal model with gates."""
    return indexed("llama", tmp_path_factory.mktemp("causal"))


@pytest.fixture
def db(ready: Trained, tmp_path: Path) -> Atlas:
    """A copy to write to, with its network."""
    shutil.copy(file_beside(ready.path), file_beside(tmp_path / "atlas.duckdb"))
    return atlas.open(shutil.copy(ready.path, tmp_path / "atlas.duckdb"))


def test_an_edit_is_one_direction_times_what_the_network_tells(ready: Trained, db: Atlas) -> None:
    before = snapshot(ready.lm)
    made = make_update(ready.lm, db, FACT, "Paris", replace(BY_NETWORK, neurons=12))
    assert not changed(ready.lm, before)
    edit = made.edit
    assert (edit.method, len(edit.neurons)) == ("hypernetwork", 12)
    assert len(set(edit.layers.tolist())) == 1
    assert np.linalg.matrix_rank(edit.deltas, tol=1e-4 * edit.norm) == 1
    assert edit.settings["network_steps"] == BRIEF["steps"]
    p_before = [outcome.p_new_before or 0 for outcome in made.outcomes]
    p_after = [outcome.p_new_after or 0 for outcome in made.outcomes]
    assert sum(p_after) > sum(p_before)  # Paris may be unseen, and 30 steps are few
    again = make_update(ready.lm, db, FACT, "Paris", replace(BY_NETWORK, neurons=12))
    assert not again.new


def test_training_again_gives_the_same_file_and_another_seed_another(
    ready: Trained, db: Atlas
) -> None:
    answer = ready.selections["answer"]
    first = file_beside(db.path).read_bytes()
    report = db.edit_train(lm=ready.lm, selection=answer, **BRIEF)
    assert report.file == str(file_beside(db.path))
    assert file_beside(db.path).read_bytes() == first
    assert [part.part for part in report.parts] == list(PARTS)
    assert sum(part.facts for part in report.parts) == 18
    state = torch.random.get_rng_state()
    db.edit_train(lm=ready.lm, selection=answer, seed=1, edits=8, steps=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert file_beside(db.path).read_bytes() != first


def test_training_lessens_what_is_missing(causal: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """At both positions; a masked model's training is the other tests'."""
    db, losses = atlas.open(causal.path), []
    one = training._loss

    def noted(*arguments: object) -> torch.Tensor:
        loss = one(*arguments)  # type: ignore[arg-type]
        losses.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(training, "_loss", noted)
    events: list[object] = []
    for position, selection in causal.selections.items():
        losses.clear()
        made = db.edit_train(lm=causal.lm, selection=selection, progress=events.append, **BRIEF)
        assert made.position == position
        assert np.mean(losses[-3:]) < 0.8 * losses[0]
    assert any(getattr(event, "what", "") == "hypernetwork" for event in events)
    by_subject = make_update(
        causal.lm,
        db,
        FACT,
        "Paris Rome",
        replace(BY_NETWORK, selection_id=causal.selections["subject"]),
    )
    assert np.linalg.matrix_rank(by_subject.edit.deltas, tol=1e-4 * by_subject.edit.norm) == 1


def test_an_answer_of_several_tokens_has_a_shift_for_each(ready: Trained, db: Atlas) -> None:
    made = make_update(ready.lm, db, FACT, "Paris Rome", BY_NETWORK)
    assert np.linalg.matrix_rank(made.edit.deltas, tol=1e-4 * made.edit.norm) == 2


def test_ctrl_c_leaves_the_network_that_was_there(
    ready: Trained, db: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file_beside(db.path).read_bytes()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for place in ("_success", "write_network"):
        with monkeypatch.context() as patched:
            patched.setattr(training, place, interrupted)
            with pytest.raises(KeyboardInterrupt):
                db.edit_train(lm=ready.lm, selection=ready.selections["answer"], edits=4, steps=1)
        assert file_beside(db.path).read_bytes() == before
    assert {file.name for file in db.path.parent.iterdir()} == {
        "atlas.duckdb",
        "atlas.hypernetwork.safetensors",
    }


def _refusal(ready: Trained, db: Atlas, **settings: object) -> str:
    with pytest.raises(EditError) as caught:
        db.edit_update(FACT, "Paris", lm=ready.lm, method="hypernetwork", **settings)
    assert "\n" not in str(caught.value)
    assert "atlas edit train" in str(caught.value)
    assert tiny_index.rows(db.path, "FROM edits") == []
    return str(caught.value)


def test_a_network_that_is_missing_damaged_or_of_another_model_is_refused(
    ready: Trained, db: Atlas
) -> None:
    answer, file = ready.selections["answer"], file_beside(db.path)
    whole = file.read_bytes()
    assert "learnt at the answer" in _refusal(ready, db, selection=ready.selections["subject"])
    assert "not 0" in _refusal(ready, db, selection=answer, layer=0)
    changed_byte = bytearray(whole)
    changed_byte[-3] ^= 1
    for content in (whole[:-8], b"", bytes(changed_byte)):
        file.write_bytes(content)
        assert "damaged" in _refusal(ready, db, selection=answer)
    other = whole.replace(ready.lm.weights_sha256.encode(), b"1" * 64)
    file.write_bytes(other)
    assert "of another model" in _refusal(ready, db, selection=answer)
    file.unlink()
    assert "there is no hypernetwork" in _refusal(ready, db, selection=answer)


def test_too_few_facts_shared_layers_and_no_steps_are_refused(tmp_path: Path) -> None:
    lm = language_model(*tiny("albert"))
    path = tmp_path / "atlas.duckdb"
    atlas.index(path, lm, tiny_dataset(1, 1), **HOW)
    with pytest.raises(EditError, match="share"):
        atlas.open(path).edit_train(lm=lm)
    with pytest.raises(SettingsError, match="steps is 0"):
        atlas.open(path).edit_train(lm=lm, steps=0)
    bert = language_model(*tiny("bert"))
    path = tmp_path / "one.duckdb"
    atlas.index(path, bert, tiny_dataset(1, 1), **HOW)
    with pytest.raises(EditError, match="too few facts"):
        atlas.open(path).edit_train(lm=bert)
    assert not file_beside(path).exists()


def test_facts_and_objects_of_one_part_are_in_no_other() -> None:
    prompts = {
        f"f{number}": [MeasuredPrompt(number, f"f{number}", f"o{number % 50}", "[Y]")]
        for number in range(400)
    }
    relations = {fact_id: f"P{number % 3}" for number, fact_id in enumerate(prompts)}
    objects = {f"P{r}": [f"o{number}" for number in range(50)] for r in range(3)}
    seen: dict[str, tuple[set[str], set[str]]] = {}
    for part in PARTS:
        drawn = wanted_edits(prompts, relations, objects, part, 0, lambda *_: True)
        edits = [next(drawn) for _ in range(300)]
        assert all(part_of(edit.fact_id) == part_of(edit.new_object) == part for edit in edits)
        assert all(edit.new_object != edit.old_object for edit in edits)
        seen[part] = {e.fact_id for e in edits}, {e.new_object for e in edits}
        if part != "unseen":
            assert all(part_of(edit.old_object) == part for edit in edits)
    for kind in range(2):
        assert sum(len(of[kind]) for of in seen.values()) == len(
            set().union(*(of[kind] for of in seen.values()))
        )
    assert part_of(" OSLO") == part_of("Oslo")
    assert list(wanted_edits(prompts, relations, objects, "unseen", 0, lambda *_: False)) == []


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_shifted_model_is_the_model_with_the_edit_in_its_weights(family: str) -> None:
    lm = language_model(*tiny(family))
    layer = lm.layers - 1
    texts = ("The capital of Ireland is [Y].", "The official seat of Peru is in [Y].")
    new = [lm.targets(text, "Paris Rome") for text in texts]
    old = [lm.targets(text, "Dublin") for text in texts]
    (one,) = told(lm, [(new, old)], layer)
    assert len(one.inputs) == 2
    rows = [
        Row(target, state)
        for of in zip(new, one.entering, strict=True)
        for target, state in zip(*of, strict=True)
    ]
    draw = torch.Generator().manual_seed(0)
    directions = torch.randn(len(rows), lm.neurons_per_layer, 2, generator=draw)
    shifts = torch.randn(len(rows), 2, lm.d_model, generator=draw)
    with torch.no_grad(), lm.frozen():
        kept = leads(lm, layer, rows, directions, shifts)
        anew = leads(lm, layer, [Row(row.target) for row in rows], directions, shifts)
    torch.testing.assert_close(kept, anew, rtol=1e-4, atol=1e-4)
    weights = lm.value_vectors(layer)
    saved = weights.clone()
    for number, row in enumerate(rows):
        try:
            weights += directions[number] @ shifts[number]
            with torch.no_grad():
                ids = torch.tensor([row.target.token_ids])
                logits = lm.model(input_ids=ids).logits[0, row.target.position]
        finally:
            weights.copy_(saved)
        others = logits.clone()
        others[row.target.token] = -torch.inf
        expected = logits[row.target.token] - others.max()
        assert float(kept[number]) == pytest.approx(float(expected), rel=1e-3, abs=1e-3)


def test_many_keys_solved_together_have_the_directions_of_each() -> None:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(40, 6))
    moment, keys = rows.T @ rows, draw.normal(size=(6, 3))
    along = training.solved(moment, keys, 0.1)
    for number in range(3):
        alone = key_directions(moment, keys[:, [number]], 0.1)
        np.testing.assert_allclose(training.at_one(along[:, [number]], keys[:, [number]]), alone)


def test_equal_seeds_make_equal_networks() -> None:
    one, same, other = (ShiftNetwork(4, (0, 2), seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["straight.weight"], other["straight.weight"])
