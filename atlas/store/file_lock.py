"""A lock that is a file, which the system releases however the process ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_PAUSE = 0.02  # seconds between two attempts of who waits


class Held(Exception):
    """Another process has the lock; `holder` says which, as far as it is known."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextlib.contextmanager
def file_lock(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock `path`; Held at once without `wait`.

    Beside it lies `PATH.pid` with this process's id: a lock file itself is emptied by whoever
    tries to lock it. Both go away on a clean exit; after a kill they stay, unlocked, and do no
    harm.
    """
    from filelock import FileLock, Timeout  # no query needs them

    path.parent.stat()  # filelock would make the directory
    pid = path.with_name(f"{path.name}.pid")
    lock = FileLock(path, timeout=-1 if wait else 0, poll_interval=_PAUSE)
    try:
        lock.acquire()
    except Timeout as e:
        raise Held(_holder(pid)) from e
    try:
        pid.write_text(str(os.getpid()))
        yield
    finally:
        pid.unlink(missing_ok=True)
        # While it is still locked: who opened it in the meantime finds that it has no name any
        # more, and tries again. (Before filelock 4 releasing it would remove the next one's.)
        with contextlib.suppress(PermissionError):  # Windows removes no open file
            path.unlink(missing_ok=True)
        lock.release()


def _holder(pid: Path) -> str:
    try:
        found = pid.read_text(errors="replace").strip()
    except OSError:
        found = ""
    return f"process {found}" if found.isdecimal() else "another process"
