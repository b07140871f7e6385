"""Options of commands that may measure on workers of a Ray cluster, and what became of those."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from atlas.given_up import NotMeasured

from .render import note

GIVEN_UP = 1  # exit code
_Command = TypeVar("_Command", bound=Callable[..., Any])


def ray_options(command: _Command) -> _Command:
    """Adds `--ray`, `--workers` and `--gpus-per-worker`."""
    gpus = click.option(
        "--gpus-per-worker",
        type=float,
        metavar="SHARE",
        help="Of a GPU, up to 1; 0: none.  [default: 1 where there are any]",
    )
    workers = click.option(
        "--workers",
        type=int,
        metavar="N",
        help="How many.  [default: one a GPU, else one a machine]",
    )
    ray = click.option(
        "--ray",
        metavar="auto|local|ADDRESS",
        help="Measure on workers of a Ray cluster: see docs/clusters.md.",
    )
    return ray(workers(gpus(command)))


def note_given_up(given_up: Sequence[NotMeasured]) -> None:
    """What could not be measured, and exit code 1 if there is any."""
    for lost in given_up:
        note(f"  {lost}.")
    if given_up:
        note("  The same command tries them again.")
        click.get_current_context().exit(GIVEN_UP)
