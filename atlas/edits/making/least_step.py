"""The smallest step that lets several quantities grow as they should, to first order."""

import numpy as np
from numpy.typing import NDArray

SWEEPS = 300

Floats = NDArray[np.float64]


def least_step(gradients: Floats, growth: Floats) -> Floats:
    """The shortest D with gradients·D ≥ growth in every row: gradients [row, entry], growth [row].

    By its dual, D = Σ αᵢ gᵢ with α ≥ 0, one αᵢ after the other (Hildreth 1957); where no D does,
    what SWEEPS rounds come to. A row whose gradient is zero asks for nothing.
    """
    gram = gradients @ gradients.T
    alpha = np.zeros(len(gram))
    for _ in range(SWEEPS):
        before = alpha.copy()
        for row in np.flatnonzero(np.diag(gram)):
            lacking = growth[row] - gram[row] @ alpha
            alpha[row] = max(0.0, alpha[row] + lacking / gram[row, row])
        if np.allclose(alpha, before, rtol=1e-6, atol=0):
            break
    step: Floats = alpha @ gradients
    return step
