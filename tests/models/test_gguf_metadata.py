"""GGUF metadata that changes the model: followed, or refused by name before anything is built."""

import gguf
import numpy as np
import pytest
import torch
from model_directories import refused
from tiny_gguf import save_tiny_gguf
from transformers import Gemma2Config, LlamaForCausalLM

from atlas.errors import CorruptCheckpoint, ModelError, UnsupportedArchitecture
from atlas.models import gguf as gguf_files
from atlas.models.gguf_header import check_gguf
from atlas.models.gguf_settings import follow_metadata
from atlas.models.load import load_model

TEXT = "The capital of Ireland is Dublin in Ouagadougou."
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tiny.gguf"


def logits(model, tokenizer):
    with torch.no_grad():
        return model(**tokenizer(TEXT, return_tensors="pt")).logits


def loads_as(path, model, tokenizer):
    lm = load_model(str(path), device="cpu")
    torch.testing.assert_close(logits(lm.model, tokenizer), logits(model, tokenizer))


def test_factors_of_the_rotary_frequencies_are_followed(path):
    model, _ = save_tiny_gguf(path, rope_parameters=_LLAMA3)
    plain = 1 / 100.0 ** (np.arange(0, 8, 2) / 8)
    factors = plain / model.model.rotary_emb.inv_freq.double().numpy()
    assert factors.max() > 7
    model, tokenizer = save_tiny_gguf(
        path, rope_parameters=_LLAMA3, tensors={"rope_freqs.weight": factors}
    )
    loads_as(path, model, tokenizer)


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_scaled_rotary_positions_are_followed(path, kind):
    rope = {"rope_type": kind, "rope_theta": 100.0, "factor": 4.0}
    if kind == "yarn":
        rope["original_max_position_embeddings"] = 40
    keys = {"llama.rope.scaling.type": kind, "llama.rope.scaling.factor": 4.0}
    model, tokenizer = save_tiny_gguf(path, keys=keys, rope_parameters=rope)
    loads_as(path, model, tokenizer)
    plain, _ = save_tiny_gguf(path)
    assert not torch.allclose(logits(plain, tokenizer), logits(model, tokenizer), atol=1e-2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attn_logit_softcapping", 50.0),
        ("final_logit_softcapping", 30.0),
        ("attention.sliding_window", 4),
        ("attention.scale", 0.5),
        ("attention.value_length", 4),
        ("embedding_scale", 12.0),
        ("residual_scale", 0.22),
        ("logit_scale", 8.0),
        ("expert_count", 8),
        ("rope.dimension_count", 4),
        ("rope.scaling.type", "longrope"),
        ("rope.scaling.yarn_log_multiplier", 0.1),
        ("a_setting_of_the_future", 1),
    ],
)
def test_a_setting_that_the_model_cannot_follow_is_refused_by_name(path, key, value):
    save_tiny_gguf(path, keys={f"llama.{key}": value})
    refused(path, UnsupportedArchitecture, f"llama.{key}", "tiny.gguf", "safetensors")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("expert_count", 0),
        ("attention.sliding_window", 4096),
        ("attention.key_length", 8),
        ("attention.value_length", 8),
        ("logit_scale", 1.0),
        ("rope.scaling.type", "none"),
        ("rope.scaling.factor", 1.0),
        ("tensor_data_layout", "Meta AI original pth"),
    ],
)
def test_a_setting_without_effect_is_taken(path, key, value):
    model, tokenizer = save_tiny_gguf(path, keys={f"llama.{key}": value})
    loads_as(path, model, tokenizer)


def test_the_base_of_rotary_positions_is_followed(path):
    rope = {"rope_type": "default", "rope_theta": 7.0}
    loads_as(path, *save_tiny_gguf(path, rope_parameters=rope))


def test_tensors_that_the_model_does_not_take_are_refused(path):
    save_tiny_gguf(path, tensors={"blk.0.attn_q.bias": np.ones(32)})
    refused(path, UnsupportedArchitecture, "blk.0.attn_q.bias", "leave some out")


@pytest.mark.parametrize("kind", ["adapter", "mmproj", "imatrix"])
def test_a_file_that_is_no_model_is_refused_before_anything_is_built(path, kind, monkeypatch):
    monkeypatch.setattr(gguf_files.transformers.AutoConfig, "from_pretrained", pytest.fail)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.type", kind)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.ones((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    refused(path, UnsupportedArchitecture, f"of type '{kind}'", "not a model")


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("token_embd.weight", "token_embd.weight"),
        ("blk.1.ffn_down.weight", "blk.1.ffn_down"),
        ("llama.block_count", "llama.block_count"),
    ],
)
def test_a_file_without_what_its_architecture_needs_is_refused(path, name, missing, monkeypatch):
    monkeypatch.setattr(gguf_files.transformers.AutoConfig, "from_pretrained", pytest.fail)
    save_tiny_gguf(path)
    # Same length, so that the lengths before the texts stay right.
    path.write_bytes(path.read_bytes().replace(name.encode(), b"x" * len(name)))
    refused(path, CorruptCheckpoint, "not a whole model", missing)


def test_more_blocks_than_the_metadata_says_are_refused(path):
    save_tiny_gguf(path, tensors={"blk.2.ffn_down.weight": np.ones((32, 64))})
    refused(path, CorruptCheckpoint, "3 blocks", "has 2")


def test_a_conversion_that_cannot_fit_into_memory_is_refused_in_one_line(path, monkeypatch):
    save_tiny_gguf(path)
    monkeypatch.setattr(gguf_files, "free_memory", lambda: 100_000)
    monkeypatch.setattr(gguf_files.transformers.AutoConfig, "from_pretrained", pytest.fail)
    refused(path, ModelError, "GB of memory", "free")


@pytest.mark.parametrize(
    ("pre", "keys", "framed"),
    [
        ("gpt-2", {}, False),
        ("llama-bpe", {}, True),
        ("llama-bpe", {"tokenizer.ggml.add_bos_token": False}, False),
        ("qwen2", {}, False),
        ("qwen2", {"tokenizer.ggml.add_bos_token": True}, True),
    ],
)
def test_a_text_begins_with_bos_where_llama_cpp_puts_one(path, pre, keys, framed):
    _, tokenizer = save_tiny_gguf(path, pre=pre, keys=keys)
    expected = tokenizer(TEXT).input_ids
    ids = load_model(str(path)).tokenizer(TEXT).input_ids
    assert ids == ([0, *expected] if framed else expected)


def test_a_text_ends_with_eos_where_the_file_says_so(path):
    save_tiny_gguf(path, keys={"tokenizer.ggml.add_eos_token": True})
    assert load_model(str(path)).tokenizer(TEXT).input_ids[-1] == 0


@pytest.mark.parametrize(
    ("pre", "cuts"),
    [
        ("gpt-2", ["in", "Ġ1865", "Ġis", "Ġ(", "in"]),
        ("smollm", ["in", "Ġ", "1", "8", "6", "5", "Ġis", "Ġ(", "in"]),
        ("qwen2", ["in", "Ġ", "1", "8", "6", "5", "Ġis", "Ġ(", "in"]),
        ("llama-bpe", ["in", "Ġ", "186", "5", "Ġis", "Ġ(", "in"]),
    ],
)
def test_a_text_is_cut_as_the_file_says(path, pre, cuts):
    save_tiny_gguf(path, pre=pre)
    cutter = load_model(str(path)).tokenizer.backend_tokenizer.pre_tokenizer
    assert [piece for piece, _ in cutter.pre_tokenize_str("in 1865 is (in")] == cuts


def test_an_unknown_way_to_cut_a_text_is_refused_by_name(path):
    save_tiny_gguf(path, pre="future-bpe")
    refused(path, UnsupportedArchitecture, "tokenizer.ggml.pre", "'future-bpe'")


def test_a_settings_effect_survives_the_cache(path):
    keys = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    save_tiny_gguf(path, keys=keys, pre="llama-bpe")
    first, second = load_model(str(path)), load_model(str(path))
    assert isinstance(second.model, LlamaForCausalLM)
    for lm in (first, second):
        assert lm.model.config.rope_parameters["factor"] == 4.0
        assert lm.tokenizer(TEXT).input_ids[0] == 0


@pytest.mark.parametrize(
    ("layers", "scaled_by"), [(2, 16), (46, 8)], ids=["width of a head", "share of a head in 27B"]
)
def test_gemmas_queries_are_scaled_as_llama_cpp_scales_them(path, layers, scaled_by):
    save_tiny_gguf(path, architecture="gemma2", tied=True, num_hidden_layers=layers)
    config = Gemma2Config(num_hidden_layers=layers)
    follow_metadata(path, check_gguf(path), config)
    assert (config.head_dim, config.query_pre_attn_scalar) == (16, scaled_by)
