"""The model of a run, found again: where it was, where the environment says, or not at all."""

import shutil
from pathlib import Path

import pytest
from invocation import run
from model_directories import change_config, change_json
from tiny_index import CHEAP, indexed, on, rows, tiny_dataset

from atlas.atlas import open_atlas
from atlas.edits.applying import applied
from atlas.edits.delta_files import read_delta, write_delta
from atlas.edits.making.make import make_erase
from atlas.edits.making.settings import EditSettings
from atlas.edits.stored import read_edits
from atlas.errors import EditError, ModelError, ModelNotFound, UnknownIdentity
from atlas.indexing.load_run_model import load_run_model
from atlas.indexing.run_model import RunModel, edit_model, selection_model
from atlas.models.load import load_model
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


def p_by_run(path: Path) -> dict[str, list[float]]:
    """Every P, by run and in the order of the prompts."""
    sql = "SELECT run_id, list(p_answer ORDER BY prompt_id) FROM prompt_results GROUP BY ALL"
    return {run_id: list(found) for run_id, found in rows(path, sql)}


@pytest.mark.parametrize("mended", ["config.json", "tokenizer_config.json"])
def test_a_mended_configuration_is_measured_anew(moved: Path, tmp_path: Path, mended: str) -> None:
    """The case same-weights-other-config: it was "already measured", and the old numbers stayed."""
    mine = tmp_path / "models" / "mine"
    ((old, before),) = p_by_run(moved).items()
    if mended == "config.json":
        change_config(mine, layer_norm_eps=0.5)
    else:
        change_json(mine / mended, model_max_length=30)
    indexed(moved, on(mine, integration=CHEAP), DATASET)
    after = p_by_run(moved)
    assert after.pop(old) == before
    fresh = tmp_path / "fresh.duckdb"
    indexed(fresh, on(mine, integration=CHEAP), DATASET)
    assert after == p_by_run(fresh)
    assert (next(iter(after.values())) == before) == (mended != "config.json")


def test_a_run_is_asked_of_the_model_that_it_measured_alone(moved: Path, tmp_path: Path) -> None:
    wanted = wanted_of(moved)
    mine = tmp_path / "models" / "mine"
    with pytest.raises(ModelError, match=r"is loaded with eager attention, .* with sdpa: load it"):
        open_atlas(moved)._model(
            load_model(str(mine), device="cpu", attention="eager"),
            wanted,
            "cpu",
            lambda event: None,
        )
    rounded = load_model(str(mine), "bfloat16", "cpu")
    with pytest.raises(ModelError, match=r"loaded in bfloat16, .* measured it in float32: load it"):
        open_atlas(moved)._model(rounded, wanted, "cpu", lambda event: None)
    change_config(mine, layer_norm_eps=0.5)
    with pytest.raises(ModelError, match=r"has the weights of .* but another config\.json: name"):
        load_run_model(wanted, device="cpu")


def test_an_edit_is_of_a_configuration_as_much_as_of_weights(moved: Path, tmp_path: Path) -> None:
    mine, atlas = tmp_path / "models" / "mine", open_atlas(moved)
    lm = load_model(str(mine), device="cpu")
    settings = EditSettings(neurons=2)
    edit = make_erase(lm, atlas, "P36-0", settings).edit
    assert edit.model_identity == lm.identity
    file = write_delta(tmp_path / "edit.safetensors", [edit])
    assert read_delta(file)[0].model_identity == lm.identity
    change_config(mine, layer_norm_eps=0.5)
    other = load_model(str(mine), device="cpu")
    with (
        pytest.raises(EditError, match=r"with another config\.json: load that"),
        applied(other, edit),
    ):
        pass
    with pytest.raises(EditError, match=r"with another config\.json than mine has"):
        make_erase(other, atlas, "P36-0", settings)


def test_a_model_of_unknown_identity_is_used_and_said_to_be_so(moved: Path, tmp_path: Path) -> None:
    """Old atlases compare the weights alone, as they always did, and are not taken for more."""
    atlas, mine = open_atlas(moved), tmp_path / "models" / "mine"
    lm = load_model(str(mine), device="cpu")
    number = make_erase(lm, atlas, "P36-0", EditSettings(neurons=2)).edit.edit_id
    with atlas.writing() as connection:
        connection.execute("UPDATE runs SET model_identity = NULL")
        connection.execute("UPDATE edits SET model_identity = NULL")
    with pytest.warns(UnknownIdentity, match="only its weights are known to be the same"):
        load_run_model(wanted_of(moved), device="cpu")
    with atlas.reading() as connection:
        (edit,) = read_edits(connection, [number or 0])
        wanted = edit_model(connection, edit.model_id, edit.model_identity, edit.run_id)
    assert wanted.identity is None
    with pytest.warns(UnknownIdentity), applied(lm, edit):
        pass
