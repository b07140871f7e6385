"""What holds for every command: help with an example, the README, errors, Ctrl-C."""

import re
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from atlas_cli.main import SUBCOMMANDS, AtlasGroup, atlas
from click.shell_completion import BashComplete
from click.testing import CliRunner
from invocation import run, start
from synthetic import Synthetic

from atlas.errors import SettingsError

ROOT = Path(__file__).parents[2]
# Those whose examples need nothing but an atlas.
QUICK = ("query", "overlap", "select", "sql", "info")
ASKS_THE_MODEL = {"--measure", "--interactions", "--meaning"}
# The examples' names, and what the synthetic atlas has instead.
STAND_INS = {
    "3:117": "3:1",
    "Ireland": "Land 0",
    "Ireland:P36": "Land 0:P36",
    "Dublin:P1376": "Realm 0",
}


def _commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name)


def _command(path: tuple[str, ...]) -> click.Command:
    command: click.Command = atlas
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


def _examples(path: tuple[str, ...]) -> list[str]:
    """The lines of the epilog that start with `atlas`, with the lines that continue them."""
    text = _command(path).epilog or ""
    return re.findall(r"^  (\S.*(?:\n {3,}\S.*)*)", text.partition("\n\n")[0], re.MULTILINE)


def test_every_command_has_help_with_an_example_of_itself() -> None:
    paths = list(_commands(atlas, ()))
    assert {path[0] for path in paths} == set(SUBCOMMANDS)
    for path in paths:
        words = " ".join(path)
        command = _command(path)
        assert command.help, words
        result = run(*path, "--help")
        assert result.exit_code == 0
        assert any(f"atlas {words}" in example for example in _examples(path)), words
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{words} {parameter.opts}"


def test_every_command_is_in_the_readme_or_the_docs() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    for path in _commands(atlas, ()):
        assert f"atlas {' '.join(path)}" in text


@pytest.mark.parametrize("name", QUICK)
def test_the_examples_in_the_help_work(own: Synthetic, name: str) -> None:
    for example in _examples((name,)):
        command, _, piped = example.partition(" | ")
        words = [STAND_INS.get(word, word) for word in shlex.split(piped or command)]
        assert words.pop(0) == "atlas"
        words = [str(own.atlas.path) if word == "my.duckdb" else word for word in words]
        result = run(*words, on=own, input=shlex.split(command)[1] if piped else None)
        if ASKS_THE_MODEL & set(words):  # and the synthetic atlas has no model at hand
            assert (result.exit_code, "--model" in result.stderr) == (1, True), example
            continue
        assert result.exit_code == 0, f"{example}\n{result.output}"
        assert result.stdout, example


def test_help_lists_every_command_with_one_line() -> None:
    text = run("--help").stdout
    for name, subcommand in SUBCOMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(subcommand.short_help)}$", text, re.MULTILINE)


def test_no_arguments_show_the_help_with_exit_code_2() -> None:
    result = run()
    assert result.stderr.startswith("Usage: atlas [OPTIONS] COMMAND")
    assert (result.stdout, result.exit_code) == ("", 2)


def test_the_version_is_told() -> None:
    assert re.fullmatch(r"atlas, version \d+\.\d+\.\d+\n", run("--version").stdout)


def test_an_unknown_command_or_option_is_one_line_with_exit_code_2() -> None:
    unknown = run("qurey")
    assert unknown.stderr == (
        "Error: no command 'qurey'; did you mean query? See `atlas --help`.\n"
    )
    assert run("edit", "updat").stderr == (
        "Error: no command 'updat'; did you mean update? See `atlas edit --help`.\n"
    )
    assert run("xyz").stderr == (
        f"Error: no command 'xyz'; there are {', '.join(SUBCOMMANDS)}. See `atlas --help`.\n"
    )
    option = run("info", "--verbose")
    assert option.stderr == "Error: No such option '--verbose'. See `atlas info --help`.\n"
    assert (unknown.exit_code, option.exit_code) == (2, 2)


def test_an_atlas_error_becomes_one_line_even_if_its_text_has_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _replace_info(monkeypatch, SettingsError("first\nsecond"))
    result = run("info")
    assert (result.stderr, result.exit_code) == ("Error: first second\n", 1)


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    _replace_info(monkeypatch, ZeroDivisionError("a bug"))
    assert isinstance(run("info").exception, ZeroDivisionError)


def test_ctrl_c_is_one_line_with_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    _replace_info(monkeypatch, KeyboardInterrupt())
    result = run("info")
    assert (result.stdout, result.stderr, result.exit_code) == ("", "Interrupted.\n", 130)


def test_a_real_interrupt_signal_ends_the_process_the_same_way(asked: Synthetic) -> None:
    code = "print('ready', file=sys.stderr, flush=True)\nmain()"
    process = start("sql", "-", on=asked, code=code)
    assert process.stderr
    assert process.stderr.readline() == "ready\n"
    time.sleep(1.5)  # it waits for the SQL on standard input by then
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (stdout, stderr, process.returncode) == ("", "Interrupted.\n", 130)


def test_a_command_can_end_with_an_exit_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    _replace_info(monkeypatch, click.exceptions.Exit(3))
    assert run("info").exit_code == 3


def test_the_database_is_named_by_option_or_environment(asked: Synthetic, tmp_path: Path) -> None:
    by_option = run("info", "--db", str(asked.atlas.path))
    assert by_option.stdout == run("info", on=asked).stdout
    missing = run("info", "--db", str(tmp_path / "none.duckdb"), on=asked)
    assert (missing.exit_code, missing.stderr.count("\n")) == (1, 1)


def _replace_info(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes `atlas info` raise `error`."""

    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(AtlasGroup, "get_command", lambda self, ctx, name: failing)


def test_quiet_leaves_the_results_alone(asked: Synthetic) -> None:
    loud = run("query", "--hubs", "--limit", "1", on=asked)
    result = run("--quiet", "query", "--hubs", "--limit", "1", on=asked)
    assert loud.stderr
    assert (result.stdout, result.stderr, result.exit_code) == (loud.stdout, "", 0)
    assert run("-q", "info", "--db", "nowhere.duckdb").stderr.startswith("Error: no atlas at")


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_where_none_is_wanted(
    asked: Synthetic, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    command = ["overlap", "--db", str(asked.atlas.path)]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in CliRunner().invoke(atlas, command, color=True).stdout
    monkeypatch.setenv(variable, value)
    assert "\x1b[" not in CliRunner().invoke(atlas, command, color=True).stdout


def test_a_shell_can_complete_commands_of_the_lazy_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_WORDS", "atlas sel")
    monkeypatch.setenv("COMP_CWORD", "1")
    done = BashComplete(atlas, {}, "atlas", "_ATLAS_COMPLETE").complete()
    assert [line.split(",")[1] for line in done.splitlines()] == ["select", "selections"]
