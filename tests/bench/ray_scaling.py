"""What workers of a Ray cluster cost and bring: threads against workers, kills, the one writer.

    python tests/bench/ray_scaling.py threads --model SmolLM2.gguf --data facts.jsonl --limit 24
    python tests/bench/ray_scaling.py kills --workers 8 --kills 12
    python tests/bench/ray_scaling.py tasks
    python tests/bench/ray_scaling.py writer --facts 20000
    python tests/bench/ray_scaling.py model --task 1.5 --prompts 64 --driver 0.0017

`threads`: the same index by this process on all cores, by one worker with all and by two that share
them. `kills`: an index on a simulated cluster, a raylet a worker, whose workers and machines are
killed, against one process, table by table. `tasks`: what goes out and comes back, with nothing
measured in between, and what Ray's start costs. `writer`: the indexer's own loop, fed with results
that cost nothing, until all is stored and selected. `model`: what the figures of the others come
to for more GPUs than there are here. Seconds are wall clock, CPU seconds of this process beside.
"""

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import atlas
from atlas.datasets import choose, read_dataset
from atlas.distributed.introduction import ModelToLoad
from atlas.distributed.ray_cluster import ENVIRONMENT, OBJECTS, connected
from atlas.distributed.ray_workers import ray_workers
from atlas.distributed.settings import RaySettings
from atlas.distributed.workers import Outcome, Work
from atlas.engine.settings import Integration
from atlas.facts import Dataset, Fact, Relation, Template
from atlas.indexing import indexer, records
from atlas.indexing.batches import AskedPrompt, relation_batches
from atlas.indexing.measuring import Attributing
from atlas.indexing.settings import IndexSettings
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.progress import Advance

MACHINES = 3  # that may be killed
SUPPORT = Path(__file__).parents[1] / "support"


@contextmanager
def clocked(what: str) -> Iterator[None]:
    """Print what a block took."""
    wall, cpu = time.monotonic(), time.process_time()
    yield
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    print(f"{what}: {wall:.2f} s, {cpu:.2f} CPU s here", flush=True)


# Threads against workers


def threads(model: str, data: Path | None, limit: int, workers: Sequence[int]) -> None:
    """One index by each number of workers; the loop's seconds are apart from those of the start."""
    cores = len(os.sched_getaffinity(0))
    for number in workers:
        name = f"{number or 'no'} workers, {cores // max(1, number)} threads each"
        how: dict[str, Any] = {"ray": "local", "workers": number} if number else {}
        with tempfile.TemporaryDirectory() as scratch:
            last: list[Advance] = []
            theirs: dict[int, float] = {}

            def note(
                event: object, last: list[Advance] = last, theirs: dict[int, float] = theirs
            ) -> None:
                if isinstance(event, Advance):
                    last[:] = [event]
                    theirs.update(_workers_cpu())

            before = time.process_time()
            started = time.monotonic()
            atlas.index(Path(scratch) / "a.duckdb", model, data, limit=limit, progress=note, **how)
            wall = time.monotonic() - started
            (end,) = last
            print(
                f"{name}: {end.computed} prompts in {end.seconds:.1f} s, "
                f"{end.computed / end.seconds:.2f} a second; {wall - end.seconds:.1f} s before and "
                f"after; {time.process_time() - before:.1f} CPU s here, "
                f"{sum(theirs.values()):.1f} of workers",
                flush=True,
            )


def _workers_cpu() -> dict[int, float]:
    """CPU seconds of every worker so far, by process."""
    return {pid: sum(psutil.Process(pid).cpu_times()[:2]) for pid in _workers_at_work()}


# What a task costs on its way


@dataclass(frozen=True)
class _Canned(Attributing):
    """Work that takes no time: what comes back is as large as the scores of a batch."""

    rows: int = 0

    def measure(self, lm: LanguageModel, task: Sequence[AskedPrompt]) -> records.PromptResults:
        return made_up([asked.prompt_id for asked in task], self.rows, lm)


def tasks(number: int, rows: int) -> None:
    """Seconds of this process for each task that goes out and comes back, and for starting."""
    lm = load_model()
    canned = _Canned("activation", Integration(), 0.05, None, rows)
    relation = choose(read_dataset(None), ("P36",), 64).relations[0]
    batch = max(relation_batches(lm, relation), key=len)
    with clocked("Ray up and down, with nothing to do"), connected("local"):
        pass
    with clocked("the same with two workers that load and meet"):
        model = ModelToLoad.of("mini-bert", "float32")
        with ray_workers(RaySettings("local", 2, 0.0), model) as crew:
            crew.meet(lm)
            list(crew.outcomes(canned, [(0, batch)] * 8))  # warm
            wall, cpu = time.monotonic(), time.process_time()
            list(crew.outcomes(canned, [(0, batch)] * number))
            wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    print(
        f"{number} tasks of {len(batch)} prompts, {rows} scores each: {wall / number * 1e3:.1f} ms "
        f"a task, {cpu / number * 1e3:.1f} CPU ms here"
    )


# Kills


def kills(workers: int, number: int) -> None:
    """Index the tiny BERT on raylets that are killed, and compare with one process."""
    sys.path.insert(0, str(SUPPORT))
    from tiny_index import CHEAP, tables, tiny_dataset
    from tiny_models import save_tiny

    os.environ.update(ENVIRONMENT)
    import ray
    from ray.cluster_utils import Cluster

    from atlas.indexing import batches
    from atlas.selection.thresholds import Thresholds

    batches.LARGEST_BATCH = 2
    settings: dict[str, Any] = {
        "data": tiny_dataset(relations=4, facts=80),
        "rule": CHEAP.rule,
        "points": CHEAP.points,
        "device": "cpu",
        "memory_budget": 0.25,
        "thresholds": Thresholds(known_only=False),
    }
    dice = random.Random(14)
    with tempfile.TemporaryDirectory() as scratch:
        model = save_tiny("bert", Path(scratch) / "bert")
        whole, killed = Path(scratch) / "whole.duckdb", Path(scratch) / "killed.duckdb"
        atlas.index(whole, model, **settings)
        small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": OBJECTS}
        cluster = Cluster(
            initialize_head=True, head_node_args={**small, "include_dashboard": False}
        )
        # machines to spare: none can be added from the thread that kills
        raylets = [cluster.add_node(**small) for _ in range(workers - 1 + MACHINES)]
        ray.init(cluster.address, log_to_driver=False, logging_level="critical")
        done = threading.Event()
        killings = {"workers": 0, "machines": 0}

        def kill() -> None:
            while not done.wait(3.0) and sum(killings.values()) < number:
                if killings["machines"] < MACHINES and dice.random() < 0.25:
                    cluster.remove_node(raylets.pop(), allow_graceful=False)
                    killings["machines"] += 1
                elif pids := _workers_at_work():
                    os.kill(dice.choice(pids), signal.SIGKILL)
                    killings["workers"] += 1

        killer = threading.Thread(target=kill)
        killer.start()
        with clocked(f"index by {workers} workers under kills"):
            report = atlas.index(killed, model, ray="auto", workers=workers, **settings)
        done.set()
        killer.join()
        equal = tables(whole) == tables(killed)
        print(f"killed {killings}; given up {len(report.given_up)}; tables equal: {equal}")
        ray.shutdown()
        cluster.shutdown()
        sys.exit(0 if equal else 1)


def _workers_at_work() -> list[int]:
    found = psutil.process_iter(["cmdline"])
    return [p.pid for p in found if any("Measurer" in w for w in p.info["cmdline"] or ())]


# The one writer


class _ResultsAtOnce:
    """`Workers` whose results cost nothing to measure, but arrive in Arrow as others do."""

    count = 1000
    threads = 1

    def __init__(self, rows: int, lm: LanguageModel) -> None:
        self.rows, self.lm = rows, lm

    def outcomes(
        self, work: Work[Any, Any], steps: Iterable[tuple[Any, Sequence[AskedPrompt] | None]]
    ) -> Generator[tuple[Any, Outcome[Any]], None, None]:
        for label, task in steps:
            if task is None:
                yield label, Outcome()
                continue
            yield label, self.arrived(work, [asked.prompt_id for asked in task])

    def arrived(self, work: Work[Any, Any], prompt_ids: Sequence[int]) -> Outcome[Any]:
        return Outcome(work.from_tables(work.to_tables(made_up(prompt_ids, self.rows, self.lm))))


def made_up(prompt_ids: Sequence[int], rows: int, lm: LanguageModel) -> records.PromptResults:
    """Results of prompts with so many scores each."""
    # steps of a prime never meet a neuron twice
    walk = np.asarray(prompt_ids)[:, None] % 9973 + 7919 * np.arange(rows)
    places = walk.ravel() % (lm.layers * lm.neurons_per_layer)
    scores = np.tile(np.geomspace(1, 0.05, rows, dtype=np.float32), len(prompt_ids))
    return records.PromptResults(
        [
            records.PromptResult(i, 0.5, 1, "Paris", 0.5, 1, 1.0, 2.0, -1.0, 0.5, 0.0, False, 9)
            for i in prompt_ids
        ],
        records.Attributions(
            np.repeat(np.asarray(prompt_ids, np.int64), rows),
            (places // lm.neurons_per_layer).astype(np.int16),
            (places % lm.neurons_per_layer).astype(np.int32),
            scores,
            scores,
        ),
    )


def writer(facts: int, rows: int, relations: int = 20, templates: int = 5) -> None:
    """Prompts and rows a second that the indexer's loop stores and selects."""
    each = facts // relations
    names = [t.text for r in read_dataset(None).relations for t in r.templates]
    texts = list(itertools.islice(itertools.cycle(names), templates))
    dataset = Dataset(
        "synthetic",
        tuple(
            Relation(
                f"P{number}",
                f"relation {number}",
                tuple(Template(f"P{number}", t) for t in texts),
                tuple(
                    Fact(f"P{number}-{i}", f"P{number}", f"France {i}", "Paris")
                    for i in range(each)
                ),
            )
            for number in range(relations)
        ),
    )
    prompts = relations * each * templates
    lm = load_model()
    settings = IndexSettings(model=lm)
    names = ("tokenising", "making up and unpacking", "storing", "selecting")
    spent = {name: [0.0, 0.0] for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "a.duckdb"
        crew = _ResultsAtOnce(rows, lm)
        with (
            _timed(indexer, "relation_batches", spent["tokenising"]),
            _timed(_ResultsAtOnce, "arrived", spent["making up and unpacking"]),
            _timed(records, "record_results", spent["storing"]),
            _timed(indexer, "select", spent["selecting"]),
            indexer.indexing_on(path, settings) as (file, _, _),
        ):
            wall, cpu = time.monotonic(), time.process_time()
            events = indexer.measure(file, lm, dataset, dataset, settings, workers=crew)
            last = deque(events, maxlen=1).pop()
            wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        assert last.computed == prompts
        size = path.stat().st_size
    print(
        f"{prompts:,} prompts, {prompts * rows:,} scores, {size / 1e6:,.0f} MB: {wall:.1f} s, "
        f"{cpu:.1f} CPU s; {prompts / wall:,.0f} prompts/s, {prompts * rows / wall:,.0f} scores/s"
    )
    for name, (seconds, of_cpu) in spent.items():
        print(
            f"  {name}: {seconds:.1f} s, {of_cpu:.1f} CPU s, {of_cpu / prompts * 1e6:.0f} CPU µs a "
            "prompt"
        )


@contextmanager
def _timed(module: Any, name: str, spent: list[float]) -> Iterator[None]:
    """Add up a function's seconds and CPU seconds while the context lasts."""
    function = getattr(module, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        wall, cpu = time.monotonic(), time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            spent[0] += time.monotonic() - wall
            spent[1] += time.process_time() - cpu

    setattr(module, name, timed)
    try:
        yield
    finally:
        setattr(module, name, function)


# More GPUs than there are here


def model(task: float, prompts_a_task: int, driver: float, start: float) -> None:
    """Seconds for a million prompts by W GPUs: the slower of the workers and the driver.

    T(W) = start + max(N / n · t / W, N · d), with t seconds a task of n prompts, d driver seconds a
    prompt.
    """
    prompts = 1_000_000
    print("GPUs  hours  prompts/s  efficiency")
    for gpus in (1, 2, 4, 8, 16, 32, 64, 128, 1024):
        work = prompts / prompts_a_task * task / gpus
        seconds = start + max(work, prompts * driver)
        alone = start + prompts / prompts_a_task * task
        print(
            f"{gpus:4d}  {seconds / 3600:5.2f}  {prompts / seconds:9,.0f}  "
            f"{alone / gpus / seconds:.0%}"
        )
    print(f"the driver is the limit from {task / prompts_a_task / driver:.0f} workers on")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = options.add_subparsers(dest="what", required=True)
    one = what.add_parser("threads")
    one.add_argument("--model", default="mini-bert")
    one.add_argument("--data", type=Path)
    one.add_argument("--limit", type=int, default=2)
    one.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="0: this process")
    two = what.add_parser("kills")
    two.add_argument("--workers", type=int, default=8)
    two.add_argument("--kills", type=int, default=12)
    five = what.add_parser("tasks")
    five.add_argument("--tasks", type=int, default=200)
    five.add_argument("--rows", type=int, default=150, help="scores a prompt")
    three = what.add_parser("writer")
    three.add_argument("--facts", type=int, default=20_000)
    three.add_argument("--rows", type=int, default=150, help="scores a prompt")
    four = what.add_parser("model")
    four.add_argument("--task", type=float, required=True, help="seconds a task")
    four.add_argument("--prompts", type=int, required=True, help="of a task")
    four.add_argument("--driver", type=float, required=True, help="driver's seconds a prompt")
    four.add_argument("--start", type=float, default=30.0, help="seconds until all have loaded")
    chosen = options.parse_args()
    if chosen.what == "threads":
        threads(chosen.model, chosen.data, chosen.limit, chosen.workers)
    elif chosen.what == "kills":
        kills(chosen.workers, chosen.kills)
    elif chosen.what == "tasks":
        tasks(chosen.tasks, chosen.rows)
    elif chosen.what == "writer":
        writer(chosen.facts, chosen.rows)
    else:
        model(chosen.task, chosen.prompts, chosen.driver, chosen.start)


if __name__ == "__main__":
    main()
