"""Directories that edits leave the atlas in: only what the atlas could have written is replaced."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import EditError
from atlas.models import adapter


@dataclass(frozen=True)
class Kind:
    """What a directory is to hold.

    name: as messages call it; parameter: the argument that names such a directory; is_one: whether
    a directory that is not empty holds that and nothing that would be missed.
    """

    name: str
    parameter: str
    is_one: Callable[[Path], bool]


def _is_model(directory: Path) -> bool:
    return (directory / "config.json").is_file()


def _is_adapter(directory: Path) -> bool:
    names = {entry.name for entry in directory.iterdir()}
    return adapter.CONFIG in names and names <= {adapter.CONFIG, adapter.WEIGHTS, "README.md"}


MODEL = Kind("a model", "directory", _is_model)
ADAPTER = Kind("an adapter", "adapter", _is_adapter)


def require_free(directory: Path, force: bool, kind: Kind) -> None:
    """EditError unless a directory of this kind can be written there."""
    if directory.is_dir():
        if not force:
            raise EditError(
                f"{directory} exists: name another directory, or have it replaced",
                parameters=[kind.parameter, "force"],
            )
        if any(directory.iterdir()) and not kind.is_one(directory):
            raise EditError(
                f"{directory} holds something other than {kind.name}, so it is not replaced: name "
                "another directory"
            )
    elif directory.exists():
        raise EditError(f"{directory} is a file: name a directory")
    elif not directory.parent.is_dir():
        raise EditError(f"there is no directory {directory.parent}: create it first")
