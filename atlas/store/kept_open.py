"""An atlas that stays open for reading from question to question, and gives way to who writes.

To open a file costs more than most questions: DuckDB starts, reads the catalogue, and has nothing
of it in memory. A connection that is kept lends all of that to the connections that questions open,
for those of a process to one file share what is behind them. It would also keep writers out; so
who waits for the file says so (`is_waited_for`), and the kept connection is closed.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import duckdb

from atlas.errors import StoreError
from atlas.store.atlas_file import AtlasFile
from atlas.store.connection import is_waited_for

IDLE = 60.0  # seconds without a question after which the file is closed
_LOOK = 0.02  # seconds between two looks for who waits


class KeptOpen:
    """Keeps a file open while it is asked; `close` ends that for good."""

    def __init__(self, file: AtlasFile) -> None:
        self._file = file
        self._held = contextlib.ExitStack()
        self._of: tuple[int, int, int] | None = None  # the file that is open; None: none is
        self._asked, self._last = 0, 0.0
        self._lock = threading.Lock()
        self._going, self._over = threading.Event(), threading.Event()
        self._looker = threading.Thread(target=self._look, name="kept open", daemon=True)
        self._looker.start()

    @property
    def is_open(self) -> bool:
        """Whether the file is open now."""
        return self._of is not None

    @contextlib.contextmanager
    def asked(self) -> Iterator[None]:
        """A question is asked within the block; another connection of its own does it."""
        with self._lock:
            if self._of is not None and self._of != self._there():
                self._let_go()  # another file took its place
            if self._of is None and not self._asked:
                self._open()
            self._asked += 1
        try:
            yield
        finally:
            with self._lock:
                self._asked -= 1
                self._last = time.monotonic()

    def close(self) -> None:
        """Close the file and end the thread that looks for who waits."""
        with self._lock:  # so that nobody clears what the thread is woken by
            self._over.set()
            self._going.set()
            self._let_go()
        self._looker.join()

    def _there(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._file.path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _open(self) -> None:
        """Open the file unless someone waits for it; the question itself says what is wrong."""
        if self._over.is_set() or is_waited_for(self._file.path):
            return
        found = self._there()
        with contextlib.suppress(StoreError, duckdb.Error):
            self._held.enter_context(self._file.reading(wait=0))
            self._of, self._last = found, time.monotonic()
            self._going.set()

    def _let_go(self) -> None:
        self._held.close()
        self._of = None
        if not self._over.is_set():
            self._going.clear()

    def _look(self) -> None:
        """Close the file as soon as someone waits for it, or when nobody has asked for long."""
        while not self._over.is_set():
            self._going.wait()
            time.sleep(_LOOK)
            with self._lock:
                idle = self._asked == 0 and time.monotonic() - self._last > IDLE
                if self._of is not None and (idle or is_waited_for(self._file.path)):
                    self._let_go()
