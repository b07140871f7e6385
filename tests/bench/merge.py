"""How long shards take to merge: an atlas's real run is split into shards, and these are merged.

    python tests/bench/merge.py --db atlas.duckdb --shards 64

Each shard is what an index of it would have left: its facts, their results and scores, and what the
run's selections find in them alone. The merged atlas is held against the one that was split, table
by table. Prints JSON, a line a step; CPU seconds beside wall clock: other work may run beside it.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from atlas.atlas import open_atlas
from atlas.export.run_tables import EXPORTED
from atlas.indexing.shards import Shard, finish_shard, record_shard, shard_of
from atlas.merging.merge import merge
from atlas.selection.recorded import recorded_thresholds
from atlas.selection.select import select
from atlas.store.connection import attached

BY_PROMPT = ("prompts", "prompt_results", "attributions", "token_attributions")
WHOLE = ("models", "relations", "templates", "runs")
CLOCKS = ("started_at", "finished_at", "created_at", "asked_at")
NOT_OF_INDEXES = ("prompt_activations", "activation_layers", "neuron_meanings")


@contextmanager
def timed(step: str) -> Iterator[dict[str, object]]:
    """Prints how long the block took, with what it puts into the dictionary."""
    said: dict[str, object] = {"step": step}
    wall, cpu = time.perf_counter(), time.process_time()
    yield said
    said["wall_s"] = round(time.perf_counter() - wall, 1)
    said["cpu_s"] = round(time.process_time() - cpu, 1)
    print(json.dumps(said), flush=True)


def split(whole: Path, directory: Path, paths: list[Path]) -> None:
    """Write the shards of the atlas's latest real run, each into its file."""
    shards = len(paths)
    empty = directory / "empty.duckdb"
    open_atlas(empty, create=True)
    with open_atlas(whole).reading() as connection:
        (run_id,) = connection.execute(
            "SELECT run_id FROM runs WHERE null_of IS NULL ORDER BY started_at DESC LIMIT 1"
        ).fetchall()[0]
        selected = connection.execute(
            "SELECT selection_id FROM selections WHERE run_id = ? ORDER BY created_at", [run_id]
        ).fetchall()
        thresholds = [recorded_thresholds(connection, found) for (found,) in selected]
        ids = [found for (found,) in connection.execute("SELECT fact_id FROM facts").fetchall()]
    for number, path in enumerate(paths, 1):
        shutil.copyfile(empty, path)
        own = [fact_id for fact_id in ids if shard_of(fact_id, shards) == number]
        with open_atlas(path).writing() as connection, attached(connection, whole, "whole"):
            record_shard(connection, run_id, Shard(number, shards))
            for table in WHOLE:
                connection.execute(f"INSERT INTO {table} BY NAME FROM whole.{table}")
            connection.execute("DELETE FROM runs WHERE run_id <> ?", [run_id])
            connection.execute(
                "INSERT INTO facts BY NAME FROM whole.facts WHERE fact_id IN $own", {"own": own}
            )
            for table in BY_PROMPT:
                of_run = "" if table == "prompts" else f"WHERE run_id = '{run_id}'"
                connection.execute(
                    f"""
                    INSERT INTO {table} BY NAME
                    FROM whole.{table}
                    SEMI JOIN (
                        SELECT prompt_id
                        FROM whole.prompts
                        SEMI JOIN facts USING (fact_id)
                    ) USING (prompt_id)
                    {of_run}
                    """
                )
            for how in thresholds:
                select(connection, run_id, how)
            finish_shard(connection, run_id, Shard(number, shards))


def differing(one: Path, other: Path) -> list[str]:
    """Tables whose rows differ, columns that tell the time apart."""
    found = []
    with duckdb.connect() as connection:
        connection.execute(
            f"ATTACH '{one}' AS one (READ_ONLY); ATTACH '{other}' AS other (READ_ONLY)"
        )
        for table, _ in EXPORTED:
            if table in NOT_OF_INDEXES:
                continue
            names = [row[0] for row in connection.execute(f"DESCRIBE one.{table}").fetchall()]
            columns = ", ".join(name for name in names if name not in CLOCKS)
            (count,) = connection.execute(
                f"""
                WITH held_by_one AS (
                    SELECT {columns}
                    FROM one.{table}
                ),
                held_by_other AS (
                    SELECT {columns}
                    FROM other.{table}
                )
                SELECT count(*)
                FROM (
                    (FROM held_by_one EXCEPT ALL FROM held_by_other)
                    UNION ALL
                    (FROM held_by_other EXCEPT ALL FROM held_by_one)
                )
                """
            ).fetchall()[0]
            if count:
                found.append(f"{table} ({count} rows)")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--keep", type=Path, help="Leave the shards here, and take them again.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = asked.keep or Path(temporary)
        directory.mkdir(exist_ok=True)
        with timed("split") as said:
            paths = [directory / f"shard-{n}.duckdb" for n in range(1, asked.shards + 1)]
            if not all(path.exists() for path in paths):
                split(asked.db, directory, paths)
            said["shards"] = len(paths)
            said["megabytes"] = round(sum(path.stat().st_size for path in paths) / 1e6)
        merged = Path(temporary) / "merged.duckdb"
        with timed("merge") as said:
            found = merge(paths, merged)
            said["prompts"] = sum(source.prompts for source in found.sources)
            said["status"] = found.runs[0].status
            said["megabytes"] = round(merged.stat().st_size / 1e6)
        with timed("merge again") as said:
            said["prompts"] = sum(source.prompts for source in merge(paths, merged).sources)
        with timed("compare") as said:
            said["differing"] = differing(merged, asked.db)


if __name__ == "__main__":
    main()
