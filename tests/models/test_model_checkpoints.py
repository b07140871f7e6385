"""Checkpoints that must be refused, each with one line."""

import json
import struct

import pytest
import torch
import transformers
from model_directories import change_config, change_weights, refused
from tiny_models import save_tiny, tiny

from atlas.errors import (
    CorruptCheckpoint,
    ModelNotFound,
    UnsafeCheckpoint,
    UnsupportedArchitecture,
)
from atlas.models.load import load_model


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "last.ckpt"])
def test_a_pickle_is_refused_and_says_why(bert, name):
    (bert / "model.safetensors").rename(bert / name)
    refused(bert, UnsafeCheckpoint, name, "pickle", "run any code", "save_pretrained")
    refused(bert / name, UnsafeCheckpoint, "pickle", "save_pretrained")


def test_a_pickle_beside_safetensors_is_never_opened(bert):
    (bert / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert load_model(str(bert)).objective == "masked"


def test_a_directory_that_is_no_model_is_one_line(tmp_path, bert):
    refused(tmp_path, ModelNotFound, "no config.json")
    (bert / "model.safetensors").unlink()
    refused(bert, ModelNotFound, "holds no weights", "model.safetensors")
    (bert / "part.safetensors").write_bytes(b"")
    refused(bert, ModelNotFound, "part.safetensors", "rename")
    (bert / "some.gguf").write_bytes(b"")
    refused(bert, ModelNotFound, "some.gguf", "name")


@pytest.mark.parametrize("share", [0, 0.001, 0.02, 0.5, 0.999])
def test_truncated_safetensors_are_refused_with_one_line(bert, share):
    path = bert / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(bert, CorruptCheckpoint, "truncated", "model.safetensors")


def test_damaged_safetensors_are_refused_with_one_line(bert):
    path = bert / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    refused(bert, CorruptCheckpoint, "file not fully covered")
    path.write_bytes(content[:20] + b"\xff\xff" + content[22:])
    refused(bert, CorruptCheckpoint, "damaged", "invalid UTF-8 in header")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    refused(bert, CorruptCheckpoint, "git lfs pull")


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"a": {}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {"a": {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": 4}},
        {"a": 1},
    ],
)
def test_a_header_that_contradicts_itself_is_refused_with_one_line(bert, header):
    text = json.dumps(header).encode()
    (bert / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    refused(bert, CorruptCheckpoint, "model.safetensors", "fetch")


def test_shards_are_checked_one_by_one(tmp_path):
    model, tokenizer = tiny("llama")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    tokenizer.save_pretrained(tmp_path)
    last = sorted(tmp_path.glob("*.safetensors"))[-1]
    content = last.read_bytes()
    last.write_bytes(content[:-4])
    refused(tmp_path, CorruptCheckpoint, last.name, "truncated")
    last.unlink()
    refused(tmp_path, CorruptCheckpoint, "lacks its shard", last.name)
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    index.write_text(json.dumps(content | {"weight_map": {"a": "../elsewhere.safetensors"}}))
    refused(tmp_path, UnsafeCheckpoint, "../elsewhere.safetensors")
    index.write_text(json.dumps({"weight_map": {}}))
    refused(tmp_path, CorruptCheckpoint, "no shard")
    index.write_text("{}")
    refused(tmp_path, CorruptCheckpoint, "no weight map")
    index.write_text('{"weight_map":')
    refused(tmp_path, CorruptCheckpoint, "not JSON", "line 1")


def test_missing_weights_are_refused_by_name_and_not_made_up(bert, llama):
    change_weights(bert, lambda weights: weights.pop("bert.encoder.layer.1.output.dense.weight"))
    refused(bert, CorruptCheckpoint, "bert.encoder.layer.1.output.dense.weight", "lacks 1")
    change_weights(llama, lambda weights: weights.pop("lm_head.weight"))
    refused(llama, CorruptCheckpoint, "lm_head.weight")


def test_a_weight_of_another_shape_is_one_line(bert):
    change_config(bert, intermediate_size=44)
    refused(bert, CorruptCheckpoint, "do not load")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(bert, value):
    name = "bert.encoder.layer.2.intermediate.dense.weight"

    def spoil(weights):
        weights[name][3, 5] = value

    change_weights(bert, spoil)
    refused(bert, CorruptCheckpoint, name, "1 value", "NaN or infinite")


def test_a_damaged_config_is_one_line(bert):
    (bert / "config.json").write_text('{"model_type": "bert",\n "hidden_size": }')
    refused(bert, CorruptCheckpoint, "config.json", "line 2")
    (bert / "config.json").write_text("[]")
    refused(bert, CorruptCheckpoint, "config.json", "not a JSON object")
    (bert / "config.json").write_text("{}")
    refused(bert, CorruptCheckpoint, "config.json", "model_type")
    (bert / "config.json").write_bytes(b"\xff\xfe")
    refused(bert, CorruptCheckpoint, "config.json", "cannot be read")


def test_a_config_with_a_value_of_the_wrong_kind_is_one_line(bert):
    change_config(bert, hidden_size="many")
    refused(bert, CorruptCheckpoint)


def test_an_unknown_model_type_is_one_line(bert):
    change_config(bert, model_type="hal9000")
    refused(bert, UnsupportedArchitecture, "'hal9000'", "transformers")


def test_a_checkpoint_that_brings_code_is_refused_and_its_code_is_not_run(bert):
    (bert / "modeling_evil.py").write_text("raise SystemExit('ran')")
    change_config(bert, model_type="evil", auto_map={"AutoConfig": "modeling_evil.EvilConfig"})
    refused(bert, UnsafeCheckpoint, "code", "not run")
    change_config(bert, model_type="bert", auto_map={"AutoModelForMaskedLM": "modeling_evil.Evil"})
    assert type(load_model(str(bert)).model).__name__ == "BertForMaskedLM"


def test_a_config_that_points_to_other_weights_is_refused(bert):
    change_config(bert, transformers_weights="other.bin")
    refused(bert, UnsafeCheckpoint, "transformers_weights")


def test_an_encoder_decoder_is_refused(tmp_path, bert):
    transformers.T5Config().save_pretrained(bert)
    refused(bert, UnsupportedArchitecture, "encoder-decoder", "t5")


def test_a_model_without_a_language_model_head_is_refused(bert, tmp_path):
    change_config(bert, architectures=["BertModel"])
    refused(bert, UnsupportedArchitecture, "BertModel", "no language-model head", "BertForMaskedLM")
    transformers.ViTConfig().save_pretrained(tmp_path)
    refused(tmp_path, UnsupportedArchitecture, "vit", "no language-model head")


def test_a_causal_head_that_sees_the_words_to_come_is_refused(bert):
    change_config(bert, architectures=["BertLMHeadModel"])
    refused(bert, UnsupportedArchitecture, "BertLMHeadModel", "is_decoder")


def test_a_config_that_names_a_quantisation_is_refused(bert):
    change_config(bert, quantization_config={"quant_method": "gptq", "bits": 4})
    refused(bert, UnsupportedArchitecture, "quantised")


def as_int8(weights):
    for name in [name for name in weights if name.endswith("proj.weight")]:
        scale = weights[name].abs().amax(1)
        weights[name.replace(".weight", ".SCB")] = scale
        weights[name] = (weights[name] / scale[:, None] * 127).round().to(torch.int8)


def as_fp8(weights):
    for name in [name for name in weights if name.endswith("proj.weight")]:
        weights[name] = weights[name].to(torch.float8_e4m3fn)
        weights[name + "_scale_inv"] = torch.ones(1)


def as_gptq(weights):
    for name in [name for name in weights if name.endswith("proj.weight")]:
        weights.pop(name)
        weights[name.replace(".weight", ".qweight")] = torch.ones(4, 4, dtype=torch.int32)


def as_nf4(weights):
    for name in [name for name in weights if name.endswith("proj.weight")]:
        weights[name] = weights[name].to(torch.uint8).view(-1, 1)
        weights[name + ".absmax"] = torch.ones(1)


@pytest.mark.parametrize("change", [as_int8, as_fp8, as_gptq, as_nf4])
def test_quantised_weights_are_refused_whatever_the_config_says(llama, change):
    change_weights(llama, change)
    refused(llama, UnsupportedArchitecture, "quantised weights", "proj.", "GGUF")


def test_an_adapter_beside_the_weights_that_it_changes_is_refused_by_name(llama):
    name = "model.layers.0.mlp.down_proj.lora_A.weight"
    change_weights(llama, lambda weights: weights.update({name: torch.ones(4, 40)}))
    refused(llama, CorruptCheckpoint, "1 tensor of", name, "not used", "merge_and_unload")


def test_more_layers_than_the_config_says_are_refused_by_name(llama):
    change_config(llama, num_hidden_layers=2)
    refused(llama, CorruptCheckpoint, "9 tensors", "model.layers.2.", ", …", "config.json")


def test_biases_that_the_config_leaves_out_are_refused_by_name(llama):
    name = "model.layers.1.self_attn.q_proj.bias"
    change_weights(llama, lambda weights: weights.update({name: torch.ones(32)}))
    refused(llama, CorruptCheckpoint, name)


def test_other_heads_and_buffers_beside_the_model_are_harmless(llama, bert):
    change_weights(
        llama,
        lambda weights: weights.update(
            {
                "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
                "v_head.summary.weight": torch.ones(1, 32),
            }
        ),
    )
    change_weights(
        bert,
        lambda weights: weights.update(
            {
                "bert.pooler.dense.weight": torch.ones(24, 24),
                "cls.seq_relationship.bias": torch.ones(2),
                "bert.embeddings.position_ids": torch.arange(40)[None],
            }
        ),
    )
    assert load_model(str(llama)).layers == load_model(str(bert)).layers == 3


def test_a_stored_causal_mask_is_harmless_and_a_bias_of_its_name_is_not(tmp_path):
    save_tiny("gpt_neo", tmp_path)
    name = "transformer.h.0.attn.attention.masked_bias"
    mask = "transformer.h.0.attn.attention.causal_mask"
    change_weights(
        tmp_path,
        lambda weights: weights.update({name: torch.tensor(-1e9), mask: torch.ones(1, 1, 4, 4)}),
    )
    assert load_model(str(tmp_path)).layers == 4
    change_weights(tmp_path, lambda weights: weights.update({mask: torch.ones(24)}))
    refused(tmp_path, CorruptCheckpoint, mask)


def test_a_missing_or_damaged_tokenizer_is_one_line(bert):
    content = (bert / "tokenizer.json").read_text()
    (bert / "tokenizer.json").write_text(content[:100])
    refused(bert, CorruptCheckpoint, "tokenizer", "does not load")
    (bert / "tokenizer.json").unlink()
    refused(bert, CorruptCheckpoint, "no tokenizer")


def test_another_models_tokenizer_is_refused(llama, tmp_path):
    _, tokenizer = tiny("gpt2")
    tokenizer.save_pretrained(llama)
    refused(llama, CorruptCheckpoint, "do not belong together")


def test_a_sentencepiece_model_names_the_package_that_reads_it(llama, monkeypatch):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (llama / name).unlink()
    (llama / "tokenizer.model").write_bytes(b"\x0a\x0e")
    monkeypatch.setattr("atlas.models.pretrained._installed", lambda name: False)
    refused(llama, CorruptCheckpoint, "SentencePiece", "pip install sentencepiece protobuf")
