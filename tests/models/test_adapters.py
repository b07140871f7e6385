"""PEFT adapters: merged into their base model, or refused with what to do."""

import importlib.util
import json

import pytest
import torch
from model_directories import refused
from safetensors.torch import load_file, save_file

from atlas.errors import CorruptCheckpoint, UnsafeCheckpoint, UnsupportedArchitecture
from atlas.models import adapter as adapters
from atlas.models.load import load_model

needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft is not installed"
)
_RANK, _ALPHA = 2, 6
_CHANGED = "model.layers.1.mlp.down_proj"


@pytest.fixture
def adapter(llama, tmp_path):
    """A LoRA adapter of one projection of the tiny Llama, written by hand."""
    directory = tmp_path / "adapter"
    directory.mkdir()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(llama),
        "r": _RANK,
        "lora_alpha": _ALPHA,
        "target_modules": ["down_proj"],
        "layers_to_transform": [1],
    }
    (directory / "adapter_config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(1)
    stem = f"base_model.model.{_CHANGED}"
    weights = {
        f"{stem}.lora_A.weight": torch.randn(_RANK, 40, generator=generator),
        f"{stem}.lora_B.weight": torch.randn(32, _RANK, generator=generator),
    }
    save_file(weights, directory / "adapter_model.safetensors")
    return directory


@needs_peft
def test_an_adapter_is_merged_into_its_base_model(adapter, llama):
    base, merged = load_model(str(llama)), load_model(str(adapter))
    a, b = load_file(adapter / "adapter_model.safetensors").values()
    expected = base.value_vectors(1) + _ALPHA / _RANK * (b @ a).T
    torch.testing.assert_close(merged.value_vectors(1), expected)
    assert torch.equal(merged.value_vectors(0), base.value_vectors(0))
    assert (merged.name, merged.architecture) == ("adapter", "llama")
    assert merged.weights_sha256 != base.weights_sha256
    assert not any(parameter.requires_grad for parameter in merged.model.parameters())


@needs_peft
def test_another_strength_of_an_adapter_is_another_model(adapter):
    first = load_model(str(adapter)).weights_sha256
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_alpha": 2 * _ALPHA}))
    assert load_model(str(adapter)).weights_sha256 != first


@needs_peft
def test_a_base_model_beside_its_adapter_is_found(adapter, llama):
    path = adapter / "adapter_config.json"
    path.write_text(path.read_text().replace(str(llama), f"../{llama.name}"))
    assert load_model(str(adapter)).name == "adapter"


@needs_peft
def test_an_adapter_that_does_not_fit_its_base_model_is_refused(adapter):
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    save_file({**weights, "base_model.model.extra.lora_A.weight": torch.ones(2, 2)}, path)
    refused(adapter, CorruptCheckpoint, "extra.lora_A.weight", "not used")
    name = next(iter(weights))
    save_file({name: weights[name]}, path)
    refused(adapter, CorruptCheckpoint, "lacks 1", "lora_B")


@needs_peft
def test_an_adapter_without_its_weights_or_base_is_refused(adapter):
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": ""}))
    refused(adapter, CorruptCheckpoint, "base_model_name_or_path")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    refused(adapter, UnsafeCheckpoint, "adapter_model.bin", "pickle")
    (adapter / "adapter_model.bin").unlink()
    refused(adapter, CorruptCheckpoint, "lacks adapter_model.safetensors")


def test_without_peft_an_adapter_is_refused_with_the_way_out(adapter, monkeypatch):
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda name: None)
    refused(adapter, UnsupportedArchitecture, "adapter", "pip install peft", "merge_and_unload")


def test_an_adapter_beside_a_whole_model_is_refused(bert):
    (bert / "adapter_config.json").write_text("{}")
    refused(bert, UnsupportedArchitecture, "whole model and an adapter", "merge")
