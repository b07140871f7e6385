"""What a cluster has room for, what is asked of it, and what is refused in one line."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from invocation import run

import atlas
from atlas.distributed import introduction, ray_cluster, settings
from atlas.distributed.introduction import Introduction, require_alike, versions
from atlas.distributed.settings import RaySettings, ray_settings
from atlas.distributed.shares import Node, Share, shares
from atlas.distributed.tables import (
    columns_as_table,
    rows_as_table,
    table_as_columns,
    table_as_rows,
)
from atlas.errors import SettingsError, WorkersError
from atlas.given_up import GivenUp, NotMeasured
from atlas.indexing.records import Attributions, PromptResult
from atlas.progress import Advance

# What a cluster has room for


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "expected"),
    [
        ([Node(8)], None, None, [Share(8)]),
        ([Node(8), Node(4)], None, None, [Share(8), Share(4)]),
        ([Node(8)], 2, None, [Share(4, beside=2)] * 2),
        ([Node(8)], 3, None, [Share(2, beside=3)] * 3),
        ([Node(8), Node(4)], 3, None, [Share(4, beside=2)] * 3),
        ([Node(2)], 2, None, [Share(1, beside=2)] * 2),
        ([Node(0), Node(4)], None, None, [Share(4)]),
        ([Node(64, 8)], None, None, [Share(8, 1.0, 8)] * 8),
        ([Node(64, 8)], 2, None, [Share(8, 1.0, 8)] * 2),
        ([Node(64, 8), Node(32)], None, None, [Share(8, 1.0, 8)] * 8),
        ([Node(16, 1)], None, 0.5, [Share(8, 0.5, 2)] * 2),
        ([Node(16, 1)], None, 0.1, [Share(1, 0.1, 10)] * 10),
        ([Node(64, 8)], None, 0.0, [Share(64)]),
        ([Node(4, 8)], None, None, [Share(1, 1.0, 8)] * 8),
    ],
)
def test_workers_get_a_gpu_each_or_their_share_of_the_cores(
    nodes: list[Node], workers: int | None, gpus: float | None, expected: list[Share]
) -> None:
    assert shares(nodes, RaySettings("auto", workers, gpus)) == expected


@pytest.mark.parametrize(
    ("nodes", "asked", "complaint"),
    [
        ([Node(2)], RaySettings("auto", 3), "no room for 3 workers: it has 2 cores"),
        ([], RaySettings("auto"), "no room for 0 workers"),
        ([Node(9, 2)], RaySettings("auto", 3), "no room for 3 workers: it has 2 GPUs"),
        ([Node(9)], RaySettings("auto", 1, 1.0), "no room for 1 worker: it has 0 GPUs"),
    ],
)
def test_more_workers_than_there_is_room_for_are_refused(
    nodes: list[Node], asked: RaySettings, complaint: str
) -> None:
    with pytest.raises(WorkersError, match=complaint):
        shares(nodes, asked)


# What is asked of it


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ((None, 2, None), "workers are of a Ray cluster"),
        ((None, None, 0.5), "workers are of a Ray cluster"),
        (("local", 0, None), "0 workers cannot measure"),
        (("local", None, 2.0), "on one GPU"),
        (("local", None, float("nan")), "on one GPU"),
        (("local", None, -1.0), "on one GPU"),
        (("local", None, None, "cuda:1"), "deals out its GPUs itself"),
        (("local", None, None, "mps"), "deals out its GPUs itself"),
        (("local", None, 1.0, "cpu"), "contradict"),
        (("local", None, 0.0, "cuda"), "contradict"),
    ],
)
def test_what_would_be_ignored_or_is_out_of_range_is_refused(
    asked: tuple[Any, ...], complaint: str
) -> None:
    with pytest.raises(SettingsError, match=complaint):
        ray_settings(*asked)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    found = run("index", "--ray", "local")
    assert found.exit_code == 1
    assert found.stderr == (
        "Error: Ray is not installed: `pip install 'knowledge-neuron-atlas[ray]'`, or measure in "
        "this process (--ray local)\n"
    )


def test_a_device_says_whether_workers_have_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda name: name)
    assert ray_settings("auto", 2, None, "cpu") == RaySettings("auto", 2, 0.0)
    assert ray_settings("auto", 2, None, "cuda") == RaySettings("auto", 2, 1.0)
    assert ray_settings("auto", 2, 0.5, "cuda") == RaySettings("auto", 2, 0.5)
    assert ray_settings(" auto ", None, None) == RaySettings("auto")
    assert ray_settings(None, None, None) is None


def test_a_loaded_model_cannot_be_sent_to_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from oracle import tiny_language_model

    monkeypatch.setattr(settings, "find_spec", lambda name: name)
    with pytest.raises(SettingsError, match="load the model by themselves"):
        atlas.index("nowhere.duckdb", tiny_language_model("bert"), ray="local")


# Addresses


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_an_address_where_nobody_listens_is_refused_at_once(listening: socket.socket) -> None:
    where = address(listening)
    listening.close()
    with pytest.raises(WorkersError, match=f"no Ray cluster answers at {where} .*refused"):
        ray_cluster._require_answer(where)


def test_an_address_that_stays_mute_is_refused_in_time(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "PATIENCE", 0.05)
    with pytest.raises(WorkersError, match=r"no Ray cluster answers at .*timed out"):
        ray_cluster._require_answer(address(listening))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_another_service_is_not_taken_for_ray(listening: socket.socket, answer: bytes) -> None:
    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(100)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(WorkersError, match="what listens there is not Ray"):
        ray_cluster._require_answer(address(listening))
    thread.join()


@pytest.mark.parametrize(
    "wrong", ["head", "head:", ":6379", "head:ray", "head:0", "head:99999", ""]
)
def test_what_is_no_address_is_refused_with_what_would_be(wrong: str) -> None:
    with pytest.raises(WorkersError, match="is no address of a Ray cluster: give auto, local or"):
        ray_cluster._require_answer(wrong)


# Workers that disagree


@pytest.fixture(scope="module")
def lm() -> Any:
    from oracle import tiny_language_model

    return tiny_language_model("bert")


@pytest.fixture
def worker(lm: Any) -> Introduction:
    return Introduction(
        node="n7",
        pid=1,
        device="cpu",
        dtype=lm.dtype,
        attention=lm.attention,
        weights_sha256=lm.weights_sha256,
        identity=lm.identity,
        versions=versions(),
        threads=1,
    )


def test_a_worker_that_is_alike_is_welcome(lm: Any, worker: Introduction) -> None:
    require_alike(worker, worker, lm)


@pytest.mark.parametrize("package", introduction.PACKAGES)
def test_a_worker_with_another_version_is_named_with_it(
    lm: Any, worker: Introduction, package: str
) -> None:
    other = replace(worker, versions={**worker.versions, package: "0.0.1"})
    with pytest.raises(WorkersError, match=f"the worker on n7 has {package} 0.0.1, here it is"):
        require_alike(other, worker, lm)


def test_a_worker_with_other_weights_attention_or_device_is_named(
    lm: Any, worker: Introduction
) -> None:
    with pytest.raises(WorkersError, match=f"on n7 has weights {'f' * 12} .* {lm.model_id}"):
        require_alike(replace(worker, weights_sha256="f" * 64), worker, lm)
    with pytest.raises(WorkersError, match="on n7 runs flash attention"):
        require_alike(replace(worker, attention="flash"), worker, lm)
    with pytest.raises(WorkersError, match="on n7 measures on cuda, another on cpu"):
        require_alike(replace(worker, device="cuda"), worker, lm)


# Results on their way


def test_results_come_out_of_arrow_as_they_went_in() -> None:
    rows = [PromptResult(2**62, 0.1, 3, "Łódź", 0.7), PromptResult(1, skipped_because="none")]
    assert table_as_rows(PromptResult, rows_as_table(PromptResult, rows)) == rows
    assert table_as_rows(PromptResult, rows_as_table(PromptResult, [])) == []
    scores = Attributions(
        prompt_id=np.array([2**62, 5]),
        layer=np.array([1, 2], np.int16),
        neuron=np.array([3, 4], np.int32),
        score=np.array([0.1, np.float32(1e-45)], np.float32),
        activation=np.array([-1, 2], np.float32),
    )
    back = table_as_columns(Attributions, columns_as_table(scores))
    for name, column in vars(scores).items():
        assert getattr(back, name).dtype == column.dtype
        assert np.array_equal(getattr(back, name), column)


def test_progress_says_how_many_are_at_work() -> None:
    alone = Advance("all", 5, 10, computed=5, seconds=1.0)
    assert alone.pace == "5.0 prompts/s, ETA 0:00:01"
    assert replace(alone, workers=1).pace == "5.0 prompts/s, ETA 0:00:01, 1 worker"
    assert replace(alone, workers=8).pace == "5.0 prompts/s, ETA 0:00:01, 8 workers"


def test_what_was_given_up_is_named() -> None:
    lost = NotMeasured.task("P36 capital", 3, "prompt", GivenUp(4, "out of memory"))
    assert str(lost) == (
        "3 prompts of P36 capital not measured: each of 4 workers died of them (out of memory)"
    )
