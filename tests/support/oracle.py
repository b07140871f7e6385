"""What the slow reference says of a prompt to a tiny model, and the engine's view of that model.

The value projections are named here once more, on purpose: were `atlas.models.architectures` used,
a wrong entry of that table would be wrong on both sides.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from reference import Reference, naive_attribution
from tiny_models import MASKED, tiny
from torch import nn

from atlas import paths
from atlas.engine.quadrature import Quadrature
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.prompts import Prompt, Target, encode

MINI_BERT = "mini-bert"
PROJECTIONS = {
    "albert": "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn_output",
    "bert": "bert.encoder.layer.{}.output.dense",
    "bloom": "transformer.h.{}.mlp.dense_4h_to_h",
    "distilbert": "distilbert.transformer.layer.{}.ffn.lin2",
    "gemma": "model.layers.{}.mlp.down_proj",
    "gemma2": "model.layers.{}.mlp.down_proj",
    "gemma3_text": "model.layers.{}.mlp.down_proj",
    "gpt2": "transformer.h.{}.mlp.c_proj",
    "gpt_neo": "transformer.h.{}.mlp.c_proj",
    "gpt_neox": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
    "gptj": "transformer.h.{}.mlp.fc_out",
    "llama": "model.layers.{}.mlp.down_proj",
    "mistral": "model.layers.{}.mlp.down_proj",
    "modernbert": "model.layers.{}.mlp.Wo",
    "olmo2": "model.layers.{}.mlp.down_proj",
    "opt": "model.decoder.layers.{}.fc2",
    "phi": "model.layers.{}.mlp.fc2",
    "phi3": "model.layers.{}.mlp.down_proj",
    "qwen2": "model.layers.{}.mlp.down_proj",
    "qwen3": "model.layers.{}.mlp.down_proj",
    "roberta": "roberta.encoder.layer.{}.output.dense",
    "stablelm": "model.layers.{}.mlp.down_proj",
    "xlm-roberta": "roberta.encoder.layer.{}.output.dense",
}


def language_model(model: Any, tokenizer: Any, dtype: str = "float32") -> LanguageModel:
    """A transformers model as the engine takes it."""
    return LanguageModel.from_parts(
        model=model,
        tokenizer=tokenizer,
        name="tiny",
        revision=None,
        weights_sha256="0" * 64,
        dtype=dtype,
        device="cpu",
    )


@cache
def tiny_language_model(family: str) -> LanguageModel:
    """`tiny(family)` as the engine takes it; one for all tests, so not to be changed."""
    return language_model(*tiny(family))


def mini_bert() -> LanguageModel:
    """The embedded model."""
    if not (paths.EMBEDDED_MODEL / "model.safetensors").is_file():
        pytest.skip("data/models/mini-bert has not been trained")
    return load_model(MINI_BERT, device="cpu")


def projections(model: Any) -> list[tuple[nn.Module, int]]:
    """Per layer the value projection, and which call of that module is meant."""
    layers = range(model.config.num_hidden_layers)
    names = [PROJECTIONS[model.config.model_type].format(layer) for layer in layers]
    return [
        (model.get_submodule(name), names[:layer].count(name)) for layer, name in enumerate(names)
    ]


def reference(model: Any, target: Target, rule: Quadrature) -> Reference:
    """The naive loop's attribution of one target."""
    return naive_attribution(
        model,
        projections(model),
        list(target.token_ids),
        target.position,
        target.token,
        rule.alphas.tolist(),
        rule.weights.tolist(),
        target.site,
    )


def references(lm: LanguageModel, prompt: Prompt, rule: Quadrature) -> list[Reference]:
    """The naive loop's attribution of each answer token of a prompt."""
    targets = encode(prompt, lm.tokenizer, lm.objective, lm.context)
    return [reference(lm.model, target, rule) for target in targets]


def captum_function(
    model: Any, target: Target, projection: nn.Module, call: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function of activations [row, neuron] at the target's site, which gives P [row]."""

    def forward(activations: torch.Tensor) -> torch.Tensor:
        seen = -1

        def replace(_: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor] | None:
            nonlocal seen
            seen += 1
            if seen != call:
                return None
            hidden = args[0].clone()
            hidden.view(len(activations), -1, hidden.shape[-1])[:, target.site] = activations
            return (hidden,)

        ids = torch.tensor([target.token_ids]).expand(len(activations), -1)
        handle = projection.register_forward_pre_hook(replace)
        try:
            logits: torch.Tensor = model(input_ids=ids).logits[:, target.position]
        finally:
            handle.remove()
        return logits.double().softmax(-1)[:, target.token].float()

    return forward


def question(family: str, before: str = "The capital of France is") -> str:
    """A text that asks a model of the family."""
    return f"{before} [MASK]." if family in MASKED else before


def capital_of_france(lm: LanguageModel) -> Prompt:
    """A prompt with an answer of one token."""
    text = "The capital of France is"
    return Prompt(f"{text} [MASK]." if lm.objective == "masked" else text, "Paris")


def relative_error(ours: Any, theirs: Any) -> float:
    """Largest difference, relative to the largest of `theirs`."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
