"""`--data` and `--pararel`, two names for where facts and templates lie."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_NAMES = ("--data", "--pararel")


def dataset_option(help: str, *, required: bool = False) -> Callable[[Any], Any]:
    """Adds both, passed as one `data`; giving both is refused, for one would be ignored."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def one(*args: Any, data: Path | None, pararel: Path | None, **options: Any) -> Any:
            given = [path for path in (data, pararel) if path is not None]
            if len(given) > 1:
                raise click.UsageError(
                    f"{' and '.join(_NAMES)} are two names of one option: give just one of them.",
                    click.get_current_context(),
                )
            if required and not given:
                raise click.UsageError(
                    f"Missing option {' or '.join(_NAMES)}: name the facts with {_NAMES[0]} PATH.",
                    click.get_current_context(),
                )
            return command(*args, data=given[0] if given else None, **options)

        kind = click.Path(path_type=Path)
        one = click.option("--pararel", type=kind, metavar="PATH", help="The same as --data.")(one)
        return click.option("--data", type=kind, metavar="PATH", help=help)(one)

    return decorate
