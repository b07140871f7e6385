"""Suppressing and amplifying neurons while a model runs: its weights stay as they are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from atlas.counted import counted
from atlas.errors import SettingsError
from atlas.models.hooks import before_forward
from atlas.models.language_model import LanguageModel

SUPPRESS = 0.0
AMPLIFY = 2.0


@contextmanager
def scaled(
    lm: LanguageModel,
    neurons: Sequence[tuple[int, int]],
    factors: float | Tensor,
    at: Tensor | None = None,
) -> Iterator[None]:
    """Multiply the activations of `neurons` (layer, index) by `factors` within the context.

    factors: one number, or [row, neuron] with one column per entry of `neurons`.
    at: [row] the one position of each input row that is changed; None: every position.

    With the answer positions as `at` this is the paper's intervention (Dai et al. 2022, section
    4.2: 0 suppresses, 2 doubles). Without, it is what a stored edit of kind suppress or amplify
    does: scaling a neuron everywhere and scaling its value vector are the same product. The two
    differ in what earlier or other positions hand on through attention; see `atlas.edits.making`.
    Contexts nest, their factors multiply.

    SettingsError for a neuron outside the model or named twice, or factors of another shape.
    """
    _check(lm, neurons, factors, at)
    scaling = _Scaling(lm, neurons, factors, at)
    projections = [block.value_projection for block in lm.blocks]
    with (
        before_forward(lm.model.base_model, scaling.restart),
        before_forward(projections, scaling.scale),
    ):
        yield


def check_neurons(lm: LanguageModel, neurons: Sequence[tuple[int, int]]) -> None:
    """SettingsError unless every (layer, index) is a neuron of the model, named once."""
    for layer, neuron in neurons:
        if not (0 <= layer < lm.layers and 0 <= neuron < lm.neurons_per_layer):
            raise SettingsError(
                f"{lm.name} has no neuron {layer}:{neuron}: its layers are 0 to {lm.layers - 1}, "
                f"its neurons 0 to {lm.neurons_per_layer - 1}"
            )
    seen: set[tuple[int, int]] = set()
    for named in neurons:
        if named in seen:
            raise SettingsError(f"neuron {named[0]}:{named[1]} is named twice: name it once")
        seen.add(named)


def _check(
    lm: LanguageModel,
    neurons: Sequence[tuple[int, int]],
    factors: float | Tensor,
    at: Tensor | None,
) -> None:
    check_neurons(lm, neurons)
    if not isinstance(factors, Tensor):
        return
    if factors.dim() != 2 or factors.shape[1] != len(neurons):
        raise SettingsError(
            f"factors have shape {tuple(factors.shape)}: give [row, {len(neurons)}], one column "
            "per neuron, or one number"
        )
    if at is not None and len(at) != len(factors):
        raise SettingsError(
            f"factors are for {counted(len(factors), 'row')}, but `at` names {len(at)}"
        )


class _Scaling:
    """The hooks of one context.

    A module that stands for several layers (ALBERT) tells them apart by the order of its calls,
    counted anew whenever the model starts a forward pass.
    """

    def __init__(
        self,
        lm: LanguageModel,
        neurons: Sequence[tuple[int, int]],
        factors: float | Tensor,
        at: Tensor | None,
    ) -> None:
        self.at, self.factors = at, factors
        self.calls: dict[int, int] = {}
        self.layers: dict[int, list[int]] = {}
        for layer, block in enumerate(lm.blocks):
            self.layers.setdefault(id(block.value_projection), []).append(layer)
        self.columns: dict[int, list[int]] = {}  # layer -> which of `neurons` lie in it
        for column, (layer, _) in enumerate(neurons):
            self.columns.setdefault(layer, []).append(column)
        self.indices = {
            layer: torch.tensor([neurons[c][1] for c in columns], device=lm.model.device)
            for layer, columns in self.columns.items()
        }

    def restart(self, *_: Any) -> None:
        self.calls.clear()

    def scale(self, module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        layers = self.layers[id(module)]
        call = self.calls.get(id(module), 0)
        self.calls[id(module)] = call + 1
        layer = layers[call % len(layers)]
        if layer not in self.columns:
            return None
        return (self._scaled(args[0], layer), *args[1:])

    def _scaled(self, activations: Tensor, layer: int) -> Tensor:
        index = self.indices[layer]
        factors: float | Tensor = self.factors
        if isinstance(factors, Tensor):
            factors = factors[:, self.columns[layer]].to(activations)
        result = activations.clone()
        rows = result.view(self._rows(activations), -1, activations.shape[-1])  # OPT flattens them
        if self.at is None:
            per_row = factors[:, None] if isinstance(factors, Tensor) else factors
            rows[:, :, index] = rows[:, :, index] * per_row
        else:
            row = torch.arange(len(self.at), device=rows.device)[:, None]
            where = (row, self.at.to(rows.device)[:, None], index[None])
            rows[where] = rows[where] * factors
        return result

    def _rows(self, activations: Tensor) -> int:
        if self.at is not None:
            return len(self.at)
        return len(self.factors) if isinstance(self.factors, Tensor) else len(activations)
