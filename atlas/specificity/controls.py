"""What a fact's knowledge neurons are compared with: as many other neurons.

`random` and `matched` are neurons that were not chosen, of the same layers; `strongest` and
`commonest` are other ways to choose as many, and may well meet the fact's own.
"""

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Neuron = tuple[int, int]  # layer, index
Neurons = tuple[Neuron, ...]

CHOSEN = "own"  # what the fact's own are called beside their controls
CONTROLS = ("random", "matched", "strongest", "commonest")
KINDS = (CHOSEN, *CONTROLS)


def random_alike(own: Neurons, width: int, draw: random.Random) -> Neurons:
    """As many neurons of each of the layers, of `width` neurons each, none of the own."""
    found: list[Neuron] = []
    for layer, count in sorted(Counter(layer for layer, _ in own).items()):
        rest = sorted(set(range(width)) - {index for at, index in own if at == layer})
        found += [(layer, index) for index in draw.sample(rest, min(count, len(rest)))]
    return tuple(found)


def matched(own: Neurons, activation: NDArray[np.float32]) -> Neurons:
    """For each of the own the neuron of its layer nearest in activation, none twice.

    activation: [layer, neuron] mean |activation| over the fact's prompts. The strongest choose
    first, for they have the fewest near them.
    """
    left = activation.copy()
    for layer, index in own:
        left[layer, index] = np.inf
    found: list[Neuron] = []
    for layer, index in sorted(own, key=lambda neuron: (-activation[neuron], neuron)):
        nearest = int(np.argmin(abs(left[layer] - activation[layer, index])))
        if np.isfinite(left[layer, nearest]):
            found.append((layer, nearest))
            left[layer, nearest] = np.inf
    return tuple(sorted(found))


def strongest(own: Neurons, activation: NDArray[np.float32]) -> Neurons:
    """As many neurons of each of the layers, those of the largest mean |activation|."""
    found: list[Neuron] = []
    for layer, count in sorted(Counter(layer for layer, _ in own).items()):
        order = np.argsort(-activation[layer], kind="stable")[:count]
        found += [(layer, int(index)) for index in order]
    return tuple(found)


def commonest(own: Neurons, of_others: Sequence[Neuron]) -> Neurons:
    """The first as many of the neurons that most other facts of the relation have."""
    return tuple(sorted(of_others[: len(own)]))
