"""Makes tests/assets/revision_NNNN.db: a small atlas of the newest revision, to be kept for ever.

    python tests/support/revision_assets.py

Run it once when a revision is released; upgrading the file is then tested by every later version.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from synthetic import build

from atlas.store.migrate import revisions

ASSETS = Path(__file__).parents[1] / "assets"


def asset(revision: str) -> Path:
    """Where the atlas of that revision lies."""
    return ASSETS / f"revision_{revision}.db"


def released() -> list[str]:
    """The revisions of which an atlas is kept, oldest first."""
    return sorted(file.stem.removeprefix("revision_") for file in ASSETS.glob("revision_*.db"))


def make(path: Path) -> None:
    """Write the synthetic atlas in small blocks: a twentieth of the usual size."""
    with TemporaryDirectory() as directory:
        source = build(Path(directory) / "source.duckdb").atlas.path
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{source}' AS source (READ_ONLY)")
            connection.execute(f"ATTACH '{path}' AS target (BLOCK_SIZE 16384)")
            connection.execute("COPY FROM DATABASE source TO target")


if __name__ == "__main__":
    make(asset(revisions()[-1]))
