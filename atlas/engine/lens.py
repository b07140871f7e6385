"""What each neuron alone adds to the answer, read from the residual stream of its layer.

Method log-probability-increase of Yu and Ananiadou 2024 (Neuron-Level Knowledge Attribution in
Large Language Models, arXiv 2312.12141): of a layer, x is the residual stream at the answer
position before the feed-forward output is added, and a neuron's contribution is its activation
times its value vector, w_i v_i. Read through the model's own final norm and unembedding,

    score(l, i) = log P(t | x + w_i v_i) - log P(t | x)

Later layers play no part. A bias of the value projection belongs to x, and where a norm follows the
projection or the addition, it follows here as well.
"""

import torch
from torch import Tensor

from atlas.engine.answer import head_slices
from atlas.engine.clean_pass import CleanPass
from atlas.engine.settings import require_position


def log_probability_increase(clean: CleanPass) -> Tensor:
    """Scores in nats, [layer, target, neuron] float32.

    Raises SettingsError where a site is not the answer position: nothing is read there.
    """
    require_position("log-probability-increase", "subject" if clean.apart else "answer")
    silent = clean.projected - clean.linear
    with torch.no_grad():
        return torch.stack(
            [
                torch.stack(
                    [_of_target(clean, layer, row, bias) for row, bias in enumerate(biases)]
                )
                for layer, biases in enumerate(silent)
            ]
        )


def _of_target(clean: CleanPass, layer: int, row: int, bias: Tensor) -> Tensor:
    """Of one layer's neurons in one target, [neuron]; the first row of all is x itself."""
    activations = clean.activations[layer, row]
    added = activations[:, None] * clean.lm.value_vectors(layer)
    projected = bias + torch.cat([torch.zeros_like(added[:1]), added])
    rows = torch.full((len(projected),), row, device=projected.device)
    log_p = _log_p(clean, clean.patched(layer, rows, projected), clean.tokens[rows])
    return log_p[1:] - log_p[0]


def _log_p(clean: CleanPass, hidden: Tensor, tokens: Tensor) -> Tensor:
    """log P(token) [row] of a last block's output [row, d_model], a few rows at a time."""
    parts = [
        clean.lm.head(some).float().log_softmax(-1).gather(1, own[:, None])[:, 0]
        for some, own in head_slices(hidden, tokens, clean.logits.shape[-1])
    ]
    return torch.cat(parts)
