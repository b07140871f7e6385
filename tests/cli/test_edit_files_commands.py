"""`atlas edit export` and `atlas edit import`: edits as models and as files."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from invocation import run
from processes import run as run_python
from refusals import files
from safetensors.numpy import load_file, save_file
from stored_edits import Edited, build
from tiny_index import rows

from atlas.edits.applying import applied
from atlas.models.load import load_model

needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft is not installed"
)
QUESTION = "The capital of Ireland is [MASK]."


@pytest.fixture(scope="module")
def indexed_bert(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    """Edits 1 and 2, of Ireland and France."""
    edited = build(tmp_path_factory.mktemp("bert"), saved_bert)
    edited.store("P36-0", seed=1)
    edited.store("P36-1", seed=2)
    return edited


@pytest.fixture
def edited(indexed_bert: Edited, tmp_path: Path) -> Edited:
    (tmp_path / "place").mkdir()
    return indexed_bert.copied(tmp_path / "place" / "own.duckdb")


def _export(edited: Edited, *arguments: str) -> Any:
    return run("edit", "export", *arguments, "--model", str(edited.directory), on=edited)


def test_an_exported_model_answers_in_a_fresh_process_as_the_live_edited_one(
    edited: Edited, tmp_path: Path
) -> None:
    result = _export(edited, "1", "2", "--to", str(tmp_path / "model"))
    assert (result.stdout, result.exit_code) == ("", 0), result.output
    assert result.stderr.endswith(
        f"2 edits in {tmp_path / 'model'}: a model that loads with from_pretrained.\n"
    )
    code = """
        import sys, numpy, torch
        from transformers import AutoModelForMaskedLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
        model = AutoModelForMaskedLM.from_pretrained(sys.argv[1]).eval()
        with torch.no_grad():
            logits = model(**tokenizer(sys.argv[2], return_tensors="pt")).logits
        numpy.save(sys.argv[3], logits.numpy())
        assert "atlas" not in sys.modules
    """
    done = run_python(code, tmp_path / "model", QUESTION, tmp_path / "logits.npy")
    assert done.returncode == 0, done.stderr
    inputs = edited.lm.tokenizer(QUESTION, return_tensors="pt")
    with applied(edited.lm, edited.atlas.edits(1, 2)), torch.no_grad():
        live = edited.lm.model(**inputs).logits.numpy()
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), live, rtol=0, atol=1e-6)
    with torch.no_grad():
        assert np.abs(edited.lm.model(**inputs).logits.numpy() - live).max() > 1e-3


def test_a_directory_that_exists_is_kept_unless_forced(edited: Edited, tmp_path: Path) -> None:
    target = shutil.copytree(edited.directory, tmp_path / "model")
    before = files(tmp_path / "model")
    refused = _export(edited, "1", "--to", str(target))
    assert refused.exit_code == 1
    assert refused.stderr == (
        f"Error: {target} exists: name another directory, or have it replaced (--to DIR, --force)\n"
    )
    assert files(tmp_path / "model") == before
    assert _export(edited, "1", "--to", str(target), "--force").exit_code == 0
    assert files(tmp_path / "model") != before


def test_a_delta_file_goes_from_one_atlas_into_another(edited: Edited, tmp_path: Path) -> None:
    file = tmp_path / "edits.safetensors"
    result = run("edit", "export", "2", "1", "--delta", str(file), on=edited)
    assert result.exit_code == 0, result.output
    other = edited.copied(tmp_path / "other.duckdb")
    run("edit", "delete", "1", "2", on=other)
    result = run("edit", "import", str(file), on=other)
    assert (result.stdout, result.exit_code) == ("", 0)
    assert result.stderr == (
        "Edit 3: update by solve, France · P36 · Paris → Lima\n"
        "Edit 4: update by solve, Ireland · P36 · Dublin → Lima\n"
    )
    for ours, theirs in zip(other.atlas.edits(3, 4), edited.atlas.edits(2, 1), strict=True):
        assert ours.named_neurons == theirs.named_neurons
        np.testing.assert_array_equal(ours.deltas, theirs.deltas)
        assert (ours.weights_sha256, ours.fact_id) == (theirs.weights_sha256, theirs.fact_id)
    asked = ("--ask", QUESTION, "--model", str(edited.directory))
    here = run("edit", "apply", "1", *asked, on=edited).stdout
    assert run("edit", "apply", "4", *asked, on=other).stdout == here
    checked = ("--scope", "own", "--model", str(edited.directory))
    assert run("edit", "check", "4", *checked, on=other).exit_code == 0


def test_an_edit_of_a_model_that_the_atlas_does_not_hold_is_not_imported(
    edited: Edited, tmp_path: Path
) -> None:
    file = tmp_path / "edits.safetensors"
    assert run("edit", "export", "1", "--delta", str(file), on=edited).exit_code == 0
    other = edited.copied(tmp_path / "other.duckdb")
    run("edit", "delete", "1", "2", on=other)
    with other.atlas.writing() as connection:
        connection.execute("UPDATE models SET model_id = 'another'")
    result = run("edit", "import", str(file), on=other)
    assert (result.stdout, result.exit_code) == ("", 1)
    assert "(another): import it into an atlas of its model" in result.stderr
    assert result.stderr.count("\n") == 1
    with other.atlas.reading() as connection:
        assert connection.execute(
            "SELECT count(*) FROM edits WHERE state <> 'deleted'"
        ).fetchone() == (0,)


def test_importing_again_changes_nothing(edited: Edited, tmp_path: Path) -> None:
    file = tmp_path / "edits.safetensors"
    run("edit", "export", "1", "--delta", str(file), on=edited)
    result = run("edit", "import", str(file), on=edited)
    assert result.exit_code == 0
    assert result.stderr == (
        "Edit 1: update by solve, Ireland · P36 · Dublin → Lima (was there already)\n"
    )
    assert rows(edited.atlas.path, "SELECT edit_id FROM edits ORDER BY edit_id") == [(1,), (2,)]


def test_a_delta_file_that_exists_is_kept_unless_forced(edited: Edited, tmp_path: Path) -> None:
    file = tmp_path / "edits.safetensors"
    file.write_bytes(b"mine")
    refused = run("edit", "export", "1", "--delta", str(file), on=edited)
    assert (refused.exit_code, file.read_bytes()) == (1, b"mine")
    assert refused.stderr.startswith(f"Error: {file} exists: ")
    forced = run("edit", "export", "1", "--delta", str(file), "--force", on=edited)
    assert (forced.exit_code, file.read_bytes() != b"mine") == (0, True)


@pytest.mark.parametrize("damage", ["corrupted", "truncated", "foreign", "empty", "missing"])
def test_a_damaged_delta_file_is_one_line_and_nothing_is_stored(
    edited: Edited, tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "edits.safetensors"
    run("edit", "export", "1", "--delta", str(file), on=edited)
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    changed = {
        "corrupted": bytes(content),
        "truncated": bytes(content)[:-10],
        "foreign": (edited.directory / "model.safetensors").read_bytes(),
        "empty": b"",
    }
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(changed[damage])
    run("edit", "delete", "1", on=edited)
    result = run("edit", "import", str(file), on=edited)
    assert (result.stdout, result.exit_code) == ("", 1), result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert [edit.edit_id for edit in edited.atlas.edits()] == [2]


def test_exporting_asks_where_to_put_it(edited: Edited) -> None:
    for arguments in (
        ("1",),
        ("1", "--to", "a", "--delta", "b"),
        ("1", "--to", "a", "--adapter", "b"),
        ("1", "--to", "a", "--adapter", "b", "--delta", "c"),
    ):
        result = _export(edited, *arguments)
        assert result.exit_code == 2
        says = "Say where to with one of --to DIR, --adapter DIR and --delta FILE."
        assert says in result.stderr
    with pytest.raises(ValueError, match="give one of `to` and `adapter`"):
        edited.atlas.edit_export(1)


@pytest.mark.parametrize(
    ("named", "says"),
    [
        (("--model", "bert"), "leave the model out (--model PATH)"),
        (("--device", "cpu"), "leave the device out (--device auto)"),
        (
            ("--model", "bert", "--device", "cpu"),
            "leave the model and the device out (--model PATH, --device auto)",
        ),
    ],
)
def test_a_delta_file_needs_no_model_and_says_so(
    edited: Edited, tmp_path: Path, named: tuple[str, ...], says: str
) -> None:
    file = tmp_path / "edits.safetensors"
    result = run("edit", "export", "1", "--delta", str(file), *named, on=edited)
    assert (result.stdout, result.exit_code) == ("", 1)
    assert result.stderr == f"Error: a delta file is written without a model: {says}\n"
    assert not file.exists()


def test_an_adapter_goes_from_one_atlas_into_another(edited: Edited, tmp_path: Path) -> None:
    target = tmp_path / "adapter"
    result = _export(edited, "2", "1", "--adapter", str(target))
    assert (result.stdout, result.exit_code) == ("", 0), result.output
    assert result.stderr.endswith(
        f"2 edits in {target}: an adapter that loads with PeftModel.from_pretrained; "
        f"`atlas edit import {target}` reads it back.\n"
    )
    again = run("edit", "import", str(target), on=edited)
    assert again.stderr == (
        "Edit 2: update by solve, France · P36 · Paris → Lima (was there already)\n"
        "Edit 1: update by solve, Ireland · P36 · Dublin → Lima (was there already)\n"
    )
    other = edited.copied(tmp_path / "other.duckdb")
    run("edit", "delete", "1", "2", on=other)
    result = run("edit", "import", str(target), on=other)
    assert (result.stdout, result.exit_code) == ("", 0)
    assert result.stderr == (
        "Edit 3: update by solve, France · P36 · Paris → Lima\n"
        "Edit 4: update by solve, Ireland · P36 · Dublin → Lima\n"
    )
    for ours, theirs in zip(other.atlas.edits(3, 4), edited.atlas.edits(2, 1), strict=True):
        assert ours.digest == theirs.digest


@needs_peft
def test_a_model_with_the_adapter_answers_as_the_live_edited_one(
    edited: Edited, tmp_path: Path
) -> None:
    exported = edited.atlas.edit_export(1, 2, adapter=tmp_path / "adapter", lm=edited.lm)
    assert (exported.path, exported.edits) == (str(tmp_path / "adapter"), (1, 2))
    assert len(exported.overlaps) == len(
        edited.atlas.edit_export(1, 2, to=tmp_path / "model", lm=edited.lm).overlaps
    )
    merged = load_model(exported.path, device="cpu")
    inputs = edited.lm.tokenizer(QUESTION, return_tensors="pt")
    with applied(edited.lm, edited.atlas.edits(1, 2)), torch.no_grad():
        live = edited.lm.model(**inputs).logits
    with torch.no_grad():
        torch.testing.assert_close(merged.model(**inputs).logits, live, rtol=0, atol=1e-5)


def test_an_adapter_replaces_neither_a_model_nor_anything_unasked(
    edited: Edited, tmp_path: Path
) -> None:
    target = shutil.copytree(edited.directory, tmp_path / "model")
    before = files(tmp_path / "model")
    says = "exists: name another directory, or have it replaced (--adapter DIR, --force)"
    for force, expected in (
        ((), says),
        (("--force",), "holds something other than an adapter, so it is not replaced: name "),
    ):
        refused = _export(edited, "1", "--adapter", str(target), *force)
        assert refused.exit_code == 1
        assert refused.stderr.startswith(f"Error: {target} {expected}")
        assert refused.stderr.count("\n") == 1
    assert files(tmp_path / "model") == before


@pytest.mark.parametrize("damage", ["of another model", "foreign", "changed", "no adapter"])
def test_an_adapter_that_is_no_edit_of_this_model_is_one_line_and_nothing_is_stored(
    edited: Edited, tmp_path: Path, damage: str
) -> None:
    target = tmp_path / "adapter"
    edited.atlas.edit_export(1, adapter=target, lm=edited.lm)
    edited.atlas.edit_delete(1)
    config, weights = target / "adapter_config.json", target / "adapter_model.safetensors"
    if damage == "of another model":
        with edited.atlas.writing() as connection:
            connection.execute("UPDATE models SET model_id = 'another'")
        says = "the edit was made for the model with weights"
    elif damage == "foreign":
        save_file(load_file(weights), weights)
        says = f"{target} does not say which edits it holds"
    elif damage == "changed":
        config.write_text(config.read_text().replace('"lora_alpha": ', '"lora_alpha": 1'))
        says = f"the adapter in {target} has the strength"
    else:
        config.unlink()
        says = f"{target} holds no adapter"
    result = run("edit", "import", str(target), on=edited)
    assert (result.stdout, result.exit_code) == ("", 1), result.output
    assert result.stderr.startswith(f"Error: {says}")
    assert result.stderr.count("\n") == 1
    assert [edit.edit_id for edit in edited.atlas.edits()] == [2]
