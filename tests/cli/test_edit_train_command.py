"""`atlas edit train`, and an edit by the network that it made."""

import csv
import io
from pathlib import Path

import pytest
from answers import rows_of, summary_of
from invocation import run
from stored_edits import Edited, build
from tiny_index import tiny_dataset

from atlas.edits.network import training


@pytest.fixture(autouse=True)
def little_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "TRIED", 4)


@pytest.fixture(scope="module")
def edited(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    return build(tmp_path_factory.mktemp("train"), saved_bert, tiny_dataset(2, 9))


BRIEF = ("--edits", "8", "--steps", "2")


def test_the_network_is_made_told_of_and_edits(edited: Edited) -> None:
    model = ("--model", str(edited.directory))
    update = ("edit", "update", "P36-0", "--to", "Paris", "--method", "hypernetwork", *model)
    result = run(*update, on=edited)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "there is no hypernetwork" in line
    assert "atlas edit train" in line
    shown = run("edit", "train", *BRIEF, *model, on=edited)
    assert shown.exit_code == 0, shown.output
    said = " ".join((shown.stdout + shown.stderr).split())
    assert "atlas.hypernetwork.safetensors" in said
    assert "Learnt from 8 edits in 2 steps with seed 0" in said
    assert "--method hypernetwork" in said
    made = run(*update, on=edited)
    assert made.exit_code == 0, made.output
    assert "update by hypernetwork" in made.stdout


def test_three_formats_say_the_same(edited: Edited) -> None:
    arguments = ("edit", "train", *BRIEF, "--model", str(edited.directory))
    found = run(*arguments, "--format", "json", on=edited).stdout
    assert [row["part"] for row in rows_of(found)] == ["learning", "choosing", "unseen"]
    assert summary_of(found)["steps"] == 2
    table = list(csv.DictReader(io.StringIO(run(*arguments, "--format", "csv", on=edited).stdout)))
    assert [row["part"] for row in table] == ["learning", "choosing", "unseen"]
    assert float(table[0]["success"]) == rows_of(found)[0]["success"]
