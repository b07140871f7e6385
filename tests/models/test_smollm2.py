"""SmolLM2 from its GGUF file: the conversion on a real model."""

import pytest
import torch

from atlas.errors import CorruptCheckpoint
from atlas.models.gguf import read_gguf
from atlas.models.load import load_model

pytestmark = pytest.mark.real_model


def test_smollm2_knows_the_capital_of_france(smollm2_path):
    lm = load_model(str(smollm2_path))
    assert (lm.layers, lm.neurons_per_layer, lm.architecture) == (30, 1536, "llama")
    prompt = lm.tokenizer("The capital of France is", return_tensors="pt")
    assert prompt.input_ids.shape == (1, 5)  # no token is added before the text
    p = lm.model(**prompt).logits[0, -1].softmax(-1)
    (answer,) = lm.tokenizer(" Paris").input_ids
    assert p.argmax() == answer
    assert p[answer].item() == pytest.approx(0.7725, abs=0.001)


def test_smollm2_from_the_cache_equals_smollm2_read_directly(smollm2_path):
    lm = load_model(str(smollm2_path))
    direct, tokenizer = read_gguf(smollm2_path)
    for text in ("The official language of Brazil is", "Dvořák's café in 1990, 東京\n\n x"):
        prompt = tokenizer(text, return_tensors="pt")
        assert lm.tokenizer(text).input_ids == prompt.input_ids[0].tolist()
        assert lm.tokenizer.decode(prompt.input_ids[0]) == text
        with torch.no_grad():
            assert torch.equal(lm.model(**prompt).logits, direct(**prompt).logits)
    assert lm.tokenizer.special_tokens_map == tokenizer.special_tokens_map


def test_a_truncated_smollm2_is_refused_before_it_is_converted(smollm2_path, tmp_path, monkeypatch):
    half = tmp_path / "half.gguf"
    with smollm2_path.open("rb") as stream:
        half.write_bytes(stream.read(smollm2_path.stat().st_size // 2))
    monkeypatch.delattr("atlas.models.gguf.read_gguf")
    with pytest.raises(CorruptCheckpoint, match="truncated"):
        load_model(str(half))
