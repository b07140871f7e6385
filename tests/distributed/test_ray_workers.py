"""Workers of a Ray cluster against one process: the same atlas, whoever is killed on the way."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from stored_edits import build
from tiny_index import CHEAP, rows, tables, tiny_dataset, write_jsonl

import atlas
from atlas.atlas import Atlas, open_atlas
from atlas.distributed import dispatch, introduction, ray_workers
from atlas.distributed.introduction import ModelToLoad
from atlas.distributed.ray_cluster import OBJECTS
from atlas.distributed.settings import RaySettings
from atlas.errors import AtlasError, ModelError, ModelNotFound, WorkersError
from atlas.indexing import batches, indexer
from atlas.models.load import load_model
from atlas.progress import Advance
from atlas.selection.thresholds import Thresholds

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_is_wanted", "one_thread")]

TWO = {"ray": "auto", "workers": 2}
DATASET = tiny_dataset(relations=2, facts=8)
CHEAPLY: dict[str, Any] = {
    "data": DATASET,
    "device": "cpu",
    "rule": CHEAP.rule,
    "points": CHEAP.points,
    "thresholds": Thresholds(known_only=False),
    "memory_budget": 0.25,
}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tasks, each committed."""
    monkeypatch.setattr(batches, "LARGEST_BATCH", 4)
    monkeypatch.setattr(indexer, "COMMIT_EVERY", -1.0)


@pytest.fixture(scope="module")
def alone(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every table of the index with interactions, as one process makes it.

    On one thread, as each of the simulated machines has one core: another number rounds otherwise.
    """
    path = tmp_path_factory.mktemp("alone") / "atlas.duckdb"
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "LARGEST_BATCH", 4)
        torch.set_num_threads(1)
        atlas.index(path, saved_bert, interactions=True, **CHEAPLY)
        torch.set_num_threads(threads)
    return tables(path)


def worker_pids() -> list[int]:
    """Processes of this machine that are workers of ours."""
    return [p.pid for p in psutil.process_iter(["name", "cmdline"]) if _is_worker(p)]


def _is_worker(process: psutil.Process) -> bool:
    return any("Measurer" in word for word in process.info["cmdline"] or ())


def _still_there(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that do not end by themselves; killed ones may take a moment."""
    _, alive = psutil.wait_procs(processes, timeout=30)
    return list(alive)


@dataclass
class Once:
    """A `progress` that does something when so many prompts are measured."""

    act: Callable[[], object]
    after: int = 8
    workers: int = 0  # that were told of last

    def __call__(self, event: object) -> None:
        if isinstance(event, Advance) and event.workers is not None:
            self.workers = event.workers
            if self.after and event.computed >= self.after:
                self.after = 0
                self.act()


def test_two_workers_make_the_atlas_of_one_process(
    simulated: Any, saved_bert: Path, tmp_path: Path, alone: dict[str, Any]
) -> None:
    path = tmp_path / "atlas.duckdb"
    told = Once(lambda: None)
    atlas.index(path, saved_bert, interactions=True, progress=told, **TWO, **CHEAPLY)
    assert told.workers == 2
    assert tables(path) == alone
    verified = open_atlas(path).verify(sample="100%", lm=saved_bert, **TWO)
    assert verified.holds
    assert (verified.workers, verified.threads, verified.given_up) == (2, 1, ())
    assert tables(path) == alone
    assert _still_there(psutil.Process(pid) for pid in worker_pids()) == []


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_missing(
    simulated: Any, saved_bert: Path, tmp_path: Path, alone: dict[str, Any]
) -> None:
    path, killed = tmp_path / "atlas.duckdb", []

    def kill() -> None:
        killed.append(worker_pids()[0])
        os.kill(killed[0], signal.SIGKILL)

    report = atlas.index(path, saved_bert, interactions=True, progress=Once(kill), **TWO, **CHEAPLY)
    assert killed
    assert report.given_up == ()
    assert tables(path) == alone


def test_a_machine_that_is_lost_takes_no_prompt_with_it(
    simulated: Any, saved_bert: Path, tmp_path: Path, alone: dict[str, Any]
) -> None:
    path = tmp_path / "atlas.duckdb"
    machine = simulated.add_node(num_cpus=1, object_store_memory=OBJECTS)
    simulated.wait_for_nodes()
    lost = Once(lambda: simulated.remove_node(machine, allow_graceful=False))
    atlas.index(
        path, saved_bert, interactions=True, progress=lost, ray="auto", workers=3, **CHEAPLY
    )
    assert not lost.after
    assert tables(path) == alone


def test_a_check_on_workers_stores_what_one_process_would(
    simulated: Any, saved_bert: Path, tmp_path: Path
) -> None:
    edited = build(tmp_path, saved_bert)
    edited.store()
    other = edited.copied(tmp_path / "other.duckdb").atlas.path
    Atlas(edited.atlas.path).check(1, scope="all", lm=saved_bert, device="cpu")
    found = Atlas(other).check(1, scope="all", lm=saved_bert, **TWO)
    assert found.checks[0].given_up == ()
    wanted, stored = tables(edited.atlas.path)["side_effects"], tables(other)["side_effects"]
    assert len(stored) == len(wanted) > 0
    for mine, theirs in zip(stored, wanted, strict=True):  # parts are of other sizes
        floats = [[v for v in row if isinstance(v, float)] for row in (mine, theirs)]
        others = [[v for v in row if not isinstance(v, float)] for row in (mine, theirs)]
        assert floats[0] == pytest.approx(floats[1], rel=1e-5)
        assert others[0] == others[1]


# What workers are told


@pytest.fixture
def crew(simulated: Any, saved_bert: Path) -> Any:
    """Two workers that have met."""
    model = ModelToLoad.of(str(saved_bert), "float32")
    with ray_workers.ray_workers(RaySettings("auto", 2, 0.0), model) as workers:
        workers.meet(load_model(str(saved_bert), device="cpu"))
        yield workers


def test_what_kills_or_fails_its_worker_is_told_apart(
    crew: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "REPEATS", 1)
    once = tmp_path / "once"

    class Perilous:
        """Local, so that it travels by value: workers need not find this module."""

        def measure(self, lm: Any, task: int) -> int:
            if task == 2 and not once.exists():
                once.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if task == 3:
                raise MemoryError
            if task == 9:
                raise ModelError("the model returns NaN", parameters=["model"])
            return task

        def to_tables(self, result: int) -> dict[str, Any]:
            import pyarrow

            return {"number": pyarrow.table({"number": [result]})}

        def from_tables(self, tables: Any) -> int:
            return int(tables["number"]["number"][0].as_py())

    found = list(crew.outcomes(Perilous(), ((number, number) for number in range(6))))
    assert [label for label, _ in found] == list(range(6))
    assert [outcome.result for _, outcome in found] == [0, 1, 2, None, 4, 5]
    assert found[3][1].given_up is not None
    assert found[3][1].given_up.because == "out of memory"
    assert found[3][1].given_up.attempts == 2
    with pytest.raises(ModelError, match=r"^the model returns NaN$") as refused:
        list(crew.outcomes(Perilous(), [(9, 9)]))
    assert refused.value.parameters == ("model",)


def test_workers_that_have_another_model_or_other_packages_are_named(
    simulated: Any, saved_bert: Path, saved_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = load_model(str(saved_bert), device="cpu")
    here = introduction.versions()

    def refused(name: Path, with_lm: Any) -> str:
        settings = RaySettings("auto", 1, 0.0)
        with (
            pytest.raises(AtlasError) as error,
            ray_workers.ray_workers(settings, ModelToLoad.of(str(name), "float32")) as workers,
        ):
            workers.meet(with_lm)
        return str(error.value)

    other = replace(lm, weights_sha256="f" * 64)
    assert re.match(
        r"the worker on \S+ has weights \w{12} for 'bert', here", refused(saved_bert, other)
    )
    monkeypatch.setattr(introduction, "versions", lambda: {**here, "torch": "1.0"})
    assert re.match(r"the worker on \S+ has torch .*, here it is 1.0", refused(saved_bert, lm))
    missing = refused(saved_bert / "missing", lm)
    assert re.match(r"the worker on \S+: .*missing", missing)


def test_more_workers_than_cores_are_refused_before_a_file_is_made(
    simulated: Any, saved_bert: Path, tmp_path: Path
) -> None:
    path = tmp_path / "atlas.duckdb"
    with pytest.raises(WorkersError, match="no room for 99 workers"):
        atlas.index(path, saved_bert, ray="auto", workers=99, **CHEAPLY)
    with pytest.raises(ModelNotFound):
        atlas.index(path, saved_bert / "missing", ray="auto", workers=1, **CHEAPLY)
    assert list(tmp_path.iterdir()) == []


# From the command line, with a cluster of its own

SLOWLY = """
import sys
from atlas.indexing import batches, indexer
batches.LARGEST_BATCH = 1
indexer.COMMIT_EVERY = -1.0
from atlas_cli.main import main
main()
"""


def test_ctrl_c_leaves_a_valid_atlas_and_no_process(
    ray_is_wanted: None, saved_bert: Path, tmp_path: Path
) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", tiny_dataset(relations=2, facts=60))
    db = tmp_path / "atlas.duckdb"
    words = ["index", "--ray", "local", "--workers", "2", "--db", str(db), "--data", str(data)]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *words, "--model", str(saved_bert)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "RAY_ADDRESS": ""},
    )
    started: set[psutil.Process] = set()
    try:
        deadline = time.monotonic() + 120
        while not (db.exists() and _measured(db)):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            started |= set(psutil.Process(process.pid).children(recursive=True))
            time.sleep(0.2)
        started |= set(psutil.Process(process.pid).children(recursive=True))
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == (
        f"Interrupted: what was measured is in {db}; the same command continues."
    )
    assert any("raylet" in " ".join(_words(p)) for p in started) or len(started) > 3
    assert _still_there(started) == []
    assert [run.status for run in open_atlas(db).info().runs] == ["interrupted"]
    wrong = "FROM attributions ANTI JOIN prompt_results USING (run_id, prompt_id)"
    assert rows(db, f"SELECT count(*) {wrong}") == [(0,)]


def _measured(db: Path) -> bool:
    try:
        return rows(db, "SELECT count(*) FROM prompt_results") > [(3,)]
    except AtlasError:  # it is being made
        return False


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_an_address_that_does_not_answer_ends_in_one_line(
    ray_is_wanted: None, tmp_path: Path, saved_bert: Path
) -> None:
    db = tmp_path / "atlas.duckdb"
    done = subprocess.run(
        ["atlas", "index", "--ray", "127.0.0.1:1", "--db", str(db), "--model", str(saved_bert)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"Error: no Ray cluster answers at 127.0.0.1:1 \(.*refused\): look at `ray status` there "
        r"\(--ray local\)\n",
        done.stderr,
    )
    assert not db.exists()
