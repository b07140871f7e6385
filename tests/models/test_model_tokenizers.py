"""Tokenizers that fit their model badly, and models of more than text."""

import pytest
import torch
from tiny_models import save_tiny, tiny
from tokenizers import normalizers
from transformers import AutoTokenizer, LlavaConfig, LlavaForConditionalGeneration

import atlas
from atlas.models.load import load_model
from atlas.prompts import Prompt, UnusablePrompt

PROMPTS = [
    Prompt("The capital of France is", "Paris"),
    Prompt("The seat of the official language of Ireland is in", "Dublin"),
]


def with_added_token(directory, **tokens):
    save_tiny("gpt2", directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.add_special_tokens(tokens)
    tokenizer.save_pretrained(directory)
    return load_model(str(directory))


def test_a_pad_token_without_an_embedding_changes_nothing(tmp_path):
    plain = load_model(str(save_tiny("gpt2", tmp_path / "plain")))
    padded = with_added_token(tmp_path / "padded", pad_token="[PAD]")
    assert padded.tokenizer.pad_token_id == padded.rows
    expected, found = (
        atlas.attribute(lm, PROMPTS, rule="gauss-legendre", points=4) for lm in (plain, padded)
    )
    assert torch.equal(torch.as_tensor(found.scores), torch.as_tensor(expected.scores))


def test_a_prompt_with_a_token_that_has_no_embedding_is_skipped_with_the_reason(tmp_path):
    lm = with_added_token(tmp_path, additional_special_tokens=["<tool>"])
    with pytest.raises(UnusablePrompt, match="'<tool>' was added") as caught:
        lm.encode(Prompt("The <tool> is", "Paris"))
    assert caught.value.reason == "token without an embedding"
    assert lm.encode(PROMPTS[0])


def test_a_capitalised_answer_that_the_tokenizer_never_reaches_is_skipped_with_the_reason(tmp_path):
    save_tiny("bert", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save_pretrained(tmp_path)
    lm = load_model(str(tmp_path))
    with pytest.raises(UnusablePrompt, match="the vocabulary has 'Paris'") as caught:
        lm.encode(Prompt("the capital of is [MASK].", "Paris"))
    assert caught.value.reason == "answer is capitalised in a lowercased vocabulary"


@pytest.mark.filterwarnings("ignore::atlas.errors.GuessedArchitecture")
def test_a_vision_language_model_is_asked_with_text_alone(tmp_path):
    language, tokenizer = tiny("llama")
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
        "projection_dim": 16,
    }
    config = LlavaConfig(
        text_config=language.config,
        vision_config={"model_type": "clip_vision_model", **vision},
        image_token_index=language.config.vocab_size - 1,
    )
    model = LlavaForConditionalGeneration(config).eval()
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.lm_head.load_state_dict(language.lm_head.state_dict())
    model.save_pretrained(tmp_path / "llava")
    tokenizer.save_pretrained(tmp_path / "llava")
    text = load_model(str(save_tiny("llama", tmp_path / "llama")))
    lm = load_model(str(tmp_path / "llava"))
    assert (lm.architecture, lm.layers, lm.objective, lm.context) == ("llava", 3, "causal", 40)
    expected, found = (
        atlas.attribute(lm, PROMPTS, rule="gauss-legendre", points=4) for lm in (text, lm)
    )
    torch.testing.assert_close(torch.as_tensor(found.scores), torch.as_tensor(expected.scores))
