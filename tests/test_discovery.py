"""Architectures that are not in the table, found by looking."""

import pytest
import torch
from tiny_models import FAMILIES, tiny
from torch import nn

from atlas.errors import UnsupportedArchitecture
from atlas.models.architectures import TABLE, find_blocks
from atlas.models.discovery import discover_blocks


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "albert"])
def test_looking_finds_what_the_table_says(family: str) -> None:
    model, _ = tiny(family)
    for found, known in zip(discover_blocks(model), find_blocks(model), strict=True):
        assert found.module is known.module
        assert found.value_projection is known.value_projection
        assert found.norm_after is known.norm_after


def test_a_block_that_runs_many_times_is_not_guessed_but_refused() -> None:
    model, _ = tiny("albert")
    with pytest.raises(UnsupportedArchitecture, match="register it in four lines"):
        discover_blocks(model)


def test_a_guess_that_does_not_hold_is_refused_and_the_model_left_as_it_was() -> None:
    model, _ = tiny("llama")

    class Squared(nn.Module):
        """A nonlinearity behind the value projection, of which no table entry knows."""

        def __init__(self, mlp: nn.Module) -> None:
            super().__init__()
            self.mlp = mlp

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.mlp(x) ** 2

    for layer in model.model.layers:
        layer.mlp = Squared(layer.mlp)
    with pytest.raises(UnsupportedArchitecture) as refusal:
        discover_blocks(model)
    assert "\n" not in str(refusal.value)
    assert all(family in str(refusal.value) for family in TABLE)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_mixture_of_experts_is_refused_in_one_line() -> None:
    model, _ = tiny("llama")
    model.model.layers[0].mlp.experts = nn.ModuleList([nn.Linear(2, 2)])
    with pytest.raises(UnsupportedArchitecture, match="mixture of experts"):
        discover_blocks(model)
