"""How many workers a cluster has room for, and how many cores each of them gets."""

from collections.abc import Sequence
from dataclasses import dataclass

from atlas.counted import counted
from atlas.distributed.settings import RaySettings
from atlas.errors import WorkersError


@dataclass(frozen=True)
class Node:
    """What a machine of the cluster has to offer."""

    cores: int
    gpus: float = 0.0


@dataclass(frozen=True)
class Share:
    """What one worker gets, and with how many others it shares its machine's memory."""

    cores: int
    gpus: float = 0.0
    beside: int = 1  # workers on the machine, this one included


def shares(nodes: Sequence[Node], settings: RaySettings) -> list[Share]:
    """A share for every worker; WorkersError where there is no room for so many.

    Where no number is asked for: a worker a GPU, or else a worker a node with all its cores. For a
    number on cores, all workers get as many cores as will do for so many.
    """
    gpus = settings.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if any(node.gpus >= 1 for node in nodes) else 0.0
    if gpus:
        return _on_gpus(nodes, gpus, settings.workers)
    cores = [node.cores for node in nodes if node.cores >= 1]
    wanted = len(cores) if settings.workers is None else settings.workers
    if not 0 < wanted <= sum(cores):
        raise _no_room(wanted, f"{counted(sum(cores), 'core')}, and each needs one")
    if settings.workers is None:
        return [Share(count) for count in cores]
    each = max(s for s in range(1, max(cores) + 1) if sum(c // s for c in cores) >= wanted)
    return [Share(each, beside=min(wanted, max(cores) // each))] * wanted


def _on_gpus(nodes: Sequence[Node], gpus: float, wanted: int | None) -> list[Share]:
    room = [
        Share(max(1, node.cores // fitting), gpus, fitting)
        for node in nodes
        if (fitting := int(node.gpus / gpus + 1e-9)) and node.cores
        for _ in range(fitting)
    ]
    if not room or len(room) < (wanted or 0):
        total = f"{sum(node.gpus for node in nodes):g}"
        raise _no_room(wanted or 1, f"{total} GPUs, and each needs {gpus:g} and a core")
    return room[:wanted]


def _no_room(wanted: int, has: str) -> WorkersError:
    return WorkersError(
        f"the cluster has no room for {counted(wanted, 'worker')}: it has {has}",
        parameters=["workers"],
    )
