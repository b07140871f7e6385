"""Tokenizers that fit their model badly, and models of more than text."""

import json

import pytest
import sentencepiece
import torch
from tiny_gguf import save_tiny_gguf
from tiny_models import save_tiny, tiny
from tiny_tokenizers import sentence_pieces
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


@pytest.fixture(scope="module")
def pieces() -> bytes:
    """A SentencePiece model of a few words."""
    return sentence_pieces(vocab_size=45)


def test_a_sentencepiece_model_alone_is_a_tokenizer(pieces, tmp_path):
    save_tiny("llama", tmp_path)
    for file in tmp_path.glob("*token*"):
        file.unlink()
    (tmp_path / "tokenizer.model").write_bytes(pieces)
    settings = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    lm = load_model(str(tmp_path))
    reader = sentencepiece.SentencePieceProcessor(model_proto=pieces)
    text = "The capital of France is"
    own = reader.encode(text)
    ids = lm.tokenizer(text, add_special_tokens=False).input_ids
    assert ids == own
    (target, *_) = lm.encode(Prompt(text, "Paris"))
    assert list(target.token_ids) == [reader.bos_id(), *own]
    assert target.token == reader.encode(f"{text} Paris")[len(own)]


@pytest.mark.parametrize("prefix", [None, True, False])
def test_a_gguf_file_says_whether_a_text_has_a_blank_before_it(
    pieces, prefix, tmp_path, monkeypatch
):
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path / "cache"))
    reader = sentencepiece.SentencePieceProcessor(model_proto=pieces)
    keys = {} if prefix is None else {"tokenizer.ggml.add_space_prefix": prefix}
    save_tiny_gguf(tmp_path / "tiny.gguf", keys=keys, pieces=reader)
    lm = load_model(str(tmp_path / "tiny.gguf"), device="cpu")
    ids = lm.tokenizer("The capital of France").input_ids
    own = reader.encode_as_pieces("The capital of France")
    assert own[0] == "▁"
    own = own[1:] if prefix is False else own
    assert lm.tokenizer.convert_ids_to_tokens(ids) == ["<s>", *own]
