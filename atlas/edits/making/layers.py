"""In which layer a rank-one edit is made."""

from collections.abc import Sequence

from atlas.counted import counted
from atlas.errors import EditError
from atlas.models.language_model import LanguageModel


def require_own_layers(lm: LanguageModel) -> None:
    """EditError where layers share their value vectors (ALBERT): a change of one is of all."""
    modules = {id(block.value_projection) for block in lm.blocks}
    if len(modules) < lm.layers:
        raise EditError(
            f"the layers of {lm.name} share {counted(len(modules), 'set')} of value vectors, so no "
            "single one can be changed: choose another method",
            parameters=["method"],
        )


def require_layer(lm: LanguageModel, layer: int) -> None:
    """EditError for a layer that the model does not have."""
    if not 0 <= layer < lm.layers:
        raise EditError(
            f"no layer {layer}: {lm.name} has {lm.layers}, counted from 0", parameters=["layer"]
        )


def default_layers(lm: LanguageModel, position: str) -> Sequence[int]:
    """Layers for an edit at this position, the likeliest first.

    At the answer a masked model's last layer writes what the head reads, and nothing comes after
    it; a causal model's is at 0.6 of its depth, where the answer is put together. At the subject's
    last token early layers gather what the model knows of it. In causal models the second one goes
    first: further up, activations at the very first token of a text, which all later ones attend
    to, are too small and alike to tell one subject there from another.
    """
    shares: tuple[float, ...]
    if position == "subject":
        shares = (1 / lm.layers, 1 / 7, 2 / 7)
    elif lm.objective == "masked":
        shares = (1.0, 5 / 6)
    else:
        shares = (0.6, 0.75, 1.0)
    return list(dict.fromkeys(min(round(share * lm.layers), lm.layers - 1) for share in shares))
