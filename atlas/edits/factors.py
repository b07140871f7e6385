"""Changes of value vectors as the product of two matrices of the smallest rank that holds them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 2.0**-22
"""Share of a delta's norm that factors may miss: four times half a unit in float32's last place,
which is what a product u tᵀ has lost to rounding when it was stored."""


@dataclass(frozen=True)
class Factors:
    """A layer's deltas as a product: neuron n's delta is inputs[:, n] @ outputs.T.

    An adapter adds outputs @ inputs to a weight that stands as [d_model, neuron].
    """

    inputs: NDArray[np.float32]  # [rank, neuron], of all of the layer's neurons
    outputs: NDArray[np.float32]  # [d_model, rank]

    def deltas(self, neurons: NDArray[np.int32]) -> NDArray[np.float32]:
        """The deltas of some neurons, [neuron, d_model]."""
        read = self.inputs[:, neurons].T.astype(np.float64) @ self.outputs.T.astype(np.float64)
        return read.astype(np.float32)

    def beside(self, neurons: NDArray[np.int32]) -> bool:
        """Whether they change any other neuron, too."""
        return bool(np.delete(self.inputs, neurons, axis=1).any())


def factorised(
    neurons: NDArray[np.int32], deltas: NDArray[np.float32], neurons_per_layer: int
) -> Factors:
    """The factors of smallest rank of deltas [neuron, d_model] on one layer's neurons.

    Where the deltas are as many as their rank the inputs are one-hot and the outputs the deltas,
    bit for bit. Where they are more (of one rank-one edit, all are multiples of one vector) both
    are singular vectors, and every delta comes back within float32's rounding of its own norm.
    """
    left, right = _smallest(deltas.astype(np.float64))
    inputs = np.zeros((left.shape[1], neurons_per_layer), np.float32)
    inputs[:, neurons] = left.T
    return Factors(inputs, np.ascontiguousarray(right.T, np.float32))


def _smallest(deltas: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrices [neuron, rank] and [rank, d_model] whose product the deltas are."""
    norms = np.linalg.norm(deltas, axis=1)
    norms[norms == 0] = 1.0  # a neuron that is named and not changed
    # rows of one length, so that a small delta is held as closely as a large one
    left, values, right = np.linalg.svd(deltas / norms[:, None], full_matrices=False)
    missed = np.square(left * values)[:, ::-1].cumsum(axis=1)[:, ::-1]  # [neuron, rank]
    rank = max(1, int((missed.max(axis=0) > _ROUNDING**2).sum()))
    if rank == len(deltas):
        return np.eye(rank), deltas
    signs = np.sign(right[:rank][np.arange(rank), np.abs(right[:rank]).argmax(axis=1)])
    signs[signs == 0] = 1.0
    return left[:, :rank] * signs * norms[:, None], (values[:rank] * signs)[:, None] * right[:rank]
