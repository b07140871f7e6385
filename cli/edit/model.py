"""Options that commands on edits share, and loading the model that they are about."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import click

from atlas.edits.in_force import RunModel

if TYPE_CHECKING:
    from atlas.models.language_model import LanguageModel

_Command = TypeVar("_Command", bound=Callable[..., Any])


def model_options(command: _Command) -> _Command:
    """Adds `--model` and `--device`."""
    command = click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
    )(command)
    return click.option(
        "--model",
        metavar="PATH",
        help="Where the model is: a directory, a .gguf file or a hub id. [default: as in the run]",
    )(command)


def edits_argument(command: _Command) -> _Command:
    """Adds `EDIT...`, one number or more, passed as `edits`."""
    return click.argument(
        "edits", metavar="EDIT...", nargs=-1, required=True, type=click.IntRange(min=1)
    )(command)


def load(wanted: RunModel, model: str | None, device: str) -> "LanguageModel":
    """The model that the atlas is about, or as `--model` names it; other weights are refused."""
    # see cli/index.py; read when torch is imported
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    with show_working(f"Loading {model or wanted.name}"):
        from atlas.index.run_model import load_run_model

        return load_run_model(wanted, model, device)


@contextmanager
def show_working(message: str) -> Iterator[None]:
    """On a terminal say what takes a while, until it is done, and leave no trace of it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, markup=False)
    with console.status(Text(f"{message} …")) if console.is_terminal else nullcontext():
        yield
