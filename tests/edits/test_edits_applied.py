"""Edits on a live model: what they change, and that nothing of it stays."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from edit_models import changed, language_model, random_edit, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

import atlas
from atlas.edits.edit import Edit, overlapping
from atlas.errors import EditError

FAMILIES = ("bert", "gpt2", "albert", "llama", "opt")
# bert ties its output embedding to the input, gpt2 keeps Conv1D weights, albert shares one module
STEPS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
@given(steps=STEPS)
@settings(max_examples=15, deadline=None)
def test_weights_are_bit_identical_after_any_sequence(
    family: str, dtype: str, steps: list[tuple[int, bool]]
) -> None:
    """Each step enters one more context with an edit, and may end in an exception there."""
    lm = language_model(family, dtype)
    before = snapshot(lm)
    with ExitStack() as stack:
        for seed, fails in steps:
            try:
                stack.enter_context(atlas.applied(lm, random_edit(lm, seed)))
                inside = snapshot(lm)
                with atlas.applied(lm, [random_edit(lm, seed), random_edit(lm, seed + 1)]):
                    assert changed(lm, inside)
                    if fails:
                        raise RuntimeError("inside")
            except RuntimeError:
                assert not changed(lm, inside)
    assert not changed(lm, before)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_edited_value_vectors_change_and_by_the_deltas(family: str) -> None:
    lm = language_model(family)
    edit = random_edit(lm, 1)
    before = [lm.value_vectors(layer).clone() for layer in range(lm.layers)]
    names = snapshot(lm)
    shared = len({id(block.module) for block in lm.blocks}) < lm.layers
    with atlas.applied(lm, edit):
        assert len(changed(lm, names)) == (1 if shared else len(set(edit.layers.tolist())))
        for layer in range(lm.layers):
            expected = before[layer].clone()
            for row, (at, neuron) in enumerate(edit.named_neurons):
                if at == layer or shared:
                    expected[neuron] += torch.from_numpy(edit.deltas[row])
            torch.testing.assert_close(lm.value_vectors(layer), expected, rtol=0, atol=1e-6)


def test_tied_weights_stay_tied() -> None:
    lm = language_model("bert")
    tied = lm.model.get_output_embeddings().weight
    with atlas.applied(lm, random_edit(lm, 3)):
        assert lm.model.get_output_embeddings().weight is tied
        assert lm.model.get_input_embeddings().weight is tied
    assert lm.model.get_input_embeddings().weight is tied


def test_edits_of_one_neuron_add_up() -> None:
    lm = language_model("bert")
    edit = random_edit(lm, 4)
    layer, neuron = edit.named_neurons[0]
    original = lm.value_vectors(layer)[neuron].clone()
    with atlas.applied(lm, [edit, edit]):
        twice = original + 2 * torch.from_numpy(edit.deltas[0])
        torch.testing.assert_close(lm.value_vectors(layer)[neuron], twice, rtol=0, atol=1e-6)


def test_a_trained_model_is_edited_without_a_gradient() -> None:
    lm = language_model("bert")
    weight = lm.blocks[0].value_projection.weight
    weight.requires_grad_(True)
    try:
        with atlas.applied(lm, random_edit(lm, 5)):
            assert weight.grad_fn is None
    finally:
        weight.requires_grad_(False)


def _edit(**changes: object) -> Edit:
    values = {
        "kind": "erase",
        "method": "zero",
        "weights_sha256": "e1" * 32,
        "layers": [0, 1],
        "neurons": [3, 3],
        "deltas": np.ones((2, 24)),
        **changes,
    }
    return Edit(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"weights_sha256": "ab" * 32}, "made for the model with weights abababababab"),
        ({"deltas": np.ones((2, 25))}, "deltas of width 25"),
        ({"layers": [0, 9]}, "changes neuron 9:3, which tiny-bert does not have"),
        ({"neurons": [3, 4000]}, "changes neuron 1:4000"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_before_anything_changes(
    changes: dict[str, object], complaint: str
) -> None:
    lm = language_model("bert")
    before = snapshot(lm)
    with (
        pytest.raises(EditError, match=complaint) as caught,
        atlas.applied(lm, [_edit(), _edit(**changes)]),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert not changed(lm, before)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "destroy"},
        {"layers": [0]},
        {"deltas": np.ones((3, 24))},
        {"deltas": np.full((2, 24), np.nan)},
        {"layers": [1, 1]},
        {"layers": [], "neurons": [], "deltas": np.ones((0, 24))},
    ],
)
def test_deltas_that_no_model_can_take_are_no_edit(changes: dict[str, object]) -> None:
    with pytest.raises(EditError):
        _edit(**changes)


def test_a_digest_tells_edits_apart_and_nothing_else() -> None:
    assert _edit().digest == _edit(seconds=3.0, edit_id=7, run_id="r").digest
    turned = _edit(layers=[1, 0])
    assert turned.digest == _edit().digest  # the same neurons in another order
    others = [
        _edit(kind="suppress"),
        _edit(deltas=np.ones((2, 24)) * 1.0001),
        _edit(settings={"common": 0.2}),
        _edit(weights_sha256="ab" * 32),
        _edit(neurons=[3, 4]),
        _edit(fact_id="f"),
    ]
    assert len({_edit().digest, *(other.digest for other in others)}) == 7


def test_overlapping_edits_are_named_with_their_neurons() -> None:
    a, b = _edit(edit_id=1), _edit(edit_id=2, neurons=[3, 5], deltas=-np.ones((2, 24)))
    c = _edit(edit_id=3, neurons=[8, 9])
    (overlap,) = overlapping([a, b, c])
    assert (overlap.first, overlap.second) == (1, 2)
    assert overlap.neurons == ((0, 3),)
    assert overlap.cosine == pytest.approx(-1)
