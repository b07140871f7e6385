"""Stored activations of a layer, and their second moments over any subset of facts."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def second_moment(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean over rows [row, neuron] of a aᵀ, [neuron, neuron]; zeros where there is no row."""
    products = rows.T @ rows  # float32: half the time, and what it was measured in
    return products.astype(np.float64) / max(len(rows), 1)


@dataclass(frozen=True, eq=False)
class StoredActivations:
    """A layer's activations at single positions of prompts; every array's first axis is `row`.

    A row of `tokens` ≥ 0 stands where the run measured neurons, when that answer token is asked
    for; -1 is another position of the prompt, drawn by its id.
    """

    layer: int
    neurons: NDArray[np.int64]  # [neuron] index within the layer of each column of `values`
    prompt_ids: NDArray[np.int64]  # [row]
    fact_ids: NDArray[np.object_]  # [row]
    tokens: NDArray[np.int16]  # [row]
    values: NDArray[np.float32]  # [row, neuron]

    def __repr__(self) -> str:
        rows, neurons = self.values.shape
        return f"StoredActivations(layer={self.layer}, rows={rows}, neurons={neurons})"

    def __len__(self) -> int:
        return len(self.prompt_ids)

    @property
    def at_site(self) -> "StoredActivations":
        """The rows at the run's position."""
        return self._where(self.tokens >= 0)

    @property
    def elsewhere(self) -> "StoredActivations":
        """The rows at other positions."""
        return self._where(self.tokens < 0)

    def of(self, fact_ids: Collection[str]) -> "StoredActivations":
        """The rows of these facts' prompts."""
        return self._where(np.isin(self.fact_ids, list(fact_ids)))

    def without(self, fact_ids: Collection[str]) -> "StoredActivations":
        """The rows of all other facts' prompts."""
        return self._where(~np.isin(self.fact_ids, list(fact_ids)))

    def second_moment(self) -> NDArray[np.float64]:
        """The mean over rows of a aᵀ, [neuron, neuron]; zeros where there is no row."""
        return second_moment(self.values)

    def along(self, directions: NDArray[np.floating]) -> NDArray[np.float64]:
        """a·u for every row, [row] with u [neuron], [row, k] with k of them, [neuron, k].

        0 where the neurons are silent.
        """
        products: NDArray[np.float64] = self.values.astype(np.float64) @ directions
        return products

    def _where(self, rows: NDArray[np.bool_]) -> "StoredActivations":
        return StoredActivations(
            self.layer,
            self.neurons,
            self.prompt_ids[rows],
            self.fact_ids[rows],
            self.tokens[rows],
            self.values[rows],
        )
