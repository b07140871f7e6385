"""Tiny random models as LanguageModels, and edits of them, for the tests of edits."""

from functools import cache

import numpy as np
import torch
from tiny_models import tiny

from atlas.edits.edit import Edit
from atlas.models.language_model import LanguageModel

WEIGHTS = "e1" * 32
ENCODED = [[7, 11, 9, 23, 8, 14], [12, 9, 30, 8, 21, 10], [31, 8, 22, 7, 13, 9]]


@cache
def language_model(family: str, dtype: str = "float32") -> LanguageModel:
    """A tiny model of the family; shared, so tests leave its weights as they were."""
    model, tokenizer = tiny(family)
    for parameter in model.parameters():  # buffers stay float32, as from_pretrained leaves them
        parameter.data = parameter.data.to(getattr(torch, dtype))
    return LanguageModel.from_parts(
        model=model,
        tokenizer=tokenizer,
        name=f"tiny-{family}",
        revision=None,
        weights_sha256=WEIGHTS,
        dtype=dtype,
        device="cpu",
    )


def random_edit(lm: LanguageModel, seed: int, neurons: int = 4) -> Edit:
    """Deltas as large as the value vectors, on random neurons."""
    draw = np.random.default_rng(seed)
    places = draw.choice(lm.layers * lm.neurons_per_layer, neurons, replace=False)
    layers, indices = np.divmod(places, lm.neurons_per_layer)
    return Edit(
        kind="update",
        method="paper",
        weights_sha256=lm.weights_sha256,
        model_identity=lm.identity,
        layers=layers,
        neurons=indices,
        deltas=draw.normal(0, 0.5, (neurons, lm.d_model)),
        settings={"seed": seed},
        subject="Ireland",
        old_object="Dublin",
        new_object="Galway",
    )


def snapshot(lm: LanguageModel) -> dict[str, torch.Tensor]:
    """Copies of all parameters and buffers."""
    return {name: value.clone() for name, value in lm.model.state_dict().items()}


def changed(lm: LanguageModel, before: dict[str, torch.Tensor]) -> set[str]:
    """Names of the parameters that are not bit-identical to `before`."""
    now = lm.model.state_dict()
    assert now.keys() == before.keys()
    return {name for name, value in now.items() if not _same_bits(value, before[name])}


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(
        a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)
    )
