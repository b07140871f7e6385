"""Bad input: one line on stderr, an exit code, and nothing created, changed or half-written."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import processes
import pytest
from dataset_files import CAPITAL, FRANCE, IRELAND, write
from invocation import run
from model_directories import change_config
from synthetic import Synthetic

from atlas.store import connection

COMMANDS = (
    ("index",),
    ("query", "--hubs"),
    ("select",),
    ("sql", "SELECT sum(score) FROM attributions"),
    ("info",),
)


@dataclass
class Place:
    """A directory that holds a dataset and a model, all in order."""

    directory: Path
    model: Path
    data: Path = field(init=False)

    def __post_init__(self) -> None:
        self.data = write(self.directory / "mine.jsonl", CAPITAL, IRELAND, FRANCE)

    @property
    def db(self) -> Path:
        """Where an atlas may be made."""
        return self.directory / "atlas.duckdb"


@pytest.fixture
def place(tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place to index in; the hub is out of reach and the cache of conversions is elsewhere."""

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("[Errno -2] Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path.with_name(f"{tmp_path.name}-cache")))
    return Place(tmp_path, bert)


def refused(place: Place, *arguments: str, code: int = 1) -> str:
    """Run a command, and check that it fails with one line and changes no file; the line."""
    before = _files(place.directory)
    result = run(*arguments)
    assert result.stderr.startswith("Error: "), result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("\n")
    assert "Traceback" not in result.stderr
    assert (result.stdout, result.exit_code) == ("", code)
    assert _files(place.directory) == before
    return result.stderr


def _files(directory: Path) -> dict[Path, bytes | None]:
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(directory.rglob("*"))
    }


def index(place: Place, *options: str) -> tuple[str, ...]:
    """`atlas index` of the place; later options override earlier ones."""
    where = ("--data", str(place.data), "--db", str(place.db))
    return ("index", "--model", str(place.model), "--device", "cpu", *where, *options)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--relation", "P63"], "no relation 'P63' in mine: did you mean P36 (capital)?"),
        (["--relation", "capitol"], "did you mean P36 (capital)?"),
        (["--relation", "zzz"], "no relation 'zzz' in mine: it has P36"),
        (["--data", "none.jsonl"], "no dataset at none.jsonl"),
        (["--points", "0"], "points must be at least 1, got 0"),
        (["--rule", "simpson"], "unknown rule 'simpson'; choose one of adaptive,"),
        (["--tolerance", "2"], "tolerance must lie between 0 and 1, got 2.0"),
        (["--tolerance", "nan"], "tolerance must lie between 0 and 1, got nan"),
        (["--max-evaluations", "1"], "max evaluations must be"),
        (["--score-floor", "-1"], "score floor must lie between 0 and the selection's ratio"),
        (["--score-floor", "0.3"], "score floor must lie between 0 and the selection's ratio 0.2"),
        (["--method", "guess"], "unknown method 'guess'; choose one of integrated-gradients,"),
        (["--memory-budget", "nan"], "memory budget is nan"),
        (["--memory-budget", "inf"], "memory budget is inf"),
        (["--dtype", "float8"], "float8"),
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
        ["--limit", "0"],
        ["--limit", "all"],
        ["--points", "many"],
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
    assert "facts" in refused(place, *index(place, "--pararel", str(place.directory / "facts")))


def _truncate(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _become_pickle(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def _become_unknown(model: Path) -> None:
    change_config(model, model_type="hal9000")


def _become_unsupported(model: Path) -> None:
    import transformers

    config = transformers.CTRLConfig(n_embd=8, dff=8, n_layer=1, n_head=2, vocab_size=60)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(model)


@pytest.mark.parametrize(
    ("spoil", "complaints"),
    [
        (_truncate, ("model.safetensors", "truncated")),
        (_become_pickle, ("pytorch_model.bin", "pickle", "run any code")),
        (_become_unknown, ("hal9000",)),
        (_become_unsupported, ("ctrl", "supported: ", "bert", "gpt2", "llama")),
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


def on(place: Place, command: tuple[str, ...]) -> tuple[str, ...]:
    """A command with the place's atlas."""
    return index(place) if command == ("index",) else (*command, "--db", str(place.db))


def _foreign(place: Place, _: Synthetic) -> None:
    place.db.write_bytes(b"a picture of an atlas" * 1000)


def _other(place: Place, _: Synthetic) -> None:
    with duckdb.connect(str(place.db)) as con:
        con.execute("CREATE TABLE recipes (name VARCHAR)")


def _newer(place: Place, asked: Synthetic) -> None:
    shutil.copy(asked.atlas.path, place.db)
    with duckdb.connect(str(place.db)) as con:
        con.execute("UPDATE alembic_version SET version_num = '9999'")


def _truncated(place: Place, asked: Synthetic) -> None:
    place.db.write_bytes(asked.atlas.path.read_bytes()[:20_000])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_foreign, "is not a DuckDB file"),
        (_other, "is a DuckDB file of something else"),
        (_newer, "has schema revision 9999"),
        (_truncated, "truncated or damaged"),
    ],
)
def test_a_file_that_is_no_atlas_of_this_version_is_one_line_and_stays_as_it_is(
    place: Place,
    asked: Synthetic,
    spoil: Callable[[Place, Synthetic], None],
    complaint: str,
    command: tuple[str, ...],
) -> None:
    spoil(place, asked)
    assert complaint in refused(place, *on(place, command))


@pytest.mark.parametrize("command", COMMANDS[1:], ids=" ".join)
def test_a_missing_atlas_is_one_line_and_is_not_created(
    place: Place, command: tuple[str, ...]
) -> None:
    line = refused(place, *on(place, command))
    assert line.startswith(f"Error: no atlas at {place.db}: run `atlas index`")


def test_an_atlas_in_a_missing_directory_is_one_line(place: Place) -> None:
    missing = place.directory / "no" / "such" / "atlas.duckdb"
    assert str(missing) in refused(place, *index(place, "--db", str(missing)))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_atlas_that_another_process_holds_is_one_line_with_its_number(
    place: Place, asked: Synthetic, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 1e9)  # so that nobody waits for it
    shutil.copy(asked.atlas.path, place.db)
    holder = processes.start(
        """
        import sys, duckdb
        connection = duckdb.connect(sys.argv[1])
        print("held", flush=True)
        sys.stdin.read()
        """,
        place.db,
    )
    try:
        assert f"is in use by process {holder.pid}" in refused(place, *on(place, command))
    finally:
        processes.stop(holder)


RUN_AS_USER = """
    import sys
    from atlas_cli.main import main
    main()
"""


@pytest.mark.parametrize("directory_mode", [0o755, 0o555], ids=["file", "directory"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_atlas_that_may_not_be_written_is_read_and_writing_is_one_line(
    place: Place, asked: Synthetic, command: tuple[str, ...], directory_mode: int
) -> None:
    shutil.copy(asked.atlas.path, place.db)
    place.db.chmod(0o444)
    before = _files(place.directory)
    place.directory.chmod(directory_mode)
    done = processes.run_without_privileges(RUN_AS_USER, *on(place, command))
    place.directory.chmod(0o755)
    assert _files(place.directory) == before
    if command[0] in ("index", "select"):
        assert done.stderr.startswith(f"Error: {place.db} or its directory does not permit this")
        assert done.stderr.count("\n") == 1
        assert (done.stdout, done.returncode) == ("", 1)
    else:
        assert (done.stderr.count("Error"), done.returncode) == (0, 0), done.stderr
        assert done.stdout


def test_a_disk_that_is_full_from_the_start_is_one_line_and_leaves_no_file(place: Place) -> None:
    before = _files(place.directory)
    done = processes.run_on_full_disk(RUN_AS_USER, *index(place), size=100_000)
    assert done.stderr.startswith("Error: the disk is full")
    assert done.stderr.count("\n") == 1
    assert (done.stdout, done.returncode) == ("", 1)
    assert _files(place.directory) == before


def test_a_model_named_wrongly_leaves_an_empty_directory_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("index", "--model", "./nonexistent")
    assert result.exit_code == 1
    assert result.stderr == ("Error: 'nonexistent' does not exist: check the path\n")
    assert os.listdir() == []


def test_the_interpreter_prints_nothing_of_its_own(place: Place) -> None:
    done = processes.run(RUN_AS_USER, *index(place, "--points", "0"))
    assert done.stderr == "Error: points must be at least 1, got 0\n"
    assert (done.stdout, done.returncode) == ("", 1)
