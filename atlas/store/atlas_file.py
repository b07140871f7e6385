"""An atlas file: creating it, recognising it, bringing it to the newest revision.

At every moment the file is either the old one or the new one, whole: it is created under
another name and linked into place, and upgraded in one transaction after a backup was made.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import duckdb

from atlas.errors import NewerAtlas, NotAnAtlas, StoreError
from atlas.store import connection as connections
from atlas.store import migrate

_CREATING = ".creating-"


@dataclass(frozen=True)
class Atlas:
    """An atlas at the newest revision; the file is open only inside `reading` and `writing`."""

    path: Path

    def reading(
        self, wait: float = 10.0
    ) -> contextlib.AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A read-only connection; LockedAtlas after `wait` seconds in which others write."""
        return connections.reading(self.path, wait)

    def writing(
        self, wait: float = 60.0
    ) -> contextlib.AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A connection with one transaction: commits on exit, rolls back on an exception."""
        return connections.writing(self.path, wait)


def open_atlas(path: Path | str, *, create: bool = False) -> Atlas:
    """The atlas at `path`, upgraded first if an older version wrote it.

    An older file is copied to `PATH.backup-REVISION` before it is touched. With `create`, a
    missing file (or a DuckDB file without any table) becomes a new atlas.

    Errors: StoreError (no such file), NotAnAtlas, NewerAtlas, LockedAtlas, ReadOnlyAtlas, DiskFull.
    """
    path = Path(path)
    newest = migrate.revisions()[-1]
    if not path.exists():
        if not create:
            raise StoreError(connections.missing(path))
        _create(path)
    with connections.reading(path) as connection:
        found = _recognised(path, connection, create)
    if found != newest:
        _upgrade(path, create)
    return Atlas(path)


def _recognised(path: Path, connection: duckdb.DuckDBPyConnection, create: bool) -> str | None:
    """The file's revision, which this version knows; None for a file without tables."""
    found = migrate.revision_of(connection)
    known = migrate.revisions()
    if found is None:
        if not migrate.is_empty(connection):
            raise NotAnAtlas(f"{path} is a DuckDB file of something else: name another with --db")
        if not create:
            raise NotAnAtlas(f"{path} is empty: fill it with `atlas index`, or name another file")
    elif found not in known:
        raise NewerAtlas(
            f"{path} has schema revision {found}, this version knows up to {known[-1]}: "
            "upgrade with `pip install -U knowledge-neuron-atlas`"
        )
    return found


def _create(path: Path) -> None:
    with connections.mapped_errors(path):
        _remove_abandoned(path)
        unfinished = path.with_name(f"{path.name}{_CREATING}{os.getpid()}")
        try:
            with contextlib.closing(duckdb.connect(str(unfinished))) as connection:
                migrate.upgrade(connection)
            _flush(unfinished)
            with contextlib.suppress(FileExistsError):  # another process was faster: use its file
                os.link(unfinished, path)
            _flush(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Remove what processes killed during a creation left behind."""
    for leftover in path.parent.glob(f"{path.name}{_CREATING}*"):
        pid = leftover.name.rpartition("-")[2].partition(".")[0]
        if pid.isdecimal() and not _alive(int(pid)):
            leftover.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _upgrade(path: Path, create: bool) -> None:
    # Closing any descriptor of the file drops DuckDB's lock on it, so the one that is copied from
    # stays open until the connection is closed.
    with contextlib.ExitStack() as descriptors, connections.exclusive(path) as connection:
        # Another process may have upgraded it while this one waited.
        found = _recognised(path, connection, create)
        if found == migrate.revisions()[-1]:
            return
        if found is None:
            migrate.upgrade(connection)
            return
        connection.execute("CHECKPOINT")  # so that the file alone, without its WAL, is everything
        source = os.open(path, os.O_RDONLY)
        descriptors.callback(os.close, source)
        _copy(source, path.with_name(f"{path.name}.backup-{found}"))
        migrate.upgrade(connection)


def _copy(source: int, backup: Path) -> None:
    """Copy an open file to `backup`, which appears whole or not at all."""
    unfinished = backup.with_name(f"{backup.name}.unfinished")
    try:
        with unfinished.open("wb") as target:
            offset = 0
            while chunk := os.pread(source, 1 << 20, offset):
                target.write(chunk)
                offset += len(chunk)
            target.flush()
            os.fsync(target.fileno())
        unfinished.replace(backup)
    finally:
        unfinished.unlink(missing_ok=True)
    _flush(backup.parent)


def _flush(path: Path) -> None:
    """Make a file's content, or a directory's names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
