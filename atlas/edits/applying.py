"""Edits on a live model: deltas added on entry, the saved value vectors copied back on exit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from atlas.edits.edit import Edit
from atlas.errors import EditError
from atlas.models.identity import identity_difference
from atlas.models.language_model import LanguageModel


@contextmanager
def applied(lm: LanguageModel, edits: Edit | Sequence[Edit]) -> Iterator[None]:
    """Add the edits' deltas to the model's value vectors within the context, in the order given.

    The weights on exit are bit-identical to those on entry, also when contexts nest and after an
    exception: the originals are copied back, not subtracted from. Sums are taken in float32 and
    rounded to the model's dtype. Where one module serves many layers (ALBERT), an edit of one of
    its layers changes them all, and edits of several layers add up.

    EditError, before anything is changed, for an edit of another model or of another width.
    """
    edits = [edits] if isinstance(edits, Edit) else list(edits)
    for edit in edits:
        check_fits(lm, edit)
    saved: list[tuple[Tensor, Tensor, Tensor]] = []
    try:
        for edit in edits:
            for layer in edit.changed_layers:
                rows = edit.layers == layer
                vectors = lm.value_vectors(layer)
                index = torch.from_numpy(edit.neurons[rows].astype("int64")).to(vectors.device)
                delta = torch.from_numpy(edit.deltas[rows]).to(vectors.device)
                original = vectors.detach()[index].clone()
                saved.append((vectors, index, original))
                with torch.no_grad():
                    vectors[index] = (original.float() + delta).to(vectors.dtype)
        yield
    finally:
        with torch.no_grad():
            for vectors, index, original in reversed(saved):
                vectors[index] = original


def check_fits(lm: LanguageModel, edit: Edit) -> None:
    """EditError unless the edit was made for this model and fits its shape.

    Warns UnknownIdentity where only the weights can be compared.
    """
    if edit.weights_sha256 != lm.weights_sha256:
        raise EditError(
            f"{edit.label} was made for the model with weights {edit.model_id}, but {lm.name} has "
            f"{lm.model_id}: load that model, or make the edit again for this one"
        )
    if differs := identity_difference(lm.identity, edit.model_identity, lm.name):
        raise EditError(
            f"{edit.label} was made for the weights of {lm.name} with another {differs}: load that "
            "model, or make the edit again for this one"
        )
    if edit.deltas.shape[1] != lm.d_model:
        raise EditError(
            f"{edit.label} has deltas of width {edit.deltas.shape[1]}, but value vectors of "
            f"{lm.name} have {lm.d_model}: make the edit again for this model"
        )
    for layer, neuron in edit.named_neurons:
        if not (0 <= layer < lm.layers and 0 <= neuron < lm.neurons_per_layer):
            raise EditError(
                f"{edit.label} changes neuron {layer}:{neuron}, which {lm.name} does not have: "
                "make the edit again for this model"
            )
