"""How long an input a model reads: what it says is what it can, one token more is too long."""

from typing import Any

import pytest
import torch
from oracle import language_model
from tiny_models import tiny
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    CamembertConfig,
    Data2VecTextConfig,
    EsmConfig,
    MPNetConfig,
    PreTrainedConfig,
    XLMRobertaXLConfig,
)

from atlas.models.positions import longest_input
from atlas.prompts import Prompt, UnusablePrompt

_SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "max_position_embeddings": 20,
    "pad_token_id": 3,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
MPNET: dict[str, Any] = {**_SIZES, "pad_token_id": 1}  # its padding row is always the second
OTHERS: dict[str, tuple[type[PreTrainedConfig], dict[str, Any], int]] = {
    "camembert": (CamembertConfig, _SIZES, 16),
    "camembert decoder": (CamembertConfig, {**_SIZES, "is_decoder": True}, 16),
    "data2vec-text": (Data2VecTextConfig, _SIZES, 16),
    "esm": (EsmConfig, {**_SIZES, "position_embedding_type": "absolute"}, 16),
    "mpnet": (MPNetConfig, MPNET, 18),
    "xlm-roberta-xl": (XLMRobertaXLConfig, _SIZES, 16),
}


def runs(model: Any, length: int) -> bool:
    try:
        with torch.no_grad():
            model(input_ids=torch.full((1, length), 7))
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("name", OTHERS)
def test_positions_that_begin_behind_the_padding_row_are_counted_from_there(name: str) -> None:
    config_class, settings, longest = OTHERS[name]
    auto = AutoModelForCausalLM if settings.get("is_decoder") else AutoModelForMaskedLM
    model = auto.from_config(config_class(**settings)).eval()
    assert longest_input(model) == longest
    assert runs(model, longest)
    assert not runs(model, longest + 1)


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "distilbert", "gpt2", "opt"])
def test_what_a_model_says_it_can_read_it_reads(family: str) -> None:
    model, _ = tiny(family)
    longest = longest_input(model)
    assert runs(model, longest)
    assert not runs(model, longest + 1)


def test_a_model_without_positions_reads_inputs_of_any_length() -> None:
    model, _ = tiny("bloom")
    assert longest_input(model) >= 10**9


def test_a_prompt_too_long_for_the_positions_is_refused_with_its_reason() -> None:
    lm = language_model(*tiny("roberta"))
    text = "The capital of " + "France " * lm.longest_input + "is [MASK]."
    with pytest.raises(UnusablePrompt, match="reads at most") as refusal:
        lm.encode(Prompt(text, "Paris"))
    assert refusal.value.reason == "prompt is longer than the model's context"
