"""What a method of making edits finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from atlas.edits.making.sources import MeasuredPrompt


@dataclass(frozen=True, eq=False)
class FoundDeltas:
    """What a method found."""

    deltas: Tensor  # [neuron, d_model]
    settings: Mapping[str, Any]  # what the edit's settings will say of it
    kept: tuple[MeasuredPrompt, ...] = ()  # prompts of others that it was to leave in place
    neurons: tuple[tuple[int, int], ...] | None = None  # None: the basis's
