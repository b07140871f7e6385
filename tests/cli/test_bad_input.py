"""`atlas index` on bad input: one line on stderr, an exit code, and no file created or changed."""

import os
from collections.abc import Callable
from pathlib import Path

import processes
import pytest
from dataset_files import CAPITAL, IRELAND, write
from invocation import MAIN, run
from model_directories import change_config
from refusals import Place, files, index, refused

from atlas.engine.quadrature import RULES
from atlas.engine.settings import DTYPES, METHODS


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--relation", "P63"], "no relation 'P63' in mine: did you mean P36 (capital)?"),
        (["--relation", "capitol"], "did you mean P36 (capital)?"),
        (["--relation", "zzz"], "no relation 'zzz' in mine: it has P36"),
        (["--data", "none.jsonl"], "no dataset at none.jsonl"),
        (["--rule", "gauss-legendre", "--points", "0"], "points must be at least 1, got 0"),
        (["--tolerance", "2"], "tolerance must lie between 0 and 1, got 2.0"),
        (["--tolerance", "nan"], "tolerance must lie between 0 and 1, got nan"),
        (["--max-evaluations", "1"], "max evaluations must be"),
        (["--score-floor", "-1"], "score floor must lie between 0 and the selection's ratio"),
        (["--score-floor", "0.3"], "score floor must lie between 0 and the selection's ratio 0.2"),
        (["--memory-budget", "nan"], "memory budget is nan"),
        (["--memory-budget", "inf"], "memory budget is inf"),
        (["--device", "quantum"], "quantum"),
        (["--model", "owner/no-such-model"], "hub cannot be reached: name a local model directory"),
        (["--model", "./none"], "'none' does not exist"),
        (["--model", ""], "no model is named"),
    ],
)
def test_an_option_that_cannot_be_used_is_one_line_and_leaves_no_file(
    place: Place, options: list[str], complaint: str
) -> None:
    assert complaint in refused(place, *index(place, *options))


@pytest.mark.parametrize(
    "options",
    [
        ["--limit", "-1"],
        ["--limit", "all"],
        ["--points", "many"],
        ["--points", "8"],  # the adaptive rule chooses them
        ["--rule", "gauss-legendre", "--max-evaluations", "50"],
        ["--method", "activation", "--tolerance", "0.1"],
        ["--memory-budget", "0"],
        ["--db", "."],
        ["--neuron", "3:117"],
    ],
)
def test_a_command_line_that_makes_no_sense_is_one_line_and_leaves_no_file(
    place: Place, options: list[str]
) -> None:
    line = refused(place, *index(place, *options), code=2)
    assert line.endswith("See `atlas index --help`.\n")


@pytest.mark.parametrize(
    ("options", "known"),
    [
        (["--rule", "simpson"], RULES),
        (["--method", "guess"], METHODS),
        (["--dtype", "float8"], DTYPES),
    ],
)
def test_an_unknown_name_is_answered_with_those_that_there_are(
    place: Place, options: list[str], known: tuple[str, ...]
) -> None:
    line = refused(place, *index(place, *options), code=2)
    assert all(name in line for name in known)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], "holds no facts"),
        ([CAPITAL], "holds no facts"),
        ([CAPITAL, IRELAND, '{"relation": "P36", "subject'], ":3: malformed JSON"),
        ([IRELAND, CAPITAL | {"template": "It is [Y]."}], ':2: template "It is [Y]." has no [X]'),
        ([CAPITAL | {"template": "[X] is it."}, IRELAND], ':1: template "[X] is it." has no [Y]'),
        ([IRELAND], ":1: relation P36 has 1 fact but no template"),
    ],
)
def test_a_dataset_that_cannot_be_read_is_one_line_with_file_and_line(
    place: Place, lines: list[str | dict[str, str]], complaint: str
) -> None:
    write(place.data, *lines)
    line = refused(place, *index(place))
    assert str(place.data) in line
    assert complaint in line


def test_an_empty_directory_of_facts_is_one_line(place: Place) -> None:
    (place.directory / "facts").mkdir()
    assert "facts" in refused(place, *index(place, "--data", str(place.directory / "facts")))


def _truncate(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _become_pickle(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def _become_unknown(model: Path) -> None:
    change_config(model, model_type="hal9000")


def _become_unsupported(model: Path) -> None:
    import transformers

    config = transformers.MambaConfig(
        hidden_size=8, num_hidden_layers=1, state_size=4, vocab_size=60
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(model)


@pytest.mark.parametrize(
    ("spoil", "complaints"),
    [
        (_truncate, ("model.safetensors", "truncated")),
        (_become_pickle, ("pytorch_model.bin", "pickle", "run any code")),
        (_become_unknown, ("hal9000",)),
        (_become_unsupported, ("mamba", "supported: ", "bert", "gpt2", "llama")),
        (lambda model: (model / "tokenizer.json").unlink(), ("tokenizer",)),
        (lambda model: (model / "config.json").write_text("{"), ("config.json",)),
    ],
)
def test_a_model_that_cannot_be_loaded_is_one_line_and_leaves_no_file(
    place: Place, spoil: Callable[[Path], object], complaints: tuple[str, ...]
) -> None:
    spoil(place.model)
    line = refused(place, *index(place))
    for complaint in complaints:
        assert complaint in line


def test_a_truncated_gguf_file_is_one_line_and_leaves_no_file(place: Place) -> None:
    from tiny_gguf import save_tiny_gguf

    path = place.directory / "tiny.gguf"
    save_tiny_gguf(path)
    path.write_bytes(path.read_bytes()[:-1000])
    line = refused(place, *index(place, "--model", str(path)))
    assert "tiny.gguf" in line
    assert "truncated" in line


def test_a_pickle_named_as_a_file_is_one_line_and_leaves_no_file(place: Place) -> None:
    path = place.directory / "weights.bin"
    path.write_bytes(b"\x80\x04N.")
    assert "pickle" in refused(place, *index(place, "--model", str(path)))


def test_a_model_named_wrongly_leaves_an_empty_directory_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("index", "--model", "./nonexistent")
    assert result.exit_code == 1
    assert result.stderr == ("Error: 'nonexistent' does not exist: check the path\n")
    assert os.listdir() == []


def test_the_interpreter_prints_nothing_of_its_own(place: Place) -> None:
    done = processes.run(MAIN, *index(place, "--rule", "riemann-left", "--points", "0"))
    assert done.stderr == "Error: points must be at least 1, got 0\n"
    assert (done.stdout, done.returncode) == ("", 1)


def test_a_disk_that_is_full_from_the_start_is_one_line_and_leaves_no_file(place: Place) -> None:
    before = files(place.directory)
    done = processes.run_on_full_disk(MAIN, *index(place), size=100_000)
    assert done.stderr.startswith("Error: the disk is full")
    assert done.stderr.count("\n") == 1
    assert (done.stdout, done.returncode) == ("", 1)
    assert files(place.directory) == before
