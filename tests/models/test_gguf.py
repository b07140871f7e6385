"""GGUF: conversion, its cache, and files that are damaged."""

import contextlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_gguf import save_tiny_gguf
from tiny_models import save_tiny

from atlas.errors import CorruptCheckpoint, ModelError, ModelNotFound, UnsupportedArchitecture
from atlas.models import gguf as gguf_files
from atlas.models.checkpoint import sha256_of_file
from atlas.models.gguf_header import check_gguf
from atlas.models.load import load_model

TEXT = "The capital of Ireland is Dublin in Ouagadougou."


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tiny_gguf(tmp_path):
    save_tiny_gguf(tmp_path / "tiny.gguf")
    return tmp_path / "tiny.gguf"


def entries(cache):
    return sorted(entry for entry in (cache / "gguf").iterdir() if entry.is_dir())


def logits(model, tokenizer):
    with torch.no_grad():
        return model(**tokenizer(TEXT, return_tensors="pt")).logits


@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied head"])
def test_a_converted_model_computes_what_the_original_computes(tmp_path, tied):
    model, tokenizer = save_tiny_gguf(tmp_path / "tiny.gguf", tied=tied)
    lm = load_model(str(tmp_path / "tiny.gguf"))
    assert lm.tokenizer(TEXT).input_ids == tokenizer(TEXT).input_ids
    torch.testing.assert_close(logits(lm.model, lm.tokenizer), logits(model, tokenizer))
    assert (lm.objective, lm.architecture, lm.layers) == ("causal", "llama", 2)
    assert lm.name == "tiny.gguf"
    assert lm.weights_sha256 == sha256_of_file(tmp_path / "tiny.gguf")


def test_quantised_weights_become_the_floats_that_they_stand_for(tmp_path):
    model, tokenizer = save_tiny_gguf(tmp_path / "tiny.gguf", quantised=True)
    lm = load_model(str(tmp_path / "tiny.gguf"))
    assert {parameter.dtype for parameter in lm.model.parameters()} == {torch.float32}
    assert not hasattr(lm.model.config, "quantization_config")
    written = model.model.layers[0].mlp.down_proj.weight
    read = lm.model.model.layers[0].mlp.down_proj.weight
    step = written.abs().max() / 127
    assert 0 < (written - read).abs().max() <= step
    direct, _ = gguf_files.read_gguf(tmp_path / "tiny.gguf")
    assert torch.equal(logits(direct, tokenizer), logits(lm.model, lm.tokenizer))


def test_a_gguf_file_loads_in_bfloat16(tiny_gguf):
    lm = load_model(str(tiny_gguf), dtype="bfloat16")
    assert {parameter.dtype for parameter in lm.model.parameters()} == {torch.bfloat16}


def test_a_file_is_converted_once_whatever_its_name(tiny_gguf, cache, monkeypatch):
    first = load_model(str(tiny_gguf))
    renamed = tiny_gguf.rename(tiny_gguf.with_name("other"))
    monkeypatch.setattr(gguf_files, "read_gguf", pytest.fail)
    second = load_model(str(renamed))
    assert torch.equal(logits(first.model, first.tokenizer), logits(second.model, second.tokenizer))
    assert len(entries(cache)) == 1


def test_other_weights_are_another_entry(tmp_path, cache):
    for seed in (0, 1):
        save_tiny_gguf(tmp_path / "tiny.gguf", seed=seed)
        load_model(str(tmp_path / "tiny.gguf"))
    assert len(entries(cache)) == 2


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_truncated_cache_entry_is_built_again(tiny_gguf, cache, name):
    expected = load_model(str(tiny_gguf))
    (entry,) = entries(cache)
    content = (entry / name).read_bytes()
    (entry / name).write_bytes(content[: len(content) // 2])
    again = load_model(str(tiny_gguf))
    assert (entry / name).read_bytes() == content
    assert torch.equal(
        logits(expected.model, expected.tokenizer), logits(again.model, again.tokenizer)
    )


def test_what_a_killed_converter_left_behind_is_removed(tiny_gguf, cache):
    digest = sha256_of_file(tiny_gguf)
    nobody = 2**22 + 1  # more than any process's number
    litter = cache / "gguf" / f".{digest}-2.{nobody}-0.unfinished"
    litter.mkdir(parents=True)
    (litter / "model.safetensors").write_bytes(b"half")
    load_model(str(tiny_gguf))
    assert [entry.name for entry in entries(cache)] == [f"{digest}-2"]


def test_a_failed_conversion_leaves_nothing_behind(tiny_gguf, cache, monkeypatch):
    def fail(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf_files, "read_gguf", fail)
    with pytest.raises(ModelError, match=r"No space left on device.*ATLAS_CACHE") as caught:
        load_model(str(tiny_gguf))
    assert "\n" not in str(caught.value)
    assert entries(cache) == []


def test_two_processes_convert_the_same_file_once(tiny_gguf, cache, tmp_path):
    program = (
        "import sys; from pathlib import Path; from atlas.models import gguf\n"
        "build = gguf._build\n"
        "def counted(*args): print('built'); build(*args)\n"
        "gguf._build = counted\n"
        "gguf.converted(Path(sys.argv[1]))"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tiny_gguf)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [worker.communicate(timeout=300) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    assert "".join(out for out, _ in outputs) == "built\n"
    assert [err for _, err in outputs] == ["", ""]
    assert len(entries(cache)) == 1


def test_an_unwritable_cache_is_one_line_that_names_the_setting(tiny_gguf, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match="set ATLAS_CACHE to another directory") as caught:
        load_model(str(tiny_gguf))
    assert "\n" not in str(caught.value)


def test_the_cache_lies_where_the_environment_says(monkeypatch, tmp_path):
    assert gguf_files.cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("ATLAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert gguf_files.cache_directory() == tmp_path / "xdg" / "knowledge-neuron-atlas"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    expected = tmp_path / "home" / ".cache" / "knowledge-neuron-atlas"
    assert gguf_files.cache_directory() == expected


def test_a_tokenizer_beside_the_file_is_not_taken_for_its_own(tiny_gguf):
    save_tiny("bert", tiny_gguf.parent)
    lm = load_model(str(tiny_gguf))
    assert lm.tokenizer.tokenize("The capital") == ["The", "Ġcapital"]


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_refused_with_one_line(tiny_gguf, cache, share):
    content = tiny_gguf.read_bytes()
    tiny_gguf.write_bytes(content[: max(8, int(share * len(content)))])
    with pytest.raises(CorruptCheckpoint, match="truncated") as caught:
        load_model(str(tiny_gguf))
    assert "\n" not in str(caught.value)
    assert "tiny.gguf" in str(caught.value)
    assert not cache.exists()


def test_random_damage_to_the_header_never_escapes_as_another_error(tiny_gguf):
    content = tiny_gguf.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in random.integers(4, 4000, size=3):
            damaged[place] = random.integers(256)
        tiny_gguf.write_bytes(damaged)
        with contextlib.suppress(ModelError):  # many a byte does not matter
            check_gguf(tiny_gguf)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a GGUF file"),
        (b"GGML....", "not a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    ],
    ids=["empty", "another format", "Git LFS pointer"],
)
def test_a_file_that_is_not_gguf_is_refused_with_one_line(tmp_path, content, message):
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(ModelNotFound, match=message) as caught:
        load_model(str(tmp_path / "model.gguf"))
    assert "\n" not in str(caught.value)


def test_an_architecture_that_cannot_be_converted_is_one_line(tiny_gguf, cache):
    # Same length, so that the lengths before the texts stay right.
    tiny_gguf.write_bytes(tiny_gguf.read_bytes().replace(b"llama", b"lamma"))
    with pytest.raises(UnsupportedArchitecture, match="lamma") as caught:
        load_model(str(tiny_gguf))
    assert "\n" not in str(caught.value)
    assert entries(cache) == []


def test_a_tensor_type_that_is_not_known_is_one_line(tiny_gguf):
    content = tiny_gguf.read_bytes()
    name = b"output_norm.weight"
    place = content.index(name) + len(name) + 4 + 8  # behind the number of dimensions and its one
    tiny_gguf.write_bytes(content[:place] + (250).to_bytes(4, "little") + content[place + 4 :])
    with pytest.raises(UnsupportedArchitecture, match="type \\(250\\)") as caught:
        load_model(str(tiny_gguf))
    assert "\n" not in str(caught.value)


def test_loading_a_gguf_file_prints_nothing(tiny_gguf, capfd):
    load_model(str(tiny_gguf))
    assert capfd.readouterr() == ("", "")
