"""What it costs that DuckDB 1.1 and later can read an atlas: time and size of an index.

    python tests/bench/storage_format.py [--limit FACTS] [--pairs N]

Indexes of mini-bert in the atlas's storage format and in DuckDB's newest alternate, in this
process; writing is the time for which the file is open for it. Medians.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import atlas
from atlas.store import atlas_file, connection


class Cost(NamedTuple):
    """Seconds of an index, those of its writing, and bytes of its file."""

    total: float
    writing: float
    size: int


def cost(lm: Any, storage: str, relations: list[str], limit: int) -> Cost:
    """Index a few facts into a new file of that storage format."""
    written = 0.0
    honest = connection.writing

    @contextmanager
    def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
        nonlocal written
        started = time.perf_counter()
        with honest(*args, **kwargs) as opened:
            yield opened
        written += time.perf_counter() - started

    before, atlas_file._FORMAT = atlas_file._FORMAT, storage
    connection.writing = timed
    try:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "atlas.duckdb"
            started = time.perf_counter()
            atlas.index(file, lm, relations=relations, limit=limit)
            return Cost(time.perf_counter() - started, written, file.stat().st_size)
    finally:
        atlas_file._FORMAT, connection.writing = before, honest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--relations", nargs="*", default=[])
    parser.add_argument("--limit", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=3)
    chosen = parser.parse_args()
    lm = atlas.load_model(device="cpu")
    formats = (atlas_file._FORMAT, "latest")
    costs: dict[str, list[Cost]] = {storage: [] for storage in formats}
    for _ in range(chosen.pairs):
        for storage in formats:
            costs[storage].append(cost(lm, storage, chosen.relations, chosen.limit))
    for storage, found in costs.items():
        total, writing, size = (statistics.median(values) for values in zip(*found, strict=True))
        print(
            f"{storage}: {total:.1f} s, writing {writing:.2f} s ({writing / total:.1%}), "
            f"{size / 1e6:.2f} MB"
        )


if __name__ == "__main__":
    main()
