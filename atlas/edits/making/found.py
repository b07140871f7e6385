"""What a method of making edits is given, and what it finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from atlas.edits.making.basis import EditBasis
from atlas.edits.making.sources import MeasuredPrompt


@dataclass(frozen=True, eq=False)
class Change:
    """A fact that is to get a new object."""

    basis: EditBasis
    new_object: str


@dataclass(frozen=True, eq=False)
class FoundDeltas:
    """What a method found."""

    deltas: Tensor  # [neuron, d_model]
    settings: Mapping[str, Any]  # what the edit's settings will say of it
    kept: tuple[MeasuredPrompt, ...] = ()  # prompts of others that it was to leave in place
    neurons: tuple[tuple[int, int], ...] | None = None  # None: the basis's


@dataclass(frozen=True, eq=False)
class FoundTogether:
    """What a method found for several facts, on neurons that they share."""

    deltas: tuple[Tensor, ...]  # by fact, each [neuron, d_model]; the edit of all is their sum
    settings: Mapping[str, Any]
    kept: tuple[MeasuredPrompt, ...]
    neurons: tuple[tuple[int, int], ...]
