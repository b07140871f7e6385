"""How an error of the library is said on the command line."""

import re
from collections.abc import Iterator

import click
from atlas_cli.errors import OPTIONS, error_line
from atlas_cli.main import atlas
from library_source import SOURCES, named_parameters

from atlas.errors import NotFound, SettingsError


def test_the_parameters_that_would_mend_an_error_are_named_as_options() -> None:
    error = SettingsError("out exists: name another", parameters=["directory", "force"])
    assert str(error) == "out exists: name another"
    assert error_line(error) == "out exists: name another (--to DIR, --force)"


def test_an_error_without_parameters_is_its_message_in_one_line() -> None:
    assert error_line(NotFound("no edit 3:\nthere are 1, 2")) == "no edit 3: there are 1, 2"


def test_a_parameter_that_the_command_line_lacks_is_not_named() -> None:
    assert error_line(NotFound("nothing", parameters=["of_python_only"])) == "nothing"


def test_every_parameter_that_an_error_names_has_its_option() -> None:
    named = {name for source in SOURCES for name in named_parameters(source)}
    assert "path" in named
    assert named - OPTIONS.keys() == set()


def test_every_option_that_is_named_belongs_to_a_command() -> None:
    known = set(_options(atlas))
    for words in OPTIONS.values():
        assert set(re.findall(r"--[a-z][a-z0-9-]*", words)) <= known, words


def _options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _options(found)
