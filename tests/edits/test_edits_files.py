"""Edits in files: they come back as they were, or are refused; exported models load elsewhere."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from edit_models import ENCODED, changed, language_model, random_edit, snapshot
from safetensors.numpy import save_file
from safetensors.torch import load_file

import atlas
from atlas.edits.delta_files import read_delta, write_delta
from atlas.edits.model_export import export_model
from atlas.errors import EditError

PLAIN = """
import json, sys
import torch, transformers
transformers.utils.logging.disable_progress_bar()
for kind, directory, ids in json.load(sys.stdin):
    model = getattr(transformers, kind).from_pretrained(directory, local_files_only=True)
    transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(ids)).logits.float()
    open(directory + "/logits", "wb").write(logits.numpy().tobytes())
assert "atlas" not in sys.modules
"""
EXPORTED = (("bert", "float32"), ("gpt2", "float32"), ("llama", "bfloat16"))


def test_an_exported_model_is_the_live_edited_one_to_plain_transformers(tmp_path: Path) -> None:
    live, asked = {}, []
    for family, dtype in EXPORTED:
        lm = language_model(family, dtype)
        edits, before = [random_edit(lm, 1), random_edit(lm, 2)], snapshot(lm)
        ids = (torch.tensor(ENCODED) % lm.model.config.vocab_size).tolist()
        directory = export_model(lm, edits, tmp_path / family)
        assert not changed(lm, before)
        with atlas.applied(lm, edits), torch.no_grad():
            live[directory] = lm.model(input_ids=torch.tensor(ids)).logits.float().numpy()
            edited = snapshot(lm)
        kind = "AutoModelForMaskedLM" if lm.objective == "masked" else "AutoModelForCausalLM"
        asked.append((kind, str(directory), ids))
        for name, weight in load_file(directory / "model.safetensors").items():
            assert weight.dtype == getattr(torch, dtype)
            assert torch.equal(weight, edited[name]), name
    fresh = [sys.executable, "-c", PLAIN]
    subprocess.run(fresh, check=True, timeout=300, input=json.dumps(asked), text=True)
    for directory, logits in live.items():
        there = np.frombuffer((directory / "logits").read_bytes(), np.float32)
        np.testing.assert_allclose(there.reshape(logits.shape), logits, rtol=0, atol=1e-6)


def test_an_exported_model_differs_in_the_edited_columns_alone(tmp_path: Path) -> None:
    lm = language_model("bert")
    edit = random_edit(lm, 1)
    base = load_file(export_model(lm, [], tmp_path / "base") / "model.safetensors")
    edited = load_file(export_model(lm, edit, tmp_path / "edited") / "model.safetensors")
    assert base.keys() == edited.keys()
    columns = {
        (name, column)
        for name in base
        for column in (base[name] != edited[name]).nonzero()[:, -1].tolist()
    }
    assert columns == {
        (f"bert.encoder.layer.{layer}.output.dense.weight", neuron)
        for layer, neuron in edit.named_neurons
    }


def test_an_export_replaces_only_a_model_and_only_with_force(tmp_path: Path) -> None:
    lm, edit = language_model("bert"), random_edit(language_model("bert"), 1)
    target = export_model(lm, edit, tmp_path / "model")
    with pytest.raises(EditError, match="have it replaced"):
        export_model(lm, edit, target)
    before = (target / "model.safetensors").read_bytes()
    export_model(lm, [], target, force=True)
    assert (target / "model.safetensors").read_bytes() != before
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "thesis.txt").write_text("years of work")
    with pytest.raises(EditError, match="something other than a model"):
        export_model(lm, edit, papers, force=True)
    assert (papers / "thesis.txt").read_text() == "years of work"
    with pytest.raises(EditError, match="is a file"):
        export_model(lm, edit, papers / "thesis.txt", force=True)
    with pytest.raises(EditError, match="no directory"):
        export_model(lm, edit, tmp_path / "nowhere" / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "papers"]


def test_a_failed_export_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = language_model("bert")
    before = snapshot(lm)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lm.tokenizer, "save_pretrained", full)
    with pytest.raises(EditError, match=r"cannot be written: .*No space left"):
        export_model(lm, random_edit(lm, 1), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    assert not changed(lm, before)


def test_a_delta_file_gives_the_same_edits_back(tmp_path: Path) -> None:
    lm = language_model("gpt2")
    edits = [random_edit(lm, 1), random_edit(lm, 2, neurons=1)]
    path = write_delta(tmp_path / "edits.safetensors", edits)
    found = read_delta(path)
    assert [edit.digest for edit in found] == [edit.digest for edit in edits]
    for ours, theirs in zip(edits, found, strict=True):
        assert np.array_equal(ours.deltas, theirs.deltas)
        assert ours.named_neurons == theirs.named_neurons
        assert theirs.new_object == "Galway"
        assert theirs.edit_id is None
    assert path.stat().st_mode & 0o044 == 0o044
    with pytest.raises(EditError, match="have it replaced"):
        write_delta(path, edits)
    write_delta(path, edits[:1], force=True)
    assert len(read_delta(path)) == 1
    with pytest.raises(EditError, match="no edit to write"):
        write_delta(tmp_path / "none", [])
    with pytest.raises(EditError, match="cannot be written"):
        write_delta(tmp_path / "nowhere" / "edits", edits)


def test_every_truncation_and_every_flipped_byte_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "edits.safetensors"
    lm = language_model("bert")
    sound = write_delta(path, [random_edit(lm, 1, neurons=2)]).read_bytes()
    draw = np.random.default_rng(0)
    for cut in draw.integers(0, len(sound), 60):
        path.write_bytes(sound[:cut])
        with pytest.raises(EditError) as caught:
            read_delta(path)
        assert "\n" not in str(caught.value)
    expected = read_delta(write_delta(tmp_path / "other", [random_edit(lm, 1, neurons=2)]))[0]
    for place in draw.integers(0, len(sound), 300):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(damaged)
        with contextlib.suppress(EditError):
            # what is read all the same is sound: the seconds it took do not decide an edit
            assert read_delta(path)[0].digest == expected.digest


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    save_file({"weight": np.zeros(3, np.float32)}, model)
    with pytest.raises(EditError, match="holds no edits"):
        read_delta(model)
    with pytest.raises(EditError, match="no file"):
        read_delta(tmp_path / "nothing")
    (tmp_path / "text").write_text("edits")
    with pytest.raises(EditError, match="no safetensors file"):
        read_delta(tmp_path / "text")
