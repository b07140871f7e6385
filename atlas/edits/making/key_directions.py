"""Directions in which a prompt is told from all others: the key directions of method spare.

With C the second moment of the activations that are to stay, λ a damping, and the columns of A the
keys (mean activations of the prompts to change), the columns of

    U = (C + λI)⁻¹ A (Aᵀ (C + λI)⁻¹ A)⁻¹

have a·u = 1 on their own key and 0 on the other keys, and of all such directions the smallest mean
(a·u)² where nothing shall change. One key: ROME's (Meng et al. 2022, eq. 3), many: MEMIT's idea
(Meng et al. 2023), here on the neurons that are to carry the change alone.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.errors import EditError

ALIKE = 0.01  # of the mean diagonal, added where keys are nearly one key

Floats = NDArray[np.float64]


def key_directions(moment: Floats, keys: Floats, damping: float) -> Floats:
    """U [neuron, key] for C [neuron, neuron] and keys [neuron, key].

    damping: λ in parts of the mean diagonal of C. EditError for a key that is zero everywhere.
    """
    if not keys.any(0).all():
        raise EditError(
            "the neurons are silent on the fact's prompts, so nothing written into them would show "
            "there: take more neurons, or another layer",
            parameters=["neurons", "layer"],
        )
    return at_one(solved(moment, keys, damping), keys)


def solved(moment: Floats, keys: Floats, damping: float) -> Floats:
    """(C + λI)⁻¹ A, [neuron, key]: of many edits at once, since C is most of the work."""
    mean = float(np.trace(moment)) / len(moment) or 1.0
    damped: Floats = moment + damping * mean * np.eye(len(moment))
    found: Floats = np.linalg.solve(damped, keys).astype(np.float64, copy=False)
    return found


def at_one(along: Floats, keys: Floats) -> Floats:
    """U [neuron, key] from (C + λI)⁻¹ A and the keys A of one edit."""
    gram = keys.T @ along
    if len(gram) > 1:
        gram = gram + ALIKE * float(np.trace(gram)) / len(gram) * np.eye(len(gram))
    directions: Floats = along @ np.linalg.inv(gram)
    return directions


def strongest(
    moment: Floats,
    keys: Floats,
    directions: Floats,
    count: int,
    first: Sequence[int] = (),
) -> list[int]:
    """The neurons that carry most of the directions, ascending; `first` are among them.

    moment [neuron, neuron]; keys, directions [neuron, key].

    That is |uᵢ| · rms(aᵢ): what neuron i adds to a·u, elsewhere and here, of all that it adds to
    any key's. All of them where there are no more than `count`.
    """
    width = len(moment)
    if width <= count:
        return list(range(width))
    activity = np.sqrt(np.maximum(np.diag(moment), np.square(keys).max(1)))
    carried = (np.abs(directions) * activity[:, None]).max(1)
    carried[list(first)[:count]] = np.inf
    return sorted(np.argsort(-carried, kind="stable")[:count].tolist())
