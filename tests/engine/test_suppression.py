"""Suppressing sets of neurons: shared beginnings change no number."""

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES
from tiny_questions import encoded, loaded

from atlas.engine.probe import probe
from atlas.engine.suppression import Suppressed, ask_suppressed

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_set_of_neurons_gives_what_probing_gives(family: str) -> None:
    lm = loaded(family)
    last = lm.layers - 1
    neurons = [(0, 3), (1, 5), (1, 6), (last, 0), (last, 7)]
    sets = [
        (),
        ((last, 0),),
        ((0, 3),),
        ((last, 7), (0, 3)),
        ((1, 5), (1, 6), (last, 7)),
        tuple(neurons),
    ]
    targets = encoded(lm)
    asked = [Suppressed(own, some) for own in targets for some in sets]
    factors = torch.tensor(
        [[0.0 if neuron in q.neurons else 1.0 for neuron in neurons] for q in asked]
    )
    wanted = probe(lm, [q.targets for q in asked], neurons=neurons, factors=factors)
    found = ask_suppressed(lm, asked[::-1])
    np.testing.assert_allclose(found.log_p[::-1], wanted.log_p, atol=2e-5)
    assert (found.on_top[::-1] == (wanted.answer_rank == 1)).all()


def test_batches_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = loaded("bert")
    asked = [
        Suppressed(own, some) for own in encoded(lm) for some in ((), ((0, 1),), ((1, 2), (2, 3)))
    ]
    whole = ask_suppressed(lm, asked)
    monkeypatch.setattr("atlas.engine.suppression.TARGETS", 1)
    monkeypatch.setattr("atlas.engine.suppression.TOKENS", 1)
    pieces = ask_suppressed(lm, asked)
    np.testing.assert_allclose(pieces.log_p, whole.log_p, atol=1e-5)
    assert (pieces.on_top == whole.on_top).all()


def test_no_hook_is_left_behind_also_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = loaded("bert")
    asked = [Suppressed(encoded(lm)[0], ((0, 1), (1, 2), (2, 3)))]
    before = ask_suppressed(lm, asked[:1]).log_p
    with monkeypatch.context() as patch:
        patch.setattr("atlas.engine.clean_pass.CleanPass.run_last_block", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ask_suppressed(lm, asked)
    for module in lm.model.modules():
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
    assert (ask_suppressed(lm, asked).log_p == before).all()
