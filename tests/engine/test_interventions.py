"""Scaled activations, against the same product written out by hand in plain transformers hooks."""

import numpy as np
import pytest
import torch
from edit_models import ENCODED, language_model
from torch import Tensor

from atlas.edits.applying import applied
from atlas.edits.edit import Edit
from atlas.engine.interventions import scaled
from atlas.errors import SettingsError
from atlas.models.language_model import LanguageModel

NEURONS = [(0, 3), (2, 7), (2, 11)]
FAMILIES = ("bert", "gpt2", "llama", "opt", "bloom")


def _logits(lm: LanguageModel, ids: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = lm.model(input_ids=ids).logits
    return logits


def _by_hand(lm: LanguageModel, ids: Tensor, factors: Tensor, at: list[int] | None) -> Tensor:
    """The same, one row at a time, through one hook per layer that multiplies entry by entry."""
    rows = []
    for row, own in enumerate(ids):
        handles = []
        for layer, block in enumerate(lm.blocks):
            changes = [(i, factors[row, c]) for c, (la, i) in enumerate(NEURONS) if la == layer]

            def hook(_, args, changes=changes, row=row):
                x = args[0].clone()
                flat = x.view(-1, x.shape[-1])  # one row: positions alone
                for index, factor in changes:
                    for position in range(len(flat)) if at is None else [at[row]]:
                        flat[position, index] *= factor
                return (x,)

            handles.append(block.value_projection.register_forward_pre_hook(hook))
        try:
            rows.append(_logits(lm, own[None]))
        finally:
            for handle in handles:
                handle.remove()
    return torch.cat(rows)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("everywhere", [False, True])
def test_scaling_is_the_product_at_the_named_positions(family: str, everywhere: bool) -> None:
    lm = language_model(family)
    ids = torch.tensor(ENCODED) % lm.model.config.vocab_size
    factors = torch.tensor([[0.0, 2.0, -1.0], [1.0, 0.0, 3.0], [0.5, 1.0, 1.0]])
    at = None if everywhere else [1, 4, 5]
    with scaled(lm, NEURONS, factors, None if at is None else torch.tensor(at)):
        ours = _logits(lm, ids)
    torch.testing.assert_close(ours, _by_hand(lm, ids, factors, at), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours, _logits(lm, ids), atol=1e-3)


def test_layers_that_share_a_module_are_told_apart() -> None:
    lm = language_model("albert")
    ids = torch.tensor(ENCODED) % lm.model.config.vocab_size
    plain = _logits(lm, ids)
    changed = []
    for layer in range(lm.layers):
        with scaled(lm, [(layer, 5)], 3.0):
            changed.append(_logits(lm, ids))
            torch.testing.assert_close(_logits(lm, ids), changed[-1])  # also the second time
    assert not any(torch.allclose(c, plain, atol=1e-4) for c in changed)
    assert not torch.allclose(changed[0], changed[1], atol=1e-4)


def test_nothing_stays_behind_after_an_exception() -> None:
    lm = language_model("bert")
    ids = torch.tensor(ENCODED) % lm.model.config.vocab_size
    plain = _logits(lm, ids)
    with pytest.raises(RuntimeError, match="stop"), scaled(lm, NEURONS, 0.0):
        raise RuntimeError("stop")
    assert torch.equal(_logits(lm, ids), plain)


def test_nested_factors_multiply() -> None:
    lm = language_model("llama")
    ids = torch.tensor(ENCODED) % lm.model.config.vocab_size
    with scaled(lm, NEURONS, 2.0), scaled(lm, NEURONS, 3.0):
        nested = _logits(lm, ids)
    with scaled(lm, NEURONS, 6.0):
        torch.testing.assert_close(_logits(lm, ids), nested, rtol=1e-4, atol=1e-5)


def _scaling_edit(lm: LanguageModel, neurons: list[tuple[int, int]], factor: float) -> Edit:
    vectors = torch.stack([lm.value_vectors(layer)[i] for layer, i in neurons])
    layers, indices = zip(*neurons, strict=True)
    return Edit(
        kind="amplify",
        method="scale",
        weights_sha256=lm.weights_sha256,
        model_identity=lm.identity,
        layers=np.array(layers),
        neurons=np.array(indices),
        deltas=((factor - 1) * vectors).numpy(),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stored_edit_scales_its_neurons_at_every_position(family: str) -> None:
    lm = language_model(family)
    ids = torch.tensor(ENCODED) % lm.model.config.vocab_size
    with applied(lm, _scaling_edit(lm, NEURONS, 2.5)):
        edited = _logits(lm, ids)
    with scaled(lm, NEURONS, 2.5):
        torch.testing.assert_close(_logits(lm, ids), edited, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_edit_and_intervention_agree_at_the_answer_for_neurons_of_the_last_layer(
    family: str,
) -> None:
    """Nothing after the last layer reads other positions, so they cannot matter."""
    lm = language_model(family)
    ids = torch.tensor(ENCODED) % lm.model.config.vocab_size
    last, at = [(lm.layers - 1, 5)], torch.tensor([2, 3, 5])
    answers = []
    for change in (applied(lm, _scaling_edit(lm, last, 0.0)), scaled(lm, last, 0.0, at)):
        with change:
            answers.append(_logits(lm, ids)[torch.arange(3), at])
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)


def test_edit_and_intervention_differ_where_earlier_positions_hand_on_the_neuron() -> None:
    lm = language_model("llama")
    ids = torch.tensor(ENCODED) % lm.model.config.vocab_size
    first, at = [(0, 5)], torch.tensor([5, 5, 5])
    with applied(lm, _scaling_edit(lm, first, 0.0)):
        edited = _logits(lm, ids)[:, 5]
    with scaled(lm, first, 0.0, at):
        assert not torch.allclose(_logits(lm, ids)[:, 5], edited, atol=1e-4)


@pytest.mark.parametrize(
    ("neurons", "factors", "complaint"),
    [
        ([(9, 0)], 0.0, "has no neuron 9:0"),
        ([(0, 9999)], 0.0, "has no neuron 0:9999"),
        ([(0, 1), (0, 1)], 0.0, "named twice"),
        ([(0, 1)], torch.zeros(3, 2), "one column per neuron"),
        ([(0, 1)], torch.zeros(2, 1), "factors are for 2 rows"),
    ],
)
def test_what_cannot_be_scaled_is_refused_in_one_line(
    neurons: list[tuple[int, int]], factors: float | Tensor, complaint: str
) -> None:
    lm = language_model("bert")
    with (
        pytest.raises(SettingsError, match=complaint) as caught,
        scaled(lm, neurons, factors, torch.zeros(3, dtype=torch.long)),
    ):
        pass
    assert "\n" not in str(caught.value)
