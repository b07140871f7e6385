"""What a neuron writes: its value vector, through the model's own norms and head, onto tokens.

One unit more of the neuron adds its value vector v to the FFN's output. What that adds to a token's
logit is taken along the direct path: through the norm behind the FFN where the block has one, then
unchanged along the residual stream, then through the final norm and the head (with its transform in
BERT, its projection in ALBERT and OPT, its soft-capping in Gemma). Norms and heads are not linear,
so the derivative is taken where the model is when it answers prompts, and averaged over them; the
mean over the vocabulary is subtracted, because equal additions to all logits change no probability.

For a neuron of the last layer the direct path is all there is; what later blocks make of an earlier
neuron is left out, and in a post-norm model so are the gains of their norms.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.engine.clean_pass import CleanPass, run_clean
from atlas.engine.interventions import check_neurons
from atlas.errors import ReadOnlyAtlas
from atlas.meaning.stored import (
    Meaning,
    prompts_to_linearise_at,
    record_meaning,
)
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target
from atlas.selection.chosen import ChosenSelection
from atlas.store.atlas_file import AtlasFile

PROMPTS = 16  # at which the model is linearised


@dataclass(frozen=True)
class Written:
    """What a neuron was found to write."""

    tokens: tuple[Meaning, ...]  # that a positive activation raises and lowers
    activation: float  # mean over the prompts that the model was asked


def store_meaning(
    atlas: AtlasFile, lm: LanguageModel, selection: ChosenSelection, layer: int, neuron: int
) -> Written:
    """What a neuron writes, linearised at the prompts that excite it most, one an answer.

    It is stored, except in an atlas that cannot be written.
    """
    check_neurons(lm, [(layer, neuron)])
    with atlas.reading() as connection:
        prompts = prompts_to_linearise_at(connection, selection.run_id, layer, neuron, PROMPTS)
    encoded = [lm.targets(p.text, p.object, p.subject_end) for p in prompts]
    written = written_tokens(lm, layer, neuron, encoded)
    with contextlib.suppress(ReadOnlyAtlas), atlas.writing() as connection:
        record_meaning(
            connection, selection.run_id, layer, neuron, written.tokens, written.activation
        )
    return written


def written_tokens(
    lm: LanguageModel,
    layer: int,
    neuron: int,
    encoded: Sequence[Sequence[Target]],
    count: int = 10,
) -> Written:
    """The `count` tokens that a positive activation raises most and those that it lowers most.

    encoded: the prompts at whose sites the model is linearised; at least one. Raises
    SettingsError for a neuron outside the model.
    """
    added, activation = _asked(lm, layer, neuron, encoded)
    known = min(len(added), len(lm.tokenizer))  # some embeddings have rows for no token
    order = np.argsort(-added[:known], kind="stable")
    sides = (("top", order[:count]), ("bottom", order[::-1][:count]))
    meanings = tuple(
        Meaning(side, position, _text(lm, token), float(added[token]))
        for side, tokens in sides
        for position, token in enumerate(tokens.tolist(), start=1)
    )
    return Written(meanings, activation)


def added_logits(
    lm: LanguageModel, layer: int, neuron: int, encoded: Sequence[Sequence[Target]]
) -> NDArray[np.float64]:
    """What one unit of activation adds to every token's logit, [vocabulary]; see the module."""
    return _asked(lm, layer, neuron, encoded)[0]


def _asked(
    lm: LanguageModel, layer: int, neuron: int, encoded: Sequence[Sequence[Target]]
) -> tuple[NDArray[np.float64], float]:
    """`added_logits`, and the neuron's mean activation at the same positions."""
    check_neurons(lm, [(layer, neuron)])
    by_length: dict[int, list[Target]] = {}
    for targets in encoded:
        by_length.setdefault(len(targets[0].token_ids), []).append(targets[0])
    parts, activations = [], []
    with lm.frozen():
        for targets_of_length in by_length.values():
            clean = run_clean(lm, targets_of_length)
            activations.append(clean.activations[layer, :, neuron].float())
            parts.append(_derivative(clean, layer, lm.value_vectors(layer)[neuron]))
    added: NDArray[np.float64] = torch.cat(parts).double().cpu().numpy()
    mean: NDArray[np.float64] = added.mean(axis=0)
    mean -= mean.mean()
    return mean, float(torch.cat(activations).mean())


def _derivative(clean: CleanPass, layer: int, value_vector: Tensor) -> Tensor:
    """d logits / d activation along the direct path, [target, vocabulary] float32."""
    rows = torch.arange(len(clean.targets), device=clean.site.device)
    last = clean.lm.layers - 1
    direction = value_vector.expand(len(rows), -1).contiguous()
    through = _along(
        lambda projected: clean.patched(layer, rows, projected),
        clean.projected[layer, rows],
        direction,
    )
    stream = clean.patched(last, rows, clean.projected[last, rows])
    return _along(clean.lm.head, stream, through).float()


def _along(function: Callable[[Tensor], Tensor], at: Tensor, direction: Tensor) -> Tensor:
    """The function's derivative along a direction, by two backwards.

    The product of a Jacobian's transpose with u is linear in u, and its derivative with respect to
    u the Jacobian's product. Torch's forward mode would do it in one, and warns when it is loaded.
    """
    with torch.enable_grad():
        start = at.detach().requires_grad_()
        value = function(start)
        u = torch.zeros_like(value, requires_grad=True)
        (product,) = torch.autograd.grad(value, start, u, create_graph=True)
        (result,) = torch.autograd.grad(product, u, direction)
    return result.detach()


def _text(lm: LanguageModel, token: int) -> str:
    """The token as text; as it is called in the vocabulary where it stands for no text."""
    text = str(lm.tokenizer.decode([token]))
    return text if text.strip() else str(lm.tokenizer.convert_ids_to_tokens(token))
