"""Shards: parts of a dataset that are measured apart, each fact in the one that its id decides.

Which shard has a fact depends on the fact's id and on how many shards there are, on nothing else:
machines need not know of each other. With one shard more, only as many facts move as the new one
gets, all of them to it: jump consistent hash (Lamping and Veach 2014, arXiv 1406.2294).
"""

import hashlib
import re
from dataclasses import dataclass, replace

import duckdb

from atlas.errors import SettingsError
from atlas.facts import Dataset
from atlas.store.rows import fetch_one

_SHARD = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*")


@dataclass(frozen=True)
class Shard:
    """One of so many shards, counted from 1."""

    number: int
    shards: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.shards:
            raise SettingsError(
                f"there is no shard {self}: shards are counted from 1 to as many as there are, "
                "for example 3/64",
                parameters=["shard"],
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.shards}"

    def part(self, dataset: Dataset) -> Dataset:
        """The dataset with this shard's facts alone; every relation stays, be it without facts."""
        return replace(
            dataset,
            relations=tuple(
                replace(
                    relation,
                    facts=tuple(
                        fact
                        for fact in relation.facts
                        if shard_of(fact.fact_id, self.shards) == self.number
                    ),
                )
                for relation in dataset.relations
            ),
        )


def as_shard(wanted: "Shard | str | None") -> Shard | None:
    """`3/64` as a shard; SettingsError for what is none."""
    if wanted is None or isinstance(wanted, Shard):
        return wanted
    found = _SHARD.fullmatch(wanted)
    if found is None:
        raise SettingsError(
            f"'{wanted}' is no shard: write which one of how many, for example 3/64",
            parameters=["shard"],
        )
    return Shard(int(found[1]), int(found[2]))


def shard_of(fact_id: str, shards: int) -> int:
    """The number, from 1, of the shard that has the fact; changing this moves every fact."""
    key = int.from_bytes(hashlib.sha256(fact_id.encode()).digest()[:8], "big")
    found, following = 0, 0
    while following < shards:
        found = following
        key = (key * 2862933555777941757 + 1) % (1 << 64)
        following = int((found + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return found + 1


def record_shard(connection: duckdb.DuckDBPyConnection, run_id: str, shard: Shard | None) -> None:
    """Say that the run, which need not be there yet, is asked for this shard.

    None: for facts of all shards. A run that was asked for those is not split, and stays so.
    """
    if shard is None:
        connection.execute("DELETE FROM run_shards WHERE run_id = ?", [run_id])
        return
    connection.execute(
        """
        INSERT INTO run_shards (run_id, shard, shards, finished)
        SELECT $run_id, $shard, $shards, FALSE
        WHERE NOT EXISTS (
                  FROM run_shards
                  WHERE run_id = $run_id
                    AND shard = $shard
                    AND shards = $shards
              )
          AND (EXISTS (FROM run_shards WHERE run_id = $run_id)
               OR NOT EXISTS (FROM runs WHERE run_id = $run_id))
        """,
        {"run_id": run_id, "shard": shard.number, "shards": shard.shards},
    )


def finish_shard(connection: duckdb.DuckDBPyConnection, run_id: str, shard: Shard) -> None:
    """Say that all of this shard is measured; with the last one, the run is whole."""
    connection.execute(
        """
        UPDATE run_shards
        SET finished = TRUE
        WHERE run_id = $run_id
          AND shard = $shard
          AND shards = $shards
        """,
        {"run_id": run_id, "shard": shard.number, "shards": shard.shards},
    )
    forget_complete(connection, run_id)


def forget_complete(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Delete what is recorded of the run's shards if all of them are there and finished."""
    (complete,) = fetch_one(
        connection,
        """
        SELECT coalesce(bool_or(found = shards), FALSE)
        FROM (
            SELECT shards, count(*) FILTER (finished) AS found
            FROM run_shards
            WHERE run_id = $run_id
            GROUP BY shards
        )
        """,
        {"run_id": run_id},
    )
    if complete:
        record_shard(connection, run_id, None)
