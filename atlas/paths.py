"""Where the embedded data and the migrations lie, in a checkout and in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _shipped(name: str) -> Path:
    installed = _PACKAGE / f"_{name}"
    return installed if installed.is_dir() else _PACKAGE.parent / name


DATA = _shipped("data")
MIGRATIONS = _shipped("migrations")
EMBEDDED_RELATIONS = DATA / "relations"
EMBEDDED_MODEL = DATA / "models" / "mini-bert"
