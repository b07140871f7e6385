"""A command line that cannot be understood, as one line that says what to write instead."""

import re
from collections.abc import Sequence
from typing import Any

import click
from click.types import FloatParamType, IntParamType

_NO_NUMBER = re.compile(r"is not a valid (integer|float)( range)?\.?$|is not in the range .*$")


def usage_line(error: click.UsageError, atlas: click.Group, args: Sequence[str]) -> str:
    """The error with its way out and where to read more; `args`: what was typed behind `atlas`."""
    said = " ".join(error.format_message().split())
    path, command = _meant(atlas, args)
    if isinstance(error, click.NoSuchOption):
        said = _behind(error, path, command) or said
    elif isinstance(error, click.BadOptionUsage):
        said += _value_of(error.option_name, command)
    elif isinstance(error, click.BadParameter) and error.param is not None:
        said = _numbered(said, error.param.type)
    return f"{said} See `{error.ctx.command_path if error.ctx else path} --help`."


def _meant(atlas: click.Group, args: Sequence[str]) -> tuple[str, click.Command]:
    """The command that is named among the words, and how it is called."""
    path: str = "atlas"
    command: click.Command = atlas
    for word in args:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(click.Context(command), word)
        if found is not None:
            path, command = f"{path} {word}", found
    return path, command


def _behind(error: click.NoSuchOption, path: str, command: click.Command) -> str | None:
    """Of a command's option that stands before the command: where it belongs."""
    before = error.ctx is not None and isinstance(error.ctx.command, click.Group)
    option = _option(error.option_name, command)
    if not before or isinstance(command, click.Group) or option is None:
        return None
    return f"{error.option_name} belongs behind the command: `{path} {_written(option, command)}`."


def _value_of(name: str, command: click.Command) -> str:
    option = _option(name, command)
    return "" if option is None else f" Write {_written(option, command)}."


def _option(name: str, command: click.Command) -> click.Option | None:
    options = (p for p in command.params if isinstance(p, click.Option))
    return next((option for option in options if name in option.opts), None)


def _written(option: click.Option, command: click.Command) -> str:
    """`--shared NAME NAME`, `--measure`."""
    name = max(option.opts, key=len)
    return name if option.is_flag else f"{name} {option.make_metavar(click.Context(command))}"


def _numbered(said: str, kind: "click.ParamType[Any]") -> str:
    """A number that is none, or outside its range, with what would do."""
    if not _NO_NUMBER.search(said) or not isinstance(kind, IntParamType | FloatParamType):
        return said
    number = "a whole number" if isinstance(kind, IntParamType) else "a number"
    bounds = _bounds(kind) if isinstance(kind, click.IntRange | click.FloatRange) else ""
    return f"{_NO_NUMBER.sub('will not do', said)}: write {number}{bounds}."


def _bounds(kind: click.IntRange | click.FloatRange) -> str:
    """`, 0 or more`, `, more than 1 and at most 1000`."""
    parts = []
    if kind.min is not None:
        parts.append(f"more than {kind.min:g}" if kind.min_open else f"{kind.min:g} or more")
    if kind.max is not None:
        parts.append(f"less than {kind.max:g}" if kind.max_open else f"at most {kind.max:g}")
    return f", {' and '.join(parts)}" if parts else ""
