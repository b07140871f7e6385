"""How strongly every neuron is active on some prompts: what controls are matched by."""

from collections import defaultdict
from collections.abc import Sequence

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
    by_length: dict[int, list[tuple[int, Target]]] = defaultdict(list)
    for number, targets in enumerate(groups):
        for target in targets:
            by_length[len(target.token_ids)].append((number, target))
    sums: list[NDArray[np.float32] | None] = [None] * len(groups)
    with lm.frozen():
        for rows in by_length.values():
            for start in range(0, len(rows), TARGETS):
                some = rows[start : start + TARGETS]
                clean = run_clean(lm, [target for _, target in some])
                absolute = clean.activations.float().abs().cpu().numpy()
                for column, (number, _) in enumerate(some):
                    before = sums[number]
                    one = absolute[:, column]
                    sums[number] = one.copy() if before is None else before + one
    return [
        None if total is None else total / np.float32(len(targets))
        for total, targets in zip(sums, groups, strict=True)
    ]
