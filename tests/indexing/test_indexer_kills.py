"""kill -9 at random moments of an index, again and again, and a full disk in the middle of one."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import run_on_full_disk, start, stop
from tiny_index import CHEAP, indexed, on, tables, tiny_dataset

from atlas.atlas import open_atlas
from atlas.datasets import choose
from atlas.indexing.settings import IndexSettings

KILLS = 10
MOST_BATCHES = 4  # measured between two kills, apart from the one under way

# Forks a process that indexes for every line "PATH LIMIT" that it reads: torch is imported once.
# The fork measures at most LIMIT batches and then waits for its end, so that it takes many kills to
# get through the dataset. It commits and reports every batch.
INDEX = """
    import os, sys, time
    from pathlib import Path

    # no thread but this one, or a fork would be cut off from it in mid-air
    os.environ["OMP_NUM_THREADS"] = "1"

    import alembic.command, duckdb_engine, torch
    from tiny_index import CHEAP, on, steps, tiny_dataset

    from atlas.indexing import batches

    from atlas.indexing import indexer

    torch.set_num_threads(1)
    batches.LARGEST_BATCH = 2
    indexer.COMMIT_EVERY = -1.0
    dataset = tiny_dataset(relations=3, facts=6)
    settings = on(sys.argv[1], integration=CHEAP)
    lm = indexer.load_model(settings.model, device="cpu")
    indexer.load_model = lambda *_: lm

    def index(path, limit):
        last = 0
        for event in steps(path, dataset, dataset, settings):
            if event.computed > last:
                last = event.computed
                limit -= 1
                os.write(1, f"measured {event.done}\\n".encode())
            if limit == 0:
                time.sleep(600)

    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, [Path(f"/proc/self/task/{i}/comm").read_text() for i in threads]
    print("ready", flush=True)
    for line in sys.stdin:
        path, limit = line.split()
        if os.fork() == 0:
            os.write(1, f"began {os.getpid()}\\n".encode())
            code = 1
            try:
                index(Path(path), int(limit))
                code = 0
            finally:
                os._exit(code)
        _, status = os.wait()
        os.write(1, f"ended {os.waitstatus_to_exitcode(status)}\\n".encode())
"""


@dataclass
class Indexing:
    """A process that is indexing into `path`, as far as it has reported."""

    forks: "subprocess.Popen[str]"
    path: Path
    limit: int = -1

    def __post_init__(self) -> None:
        assert self.forks.stdin
        self.forks.stdin.write(f"{self.path} {self.limit}\n")
        self.forks.stdin.flush()
        self.pid = self._told()[1]

    def measured(self) -> int | None:
        """Wait for the next batch: how many prompts are measured; None at the end."""
        what, number = self._told()
        if what == "ended":
            assert number == 0
            return None
        return number

    def kill(self) -> None:
        """Kill -9, and wait for it."""
        os.kill(self.pid, signal.SIGKILL)
        what = number = None
        while what != "ended":
            what, number = self._told()
        assert number == -signal.SIGKILL

    def _told(self) -> tuple[str, int]:
        assert self.forks.stdout
        what, number = self.forks.stdout.readline().split()
        return what, int(number)


@pytest.fixture
def forks(saved_bert: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that forks indexers."""
    process = start(INDEX, saved_bert)
    yield process
    stop(process)


def test_an_index_killed_again_and_again_equals_one_that_was_left_alone(
    forks: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    moments = random.Random(9)
    whole, killed = tmp_path / "whole" / "atlas.duckdb", tmp_path / "killed" / "atlas.duckdb"
    for path in (whole, killed):
        path.parent.mkdir()
    began = time.monotonic()
    indexing = Indexing(forks, whole)
    indexing.measured()
    start_up = time.monotonic() - began
    batches = 1
    while indexing.measured():
        batches += 1
    pace = (time.monotonic() - began) / batches
    assert batches > KILLS * MOST_BATCHES

    recorded = 0
    for _ in range(KILLS):
        wanted = moments.randrange(MOST_BATCHES - 1)  # 0: while it opens or creates the file
        indexing = Indexing(forks, killed, limit=wanted + 2)
        reported = 0
        for _ in range(wanted):
            reported = indexing.measured() or 0
        time.sleep(moments.uniform(0, 2 * pace if wanted else start_up))
        indexing.kill()
        if killed.exists():
            recorded = _sound(killed, at_least=max(recorded, reported))
        else:
            assert recorded == reported == 0
    assert recorded > 0
    indexing = Indexing(forks, killed)
    assert indexing.measured(), "it was finished before the last kill"
    while indexing.measured():
        pass
    assert tables(killed) == tables(whole)
    assert [file.name for file in killed.parent.iterdir()] == [killed.name]


def _sound(path: Path, at_least: int) -> int:
    """Check that the file can be read and holds whole batches; how many prompts it has."""
    with open_atlas(path).reading() as connection:
        found = connection.execute(
            """
            SELECT (SELECT count(*) FROM prompt_results),
                   (SELECT count(DISTINCT prompt_id) FROM prompt_results),
                   (SELECT count(*) FROM prompt_results ANTI JOIN attributions USING (prompt_id)),
                   (SELECT count(*) FROM attributions ANTI JOIN prompt_results USING (prompt_id)),
                   (SELECT count(*) FROM prompt_results ANTI JOIN prompts USING (prompt_id)),
                   (SELECT count(*) FROM runs WHERE status = 'finished')
            """
        ).fetchone()
    assert found
    prompts, distinct, *wrong = found
    assert distinct == prompts >= at_least
    assert wrong == [0, 0, 0, 0]
    return int(prompts)


# Prints how it ended and how many prompts were measured by then.
FILL = """
    import sys
    from pathlib import Path

    from test_indexer_kills import LARGE, every_score
    from tiny_index import steps
    from atlas.indexing import indexer
    from atlas.errors import AtlasError

    indexer.COMMIT_EVERY = -1.0
    try:
        for event in steps(Path(sys.argv[2]), LARGE, LARGE, every_score(sys.argv[1])):
            pass
        print("finished", event.done)
    except AtlasError as e:
        print(type(e).__name__, event.done, e, sep="|")
"""
LARGE = tiny_dataset(relations=3, facts=12)


def every_score(model: Path | str) -> IndexSettings:
    """Settings with which an atlas grows fast."""
    return on(model, integration=CHEAP, score_floor=0.0)


def test_a_full_disk_keeps_what_was_committed_and_the_next_index_finishes(
    saved_bert: Path, tmp_path: Path
) -> None:
    filled, whole = tmp_path / "filled.duckdb", tmp_path / "whole.duckdb"
    settings = every_score(saved_bert)
    indexed(filled, settings, LARGE, choose(LARGE, ["P36"]))
    before = tables(filled)

    # Less than the file has: DuckDB can then write some commits to its log, which it keeps apart.
    done = run_on_full_disk(FILL, saved_bert, filled, size=300_000)
    error, measured, message = done.stdout.strip().split("|")
    assert error == "DiskFull", done.stderr
    assert "free some space" in message
    assert len(before["prompt_results"]) < int(measured) < len(before["prompts"]) * 3
    after = tables(filled)
    for name in ("attributions", "prompt_results", "knowledge_neurons", "selection_relations"):
        assert set(before[name]) <= set(after[name])
    assert _sound(filled, at_least=int(measured)) < len(after["prompts"])

    indexed(filled, settings, LARGE)
    indexed(whole, settings, LARGE)
    assert tables(filled) == tables(whole)
