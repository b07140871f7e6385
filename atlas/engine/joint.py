"""Answers of several tokens: from the scores of each token to scores of the whole answer.

P(answer) = ∏ P_j over its tokens. With a layer's activations P_j rises from P_j(0) to P_j(1), which
is L_j times the rise of log P_j, with the logarithmic mean L(a, b) = (a − b) / (log a − log b) of
both ends. P(answer) rises by the logarithmic mean L of its own ends times the sum of these. So

    score_i = Σ_j s_ji · L / L_j

of the tokens' integrals s_ji (Σ_i s_ji = P_j(1) − P_j(0)) adds up to the rise of P(answer), each
token's part being what it contributes to the rise of the logarithm (the LMDI decomposition, Ang
2004). For a single token L = L_1. Where nothing rises L is P: the gradient of the product.
"""

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def joint_weights(log_p: Float, log_p_zero: Float) -> Float:
    """What an answer's tokens are weighted with: L / L_j, [token, layer].

    log_p: [token], log P_j; log_p_zero: [token, layer], the same without the layer's activations.
    """
    ends = np.broadcast_to(log_p[:, None], log_p_zero.shape)
    whole = _log_of_mean(ends.sum(0), log_p_zero.sum(0))
    weights: Float = np.exp(whole - _log_of_mean(ends, log_p_zero))
    return weights


def _log_of_mean(a: Float, b: Float) -> Float:
    """The logarithm of the logarithmic mean of e^a and e^b."""
    apart = np.abs(a - b)
    known = np.where(apart > 0, apart, 1.0)
    # e^max · (1 − e^−apart) / apart
    return np.maximum(a, b) + np.where(apart > 0, np.log(-np.expm1(-known) / known), 0.0)
