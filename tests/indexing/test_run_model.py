"""The model of a run, found again: where it was, where the environment says, or not at all."""

import shutil
from pathlib import Path

import pytest
from invocation import run
from tiny_index import CHEAP, indexed, on, rows, tiny_dataset

from atlas.errors import ModelError, ModelNotFound
from atlas.indexing.load_run_model import load_run_model
from atlas.indexing.run_model import RunModel, selection_model
from atlas.store.atlas_file import open_file

DATASET = tiny_dataset(relations=1, facts=2)


@pytest.fixture
def moved(tmp_path: Path, saved_bert: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An atlas of a model in a directory that is not the working directory."""
    shutil.copytree(saved_bert, tmp_path / "models" / "mine")
    path = tmp_path / "atlas.duckdb"
    indexed(path, on(tmp_path / "models" / "mine", integration=CHEAP), DATASET)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("ATLAS_MODEL", raising=False)
    return path


def wanted_of(path: Path) -> RunModel:
    """The model of the only selection."""
    with open_file(path).reading() as connection:
        (selection,) = connection.execute("SELECT selection_id FROM selections").fetchone() or ("",)
        return selection_model(connection, selection)


def test_a_model_is_found_where_it_was_indexed(moved: Path) -> None:
    assert load_run_model(wanted_of(moved), device="cpu").name == "mine"


def test_the_command_line_needs_no_model_option_either(moved: Path) -> None:
    asked = ("query", "--interference", "Ireland:P36", "--measure", "--db", str(moved))
    result = run(*asked)
    assert "is not in this directory" not in result.stderr


def test_the_environment_says_where_it_is_now(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = (tmp_path / "models" / "mine").rename(tmp_path / "now")
    with pytest.raises(ModelNotFound, match=r"nor where it was, .*mine: name its directory"):
        load_run_model(wanted_of(moved), device="cpu")
    monkeypatch.setenv("ATLAS_MODEL", str(now))
    assert load_run_model(wanted_of(moved), device="cpu").name == "now"


def test_a_place_that_holds_other_weights_by_now_is_refused(
    moved: Path, tmp_path: Path, saved_gpt2: Path
) -> None:
    shutil.rmtree(tmp_path / "models" / "mine")
    shutil.copytree(saved_gpt2, tmp_path / "models" / "mine")
    with pytest.raises(ModelError, match="has weights"):
        load_run_model(wanted_of(moved), device="cpu")


def test_an_index_from_elsewhere_moves_the_hint_and_nothing_else(
    moved: Path, tmp_path: Path
) -> None:
    shutil.copytree(tmp_path / "models" / "mine", tmp_path / "copied")
    before = rows(moved, "SELECT * EXCLUDE (path) FROM models")
    indexed(moved, on(tmp_path / "copied", integration=CHEAP), DATASET)
    assert rows(moved, "SELECT path FROM models") == [(str(tmp_path / "copied"),)]
    assert rows(moved, "SELECT * EXCLUDE (path) FROM models") == before
