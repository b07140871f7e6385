"""How strongly every neuron is active on some prompts: what controls are matched by."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.engine.clean_pass import run_clean
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target

TARGETS = 64  # of one pass


def mean_activations(
    lm: LanguageModel, groups: Sequence[Sequence[Target]]
) -> list[NDArray[np.float32] | None]:
    """Each group's mean |activation| at its targets' sites, [layer, neuron]; None without any."""
    group_of = [number for number, targets in enumerate(groups) for _ in targets]
    sums: list[NDArray[np.float32] | None] = [None] * len(groups)
    for rows, activations in _passes(lm, [target for targets in groups for target in targets]):
        for row, one in zip(rows, abs(activations), strict=True):
            before = sums[group_of[row]]
            sums[group_of[row]] = one.copy() if before is None else before + one
    return [
        None if total is None else total / np.float32(len(targets))
        for total, targets in zip(sums, groups, strict=True)
    ]


def site_activations(lm: LanguageModel, targets: Sequence[Target]) -> NDArray[np.float32]:
    """The activation of every neuron at each target's site, [target, layer, neuron]."""
    found = np.zeros((len(targets), lm.layers, lm.neurons_per_layer), np.float32)
    for rows, activations in _passes(lm, targets):
        found[rows] = activations
    return found


def _passes(
    lm: LanguageModel, targets: Sequence[Target]
) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    """Some targets' places and their activations, [target, layer, neuron], until all had a pass."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, target in enumerate(targets):
        by_length[len(target.token_ids)].append(place)
    with lm.frozen():
        for places in by_length.values():
            for start in range(0, len(places), TARGETS):
                some = places[start : start + TARGETS]
                clean = run_clean(lm, [targets[place] for place in some])
                yield some, clean.activations.float().cpu().numpy().swapaxes(0, 1)
