"""A lock that is a file: flock(2), which the system releases however the process ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class Held(Exception):
    """Another process has the lock; `holder` says which, as far as it is known."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextlib.contextmanager
def file_lock(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock `path`, a file with this process's id in it; Held at once without `wait`.

    The file goes away on a clean exit; after a kill it stays, unlocked, and does no harm.
    """
    descriptor = _acquire(path, wait)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        # Removed while still locked: who opened it in the meantime finds out in _acquire.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, wait: bool) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_current(descriptor, path):
                return descriptor
            # The former holder removed the file between our open and our flock: what we locked
            # has no name any more, and a third process may be locking the new file of that name.
            os.close(descriptor)
        except BlockingIOError as e:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise Held(holder) from e
        except BaseException:
            os.close(descriptor)
            raise


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), named)


def _holder(descriptor: int) -> str:
    pid = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
    return f"process {pid}" if pid.isdecimal() else "another process"
