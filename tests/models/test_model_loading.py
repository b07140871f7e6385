"""Loading models: every family from a directory, names, and the embedded model."""

import hashlib
import json
import logging
import os
import warnings

import huggingface_hub
import pytest
import torch
import transformers
from model_directories import change_config, change_weights, refused
from tiny_models import FAMILIES, MASKED, save_tiny, tiny

from atlas import paths
from atlas.errors import CorruptCheckpoint, ModelNotFound, SettingsError
from atlas.models.load import load_model
from atlas.models.pretrained import quiet

TEXT = "The capital of Ireland is Dublin."


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_frozen_and_computes_what_was_saved(family, tmp_path):
    model, tokenizer = tiny(family)
    lm = load_model(str(save_tiny(family, tmp_path / family)), device="cpu")
    prompt = tokenizer(TEXT, return_tensors="pt")
    assert lm.tokenizer(TEXT).input_ids == prompt.input_ids[0].tolist()
    assert torch.equal(lm.model(**prompt).logits, model(**prompt).logits)
    assert lm.objective == ("masked" if family in MASKED else "causal")
    assert (lm.name, lm.revision, lm.dtype, lm.device) == (family, None, "float32", "cpu")
    assert lm.architecture == family
    assert not lm.model.training
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


@pytest.mark.parametrize("family", ["gpt2", "bert"])  # both have dropout
def test_a_model_saved_in_training_mode_gives_the_same_answer_twice(family, tmp_path):
    model, tokenizer = tiny(family)
    model.train().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    lm = load_model(str(tmp_path))
    prompt = tokenizer(TEXT, return_tensors="pt")
    assert torch.equal(lm.model(**prompt).logits, lm.model(**prompt).logits)


def test_a_model_loads_in_bfloat16(bert):
    lm = load_model(str(bert), dtype="bfloat16")
    assert {parameter.dtype for parameter in lm.model.parameters()} == {torch.bfloat16}
    assert lm.dtype == "bfloat16"


def test_a_half_precision_checkpoint_loads_in_float32(tmp_path):
    model, tokenizer = tiny("llama")
    model.half().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    lm = load_model(str(tmp_path))
    assert {parameter.dtype for parameter in lm.model.parameters()} == {torch.float32}
    assert lm.model.config.dtype == torch.float32


def test_a_sharded_checkpoint_loads(tmp_path):
    model, tokenizer = tiny("llama")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    tokenizer.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    lm = load_model(str(tmp_path))
    prompt = tokenizer(TEXT, return_tensors="pt")
    assert torch.equal(lm.model(**prompt).logits, model(**prompt).logits)


def test_the_digest_is_that_of_the_weights_alone(bert, tmp_path):
    digest = load_model(str(bert)).weights_sha256
    content = hashlib.sha256((bert / "model.safetensors").read_bytes()).hexdigest()
    rows = json.dumps([["model.safetensors", content]]).encode()
    assert digest == hashlib.sha256(rows).hexdigest()
    (bert / "README.md").write_text("a card")
    renamed = bert.rename(tmp_path / "another name")
    assert load_model(str(renamed)).weights_sha256 == digest
    change_weights(renamed, lambda weights: weights["cls.predictions.bias"].add_(1))
    assert load_model(str(renamed)).weights_sha256 != digest


def test_rewriting_the_file_does_not_change_the_loaded_model(bert):
    lm = load_model(str(bert), device="cpu")
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    content = (bert / "model.safetensors").read_bytes()
    with (bert / "model.safetensors").open("r+b") as stream:
        stream.write(bytes(len(content)))
    assert all(torch.equal(before[name], tensor) for name, tensor in lm.model.state_dict().items())


def test_tied_weights_stay_tied(llama):
    change_config(llama, tie_word_embeddings=True)
    change_weights(llama, lambda weights: weights.pop("lm_head.weight"))
    lm = load_model(str(llama), device="cpu")
    assert lm.model.lm_head.weight is lm.model.get_input_embeddings().weight


def test_a_checkpoint_that_names_no_class_loads_by_its_model_type(bert, llama):
    for directory, objective in ((bert, "masked"), (llama, "causal")):
        change_config(directory, architectures=None)
        assert load_model(str(directory)).objective == objective


def test_a_pretraining_checkpoint_with_a_masked_head_loads(tmp_path):
    model, tokenizer = tiny("bert")
    transformers.BertForPreTraining(model.config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_model(str(tmp_path)).objective == "masked"


def test_loading_prints_nothing_and_leaves_the_settings_as_they_were(tmp_path, capfd):
    model, tokenizer = tiny("bert")
    transformers.BertForPreTraining(model.config).save_pretrained(tmp_path)  # has unused weights
    tokenizer.save_pretrained(tmp_path)
    capfd.readouterr()
    settings = transformers.utils.logging
    before = settings.get_verbosity(), settings.is_progress_bar_enabled(), warnings.filters[:]
    load_model(str(tmp_path))
    after = settings.get_verbosity(), settings.is_progress_bar_enabled(), warnings.filters[:]
    assert capfd.readouterr() == ("", "")
    assert before == after


def test_the_settings_are_as_they_were_also_after_an_error():
    settings = transformers.utils.logging
    verbosity = settings.get_verbosity()
    try:
        settings.set_verbosity(logging.INFO)
        settings.disable_progress_bar()
        with pytest.raises(ZeroDivisionError), quiet():
            raise ZeroDivisionError
        assert settings.get_verbosity() == logging.INFO
        assert not settings.is_progress_bar_enabled()
    finally:
        settings.set_verbosity(verbosity)
        settings.enable_progress_bar()


def test_attention_can_be_chosen(bert):
    assert load_model(str(bert)).model.config._attn_implementation == "sdpa"
    lm = load_model(str(bert), attention="eager")
    assert lm.model.config._attn_implementation == "eager"
    refused(bert, SettingsError, "flash", "eager or sdpa", attention="flash")


def test_a_missing_path_is_one_line_with_near_matches(tmp_path):
    (tmp_path / "SmolLM2.gguf").write_bytes(b"")
    refused(tmp_path / "SmolLM.gguf", ModelNotFound, "did you mean", "SmolLM2.gguf")
    refused(tmp_path / "other", ModelNotFound, "does not exist", "check the path")
    refused(tmp_path / "none" / "other", ModelNotFound, "no directory", str(tmp_path / "none"))


@pytest.mark.parametrize("name", ["", " ", "\0"])
def test_no_name_is_one_line(name):
    refused(name, ModelNotFound, "no model is named")


@pytest.mark.parametrize("name", ["two words", "a/b/c", "http://x/y", "line\nbreak"])
def test_a_name_that_cannot_be_a_hub_id_never_asks_the_hub(name, monkeypatch):
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", pytest.fail)
    refused(name, ModelNotFound, "does not exist")


def test_a_file_of_a_model_directory_names_the_directory(bert):
    refused(bert / "model.safetensors", ModelNotFound, "name its directory", repr(str(bert)))
    refused(bert / "config.json", ModelNotFound, "name its directory")


def test_a_file_of_another_kind_is_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    refused(tmp_path / "notes.txt", ModelNotFound, "not a GGUF file", "directory with safetensors")


def test_what_cannot_be_read_is_one_line(bert, monkeypatch):
    def forbid(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("atlas.models.load.weight_files", forbid)
    refused(bert, ModelNotFound, "cannot be read", "Permission denied")
    refused("a" * 300, ModelNotFound, "cannot be read", "too long")
    refused(os.devnull, ModelNotFound, "neither a directory nor a file")


@pytest.fixture
def embedded(bert, monkeypatch):
    """The tiny BERT in the embedded model's place, with its checksums."""
    sums = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(bert.iterdir())
    ]
    (bert / "SHA256SUMS").write_text("".join(sums))
    monkeypatch.setattr(paths, "EMBEDDED_MODEL", bert)
    return bert


def test_the_embedded_model_is_the_default(embedded):
    lm = load_model()
    assert (lm.name, lm.revision, lm.objective) == ("mini-bert", None, "masked")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_changed_embedded_file_is_refused_by_name(embedded, name):
    content = (embedded / name).read_bytes()
    (embedded / name).write_bytes(content[:-1] + b"~")
    refused("mini-bert", CorruptCheckpoint, repr(name), "checksum", "reinstall")
    (embedded / name).unlink()
    refused("mini-bert", CorruptCheckpoint, repr(name), "reinstall")


def test_missing_checksums_are_refused(embedded):
    (embedded / "SHA256SUMS").write_text("")
    refused("mini-bert", CorruptCheckpoint, "SHA256SUMS", "model.safetensors")
    (embedded / "SHA256SUMS").unlink()
    refused("mini-bert", CorruptCheckpoint, "SHA256SUMS")
