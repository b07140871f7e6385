"""Options and arguments that commands on edits share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def model_options(command: _Command) -> _Command:
    """Adds `--model` and `--device`."""
    command = click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
    )(command)
    return click.option(
        "--model",
        metavar="PATH",
        help="Where the model is: a directory, a .gguf file or a hub id. "
        "[default: ATLAS_MODEL, else where the atlas knows it]",
    )(command)


def tokens_option(command: _Command) -> _Command:
    """Adds `--tokens N`."""
    return click.option(
        "--tokens",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Let a causal model write on, so many tokens at most.",
    )(command)


def edits_argument(command: _Command) -> _Command:
    """Adds `EDIT...`, one number or more, passed as `edits`."""
    return click.argument(
        "edits", metavar="EDIT...", nargs=-1, required=True, type=click.IntRange(min=1)
    )(command)
