"""A place where all is in order but what a test spoils, and commands that must be refused there."""

from dataclasses import dataclass, field
from pathlib import Path

from dataset_files import CAPITAL, FRANCE, IRELAND, write
from invocation import run


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


def refused(place: Place, *arguments: str, code: int = 1) -> str:
    """Run a command, and check that it fails with one line and changes no file; the line."""
    before = files(place.directory)
    result = run(*arguments)
    assert result.stderr.startswith("Error: "), result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("\n")
    assert "Traceback" not in result.stderr
    assert (result.stdout, result.exit_code) == ("", code)
    assert files(place.directory) == before
    return result.stderr


def files(directory: Path) -> dict[Path, bytes | None]:
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(directory.rglob("*"))
    }


def index(place: Place, *options: str) -> tuple[str, ...]:
    """`atlas index` of the place; later options override earlier ones."""
    where = ("--data", str(place.data), "--db", str(place.db))
    return ("index", "--model", str(place.model), "--device", "cpu", *where, *options)
