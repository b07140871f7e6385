"""Loading models: every family from a directory, and everything that must be refused."""

import hashlib
import json
import logging
import shutil
import struct
import time
import warnings
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import transformers
from huggingface_hub import errors as hub_errors
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, MASKED, save_tiny, tiny

from atlas import paths
from atlas.errors import (
    AtlasError,
    CorruptCheckpoint,
    ModelNotFound,
    SettingsError,
    UnsafeCheckpoint,
    UnsupportedArchitecture,
)
from atlas.models.device import choose_device
from atlas.models.load import load_model
from atlas.models.pretrained import quiet

TEXT = "The capital of Ireland is Dublin."


@pytest.fixture(scope="module")
def saved_bert(tmp_path_factory):
    return save_tiny("bert", tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def bert(saved_bert, tmp_path):
    return shutil.copytree(saved_bert, tmp_path / "bert")


@pytest.fixture
def llama(tmp_path):
    return save_tiny("llama", tmp_path / "llama")


def refused(name, kind, *parts, **settings):
    """Load, and check that the error is of `kind`, one line, and mentions all `parts`."""
    with pytest.raises(AtlasError) as caught:
        load_model(str(name), **settings)
    message = str(caught.value)
    assert type(caught.value) is kind, message
    assert "\n" not in message
    assert len(message) < 600
    for part in parts:
        assert part in message
    return message


def change_config(directory, **changes):
    path = directory / "config.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def change_weights(directory, change):
    path = directory / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


# --- what loads -----------------------------------------------------------------------------------


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


# --- dtype and device -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "int8", "", "Float32"])
def test_an_unknown_dtype_is_one_line(bert, dtype):
    refused(bert, SettingsError, repr(dtype), "float32 or bfloat16", dtype=dtype)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:", "cuda:-1", "cpu:0", "", "cuda:²"])
def test_an_unknown_device_is_one_line(bert, device):
    refused(bert, SettingsError, repr(device), "auto, cpu, cuda", device=device)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_this_machine_lacks_is_one_line(bert, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    refused(bert, SettingsError, repr(device), "not available", "cpu", device=device)


def test_a_card_beyond_the_last_is_one_line(bert, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    refused(bert, SettingsError, "cuda:2", "cuda:1", device="cuda:2")


def test_auto_prefers_cuda_then_mps_then_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"


def test_a_dtype_that_the_device_cannot_compute_in_is_one_line(bert, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **kwargs: False)
    parts = ("cuda", "bfloat16", "--dtype float32")
    refused(bert, SettingsError, *parts, dtype="bfloat16", device="auto")

    def refuse(*args, **kwargs):
        raise TypeError("BFloat16 is not supported on MPS")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", refuse)
    parts = ("mps", "bfloat16", "--dtype float32")
    refused(bert, SettingsError, *parts, dtype="bfloat16", device="mps")


# --- names ----------------------------------------------------------------------------------------


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


# --- the hub --------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, bert):
    """A hub whose `model_info` answers or raises `hub.answer`; downloads give the tiny BERT."""
    names = ("config.json", "model.safetensors", "tokenizer.json", "pytorch_model.bin")
    siblings = [SimpleNamespace(rfilename=name) for name in names]
    fake = SimpleNamespace(
        answer=SimpleNamespace(sha="c0ffee", siblings=siblings), calls=[], cached=None
    )

    def model_info(self, repository, *, revision=None, timeout=None):
        fake.calls.append((repository, revision, timeout))
        if isinstance(fake.answer, Exception):
            raise fake.answer
        return fake.answer

    def snapshot_download(repository, *, revision, allow_patterns, local_files_only=False):
        fake.calls.append((repository, revision, allow_patterns))
        if local_files_only:
            if fake.cached is None:
                raise hub_errors.LocalEntryNotFoundError("not\nhere")
            return str(fake.cached)
        return str(bert)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return fake


def refusal(kind):
    return kind("no\nsuch thing", response=SimpleNamespace(headers={}, request=None))


def test_a_hub_model_is_fetched_and_pinned_to_its_commit(hub):
    lm = load_model("owner/model@main")
    assert (lm.name, lm.revision) == ("owner/model", "c0ffee")
    (asked, downloaded) = hub.calls
    assert asked[:2] == ("owner/model", "main")
    assert asked[2] <= 10
    assert downloaded[:2] == ("owner/model", "c0ffee")
    assert "model.safetensors" in downloaded[2]
    assert not any("bin" in name or "*" in name for name in downloaded[2])


def test_an_unreachable_hub_is_one_line_that_names_the_offline_alternatives(hub):
    hub.answer = ConnectionError("[Errno -2] Name or service\nnot known")
    parts = ("cannot be reached", "local model directory", ".gguf", "mini-bert")
    refused("owner/model", ModelNotFound, "owner/model", *parts)


def test_the_real_client_gives_up_on_an_unreachable_hub_at_once(monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise OSError("[Errno -2] Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    started = time.monotonic()
    refused("owner/surely-not-in-any-cache", ModelNotFound, "cannot be reached")
    assert time.monotonic() - started < 5


def test_a_cached_hub_model_loads_when_the_hub_is_unreachable(hub, bert):
    hub.answer = ConnectionError("unreachable")
    hub.cached = bert.rename(bert.with_name("c0ffee"))
    lm = load_model("owner/model")
    assert (lm.name, lm.revision) == ("owner/model", "c0ffee")


def test_a_name_near_the_embedded_models_is_pointed_there(hub):
    hub.answer = ConnectionError("unreachable")
    refused("minibert", ModelNotFound, "did you mean 'mini-bert'?")


def test_a_hub_model_that_does_not_exist_is_one_line(hub):
    hub.answer = refusal(hub_errors.RepositoryNotFoundError)
    refused("owner/model", ModelNotFound, "owner/model", "check the name")
    hub.answer = refusal(hub_errors.RevisionNotFoundError)
    refused("owner/model@v9", ModelNotFound, "no revision 'v9'")
    hub.answer = refusal(hub_errors.GatedRepoError)
    refused("owner/model", ModelNotFound, "hf auth login")


@pytest.mark.parametrize(
    ("names", "kind", "part"),
    [
        (["config.json", "pytorch_model.bin"], UnsafeCheckpoint, "pickle"),
        (["model-Q4.gguf"], ModelNotFound, "model-Q4.gguf"),
        (["README.md"], ModelNotFound, "no model.safetensors"),
    ],
)
def test_a_hub_model_without_safetensors_is_not_downloaded(hub, names, kind, part):
    hub.answer.siblings = [SimpleNamespace(rfilename=name) for name in names]
    refused("owner/model", kind, part)
    assert len(hub.calls) == 1


# --- what a checkpoint may not be -----------------------------------------------------------------


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
    refused(bert, CorruptCheckpoint, "header promises")
    path.write_bytes(content[:20] + b"\xff\xff" + content[22:])
    refused(bert, CorruptCheckpoint, "damaged safetensors header")
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


def test_quantised_weights_and_adapters_are_refused(bert):
    change_config(bert, quantization_config={"quant_method": "gptq", "bits": 4})
    refused(bert, UnsupportedArchitecture, "quantised")
    (bert / "adapter_config.json").write_text("{}")
    refused(bert, UnsupportedArchitecture, "adapter", "merge")


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


# --- the embedded model ---------------------------------------------------------------------------


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
