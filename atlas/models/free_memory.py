"""How much memory this process may still take: what the machine has free, and what limits it."""

import resource
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")
# A control group's limit and use: of version 2, of version 1.
_FILES = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def free_memory() -> int:
    """Bytes: the least of what is available, the address space left, and the control groups'."""
    free: int = psutil.virtual_memory().available
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        free = min(free, limit - psutil.Process().memory_info().vms)
    left = [bytes_left for group in _own_groups() if (bytes_left := _left(group)) is not None]
    return max(0, min([free, *left]))


def _own_groups() -> list[Path]:
    """The directories of this process's control groups for memory, and of those around them."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _GROUPS / "memory" if controllers else _GROUPS
        own = root / path.lstrip("/")  # in a container it may be the mount itself that is its own
        found += [group for group in (own, *own.parents) if group.is_relative_to(root)]
    return found


def _left(group: Path) -> int | None:
    """Bytes that a control group may still take; None without a limit."""
    for limit, used in _FILES:
        try:
            most = int((group / limit).read_text(encoding="utf-8"))
            return most - int((group / used).read_text(encoding="utf-8")) + _cached(group)
        except (OSError, ValueError):  # no such file, or the word max
            continue
    return None


def _cached(group: Path) -> int:
    """Bytes of files in a control group's memory, which it gives back when more is asked for."""
    try:
        lines = (group / "memory.stat").read_text(encoding="utf-8").splitlines()
        return int(dict(line.split(maxsplit=1) for line in lines)["inactive_file"])
    except (OSError, ValueError, KeyError):
        return 0
