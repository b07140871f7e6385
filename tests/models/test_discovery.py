"""Architectures that are not in the table, found by looking."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference import naive_attribution
from tiny_models import FAMILIES, tiny
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    CamembertConfig,
    CohereConfig,
    ElectraConfig,
    GraniteConfig,
    OlmoConfig,
    PreTrainedConfig,
    Starcoder2Config,
)

from atlas.engine.attribution import attribute
from atlas.errors import GuessedArchitecture, UnsupportedArchitecture
from atlas.models.architectures import TABLE, find_blocks
from atlas.models.discovery import discover_blocks
from atlas.models.load import load_model
from atlas.models.pretrained import embedding_rows
from atlas.prompts import Prompt, encode


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "albert"])
def test_looking_finds_what_the_table_says(family: str) -> None:
    model, _ = tiny(family)
    for found, known in zip(discover_blocks(model), find_blocks(model), strict=True):
        assert found.module is known.module
        assert found.value_projection is known.value_projection
        assert found.norm_after is known.norm_after


def test_a_block_that_runs_many_times_is_not_guessed_but_refused() -> None:
    model, _ = tiny("albert")
    with pytest.raises(UnsupportedArchitecture, match="register it in four lines"):
        discover_blocks(model)


def test_a_guess_that_does_not_hold_is_refused_and_the_model_left_as_it_was() -> None:
    model, _ = tiny("llama")

    class Squared(nn.Module):
        """A nonlinearity behind the value projection, of which no table entry knows."""

        def __init__(self, mlp: nn.Module) -> None:
            super().__init__()
            self.mlp = mlp

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.mlp(x) ** 2

    for layer in model.model.layers:
        layer.mlp = Squared(layer.mlp)
    with pytest.raises(UnsupportedArchitecture) as refusal:
        discover_blocks(model)
    assert "\n" not in str(refusal.value)
    assert all(family in str(refusal.value) for family in TABLE)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_mixture_of_experts_is_refused_in_one_line() -> None:
    model, _ = tiny("llama")
    model.model.layers[0].mlp.experts = nn.ModuleList([nn.Linear(2, 2)])
    with pytest.raises(UnsupportedArchitecture, match="mixture of experts"):
        discover_blocks(model)


def test_a_model_of_more_than_text_that_is_not_found_is_to_be_saved_without_the_rest() -> None:
    model, _ = tiny("albert")
    model.config.vision_config = {"hidden_size": 8}
    with pytest.raises(UnsupportedArchitecture, match="save its text model as a checkpoint of its"):
        discover_blocks(model)


def test_a_model_without_a_table_of_embeddings_is_refused_in_one_line() -> None:
    model, _ = tiny("llama")
    model.get_input_embeddings = lambda: nn.Parameter(torch.ones(2, 2))
    with pytest.raises(UnsupportedArchitecture, match="keeps no table of input embeddings"):
        embedding_rows(model)


UNLISTED: dict[str, tuple[type[PreTrainedConfig], str]] = {
    "camembert": (CamembertConfig, "roberta.encoder.layer.{}.output.dense"),
    "cohere": (CohereConfig, "model.layers.{}.mlp.down_proj"),
    "electra": (ElectraConfig, "electra.encoder.layer.{}.output.dense"),
    "granite": (GraniteConfig, "model.layers.{}.mlp.down_proj"),
    "olmo": (OlmoConfig, "model.layers.{}.mlp.down_proj"),
    "starcoder2": (Starcoder2Config, "model.layers.{}.mlp.c_proj"),
}


@pytest.mark.parametrize("family", UNLISTED)
def test_an_architecture_that_nobody_listed_loads_with_a_word_and_matches_the_naive_loop(
    family: str, tmp_path: Path
) -> None:
    config_class, projection = UNLISTED[family]
    like = "bert" if family in ("camembert", "electra") else "llama"
    _, tokenizer = tiny(like)
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 4}
    config = config_class(
        vocab_size=len(tokenizer),
        num_hidden_layers=3,
        max_position_embeddings=40,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )
    torch.manual_seed(0)
    auto = AutoModelForMaskedLM if like == "bert" else AutoModelForCausalLM
    auto.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.warns(GuessedArchitecture, match=f"architecture '{family}' is not in the table"):
        lm = load_model(str(tmp_path), device="cpu")
    prompt = Prompt("The capital of France is" + " [MASK]" * (like == "bert"), "Paris")
    (target,) = encode(prompt, lm.tokenizer, lm.objective, lm.context)
    theirs = naive_attribution(
        lm.model,
        [(lm.model.get_submodule(projection.format(layer)), 0) for layer in range(3)],
        list(target.token_ids),
        target.position,
        target.token,
        [0.5],
        [1.0],
    )
    ours = attribute(lm, [prompt], rule="gauss-legendre", points=1)
    error = np.abs(ours.scores[0] - theirs.scores).max() / np.abs(theirs.scores).max()
    assert error <= 1e-5
