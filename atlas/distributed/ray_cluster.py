"""Connecting to a Ray cluster, or starting one of one's own, without a word and within seconds.

One of its own answers whoever has its secret, which is this process's alone, keeps its files in a
directory that goes with it, and sends nothing anywhere.
"""

import contextlib
import logging
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from atlas.distributed.settings import AUTO, LOCAL
from atlas.distributed.shares import Node
from atlas.errors import WorkersError
from atlas.models.checkpoint import one_line

PATIENCE = 5.0  # seconds for an address to answer
OBJECTS = 256 << 20  # bytes for results on their way: a batch has some megabytes
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SCHEDULER_EVENTS": "0",
    # else Ray warns of what it will do some day with GPUs that an actor has not asked for
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""What Ray is told, unless the user tells it otherwise."""
_TOKEN = secrets.token_hex(32)
# How HTTP/2, which Ray's servers speak, begins; a server answers with its settings at once.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4  # type of that frame, its fourth byte


@contextlib.contextmanager
def connected(address: str) -> Iterator[ModuleType]:
    """Ray, connected within the context; what was started for it is gone after it.

    A process that is connected already stays so. Raises WorkersError where no cluster answers.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # 0.5 s, and an extra
    import ray

    if ray.is_initialized():
        yield ray
        return
    with contextlib.ExitStack() as after:
        after.enter_context(_own_signals())
        after.enter_context(_silent())
        own = address == LOCAL or (address == AUTO and not _running())
        arguments: dict[str, Any] = {"address": AUTO if address == AUTO else address}
        if own:
            arguments = _of_its_own(after)
        elif address != AUTO:
            _require_answer(address)
        after.callback(ray.shutdown)  # also of what an interrupt leaves half started
        try:
            ray.init(
                **arguments, log_to_driver=False, configure_logging=False, logging_level="critical"
            )
        except Exception as error:
            where = "here" if own else f"at {address}"
            begun = "could not be started" if own else "cannot be joined"
            raise WorkersError(
                f"a Ray cluster {where} {begun}: {one_line(error, 200)}", parameters=["ray"]
            ) from error
        yield ray


def nodes(ray: Any) -> list[Node]:
    """The machines of the cluster that are alive."""
    return [
        Node(int(found["Resources"].get("CPU", 0)), float(found["Resources"].get("GPU", 0)))
        for found in ray.nodes()
        if found["Alive"]
    ]


def _of_its_own(after: contextlib.ExitStack) -> dict[str, Any]:
    """Arguments of `ray.init` for a cluster of this machine alone."""
    # Ray's sockets lie there: their paths may have about a hundred characters.
    short = "/tmp" if Path("/tmp").is_dir() else None
    place = after.enter_context(
        tempfile.TemporaryDirectory(prefix="atlas-ray-", dir=short, ignore_cleanup_errors=True)
    )
    after.enter_context(_secret())
    return {
        "address": LOCAL,
        "num_cpus": _cores(),
        "include_dashboard": False,
        "object_store_memory": OBJECTS,
        "_temp_dir": place,
    }


@contextlib.contextmanager
def _secret() -> Iterator[None]:
    """Let nobody else join a cluster that is started within the context: who can, can run code.

    Ray asks for a secret by itself (unless RAY_AUTH_MODE says otherwise), but would write one into
    the user's home where there is none. It remembers the first that a process uses.
    """
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")  # Ray sets the first
    before = {name: os.environ.get(name) for name in names}
    given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if not given and not (Path.home() / ".ray" / "auth_token").exists():
        os.environ["RAY_AUTH_TOKEN"] = _TOKEN
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _running() -> bool:
    """Whether this machine is in a cluster, as far as Ray's own search can tell."""
    from ray._private.services import find_gcs_addresses

    named = os.environ.get("RAY_ADDRESS")
    if named and named != LOCAL:
        _require_answer(named)
        return True
    return bool(find_gcs_addresses())


def _require_answer(address: str) -> None:
    """WorkersError unless something that may be Ray's listens at HOST:PORT.

    Ray itself would try for minutes, deaf to Ctrl-C.
    """
    if address == AUTO or "://" in address:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise WorkersError(
            f"'{address}' is no address of a Ray cluster: give auto, local or HOST:PORT",
            parameters=["ray"],
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PATIENCE) as connection:
            connection.settimeout(PATIENCE)
            connection.sendall(_PREFACE)
            answer = connection.recv(9)
    except OSError as error:
        raise _silence(address, one_line(error)) from error
    if len(answer) < 4 or answer[3] != _SETTINGS:
        raise _silence(address, "what listens there is not Ray")


def _silence(address: str, why: str) -> WorkersError:
    return WorkersError(
        f"no Ray cluster answers at {address} ({why}): look at `ray status` there",
        parameters=["ray"],
    )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Ray's own loggers say nothing within the context: what matters comes as an exception."""
    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """What SIGTERM does is as it was after the context: Ray takes it for itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
