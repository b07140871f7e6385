"""Connections to an atlas file, open only as long as a `with` block.

DuckDB lets one process write, or any number read. Both context managers therefore wait for their
turn, and callers keep the blocks short: the indexer opens the file only to commit a batch.

Inside one process DuckDB refuses a second connection to a file whose mode differs from the first
one's, so a `reading` inside a `writing` of the same file (or the reverse) waits in vain and ends
in LockedAtlas. The rule is: use the connection that is already open.

Who waits for the file leaves an empty one beside it, `PATH.waiting`, so that a reader that keeps
it open (`kept_open`) gives way.

This process must not open the file by other means while a connection is open: closing *any*
descriptor of a file drops the process's POSIX locks on it, DuckDB's among them.
"""

import contextlib
import errno
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

from atlas.errors import DiskFull, LockedAtlas, NewerAtlas, NotAnAtlas, ReadOnlyAtlas, StoreError

# Without these, opening an SQLite file by mistake downloads an extension.
_CONFIG: dict[str, str] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
# With these a connection reads its file and nothing else of the machine. All connections of a
# process to a file have one configuration, or DuckDB refuses the second.
SANDBOX: dict[str, str] = {"enable_external_access": "false", "lock_configuration": "true"}
_DUCKDB = (duckdb.Error,)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1  # seconds
_FORGOTTEN = 5.0  # seconds after which someone who waits and has not renewed the sign is gone
_PID = re.compile(r"\(PID (\d+)\)")
_FULL = ("File too large", "No space left on device", "Disk quota exceeded")
_FULL_ERRNOS = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_NEWER = ("newer version of DuckDB", "storage version")
_FORBIDDEN = ("Permission denied", "Read-only file system", "Operation not permitted")
_FORBIDDEN_ERRNOS = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def reading(
    path: Path | str, wait: float = 10.0, config: dict[str, str] | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection; waits up to `wait` seconds while another process writes."""
    connection = _connect(Path(path), wait, read_only=True, config=config)
    try:
        with mapped_errors(Path(path), _DUCKDB):  # an OSError in the block is the caller's
            yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def writing(path: Path | str, wait: float = 60.0) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with one open transaction; waits up to `wait` seconds for its turn.

    The transaction commits when the block ends and rolls back when anything, KeyboardInterrupt
    included, leaves it. The file must exist: atlas_file creates it.
    """
    with exclusive(path, wait) as connection:
        connection.execute("BEGIN TRANSACTION")
        try:
            yield connection
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


@contextlib.contextmanager
def exclusive(path: Path | str, wait: float = 60.0) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that keeps every other process out, without a transaction: for migrations."""
    connection = _connect(Path(path), wait, read_only=False)
    try:
        with mapped_errors(Path(path), _DUCKDB):  # an OSError in the block is the caller's
            yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def attached(
    connection: duckdb.DuckDBPyConnection, path: Path | str, name: str, wait: float = 10.0
) -> Iterator[None]:
    """Let SQL on the connection read the atlas at `path` as the schema `name`, as `reading` does.

    What the block raises passes through unchanged, since it may be about either file.
    """
    quoted = str(path).replace("'", "''")
    _waiting(
        Path(path), wait, lambda: connection.execute(f"ATTACH '{quoted}' AS {name} (READ_ONLY)")
    )
    try:
        yield
    finally:
        # after a failure the transaction is over, and with it the connection
        with contextlib.suppress(duckdb.Error):
            connection.execute(f"DETACH {name}")


def _connect(
    path: Path, wait: float, *, read_only: bool, config: dict[str, str] | None = None
) -> duckdb.DuckDBPyConnection:
    return _waiting(
        path,
        wait,
        lambda: duckdb.connect(
            str(path), read_only=read_only, config={**_CONFIG, **(config or {})}
        ),
    )


def _waiting(
    path: Path, wait: float, opened: Callable[[], duckdb.DuckDBPyConnection]
) -> duckdb.DuckDBPyConnection:
    """What `opened` returns, tried again for `wait` seconds while others hold the file."""
    deadline = time.monotonic() + wait
    pause, sign, signed = _FIRST_PAUSE, _sign(path), False
    try:
        while True:
            try:
                with mapped_errors(path):
                    if not path.exists():  # DuckDB would create it
                        raise StoreError(
                            f"no atlas at {path}: run `atlas index`, or name another file",
                            parameters=["path"],
                        )
                    return opened()
            except LockedAtlas:
                if time.monotonic() + pause > deadline:
                    raise
                with contextlib.suppress(OSError):  # of a directory that must not be written
                    sign.touch()
                    signed = True
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
    finally:
        if signed:
            sign.unlink(missing_ok=True)


def is_waited_for(path: Path) -> bool:
    """Whether someone waits for the file; a sign that a killed process left counts not."""
    try:
        return time.time() - _sign(path).stat().st_mtime < _FORGOTTEN
    except OSError:
        return False


def _sign(path: Path) -> Path:
    return path.with_name(f"{path.name}.waiting")


@contextlib.contextmanager
def mapped_errors(
    path: Path, kinds: tuple[type[Exception], ...] = (duckdb.Error, OSError)
) -> Iterator[None]:
    """Turn DuckDB's and the system's complaints about the file into one-line StoreErrors.

    `kinds` limits which exceptions are looked at. Errors in our own SQL pass through unchanged:
    they are bugs.
    """
    try:
        yield
    except RuntimeError as e:
        if "Query interrupted" in str(e):  # what DuckDB makes of Ctrl-C
            raise KeyboardInterrupt from e
        raise
    except kinds as e:
        mapped = _store_error(path, e)
        if mapped is None:
            raise
        raise mapped from e


def _store_error(path: Path, e: Exception) -> StoreError | None:
    text = str(e)
    number = e.errno if isinstance(e, OSError) else None
    if number in _FULL_ERRNOS or any(sign in text for sign in _FULL):
        return DiskFull(
            f"the disk is full, {path} could not grow: free some space and run the command again; "
            "what was committed is intact"
        )
    if number in _FORBIDDEN_ERRNOS or any(sign in text for sign in _FORBIDDEN):
        return ReadOnlyAtlas(
            f"{path} or its directory does not permit this: change the permissions, or copy the "
            "atlas somewhere else and name that file",
            parameters=["path"],
        )
    if isinstance(e, OSError):
        return StoreError(f"cannot use {path}: {e.strerror or text}")
    if "Could not set lock" in text:
        pid = _PID.search(text)
        holder = f"process {pid[1]}" if pid else "another process"
        return LockedAtlas(f"{path} is in use by {holder}: wait for it to end, or stop it")
    if "different configuration than existing connections" in text:
        return LockedAtlas(
            f"{path} is already open in this process: close that connection first, or use it"
        )
    if "exists, but it is not a valid DuckDB database" in text or "Extension" in text:
        return NotAnAtlas(
            f"{path} is not a DuckDB file: name an atlas, or a new file to index into",
            parameters=["path"],
        )
    if "Is a directory" in text:
        return NotAnAtlas(f"{path} is a directory: name a file", parameters=["path"])
    if any(sign in text for sign in _NEWER):
        return NewerAtlas(
            f"{path} was written by a newer DuckDB than {duckdb.__version__}: "
            "upgrade with `pip install -U duckdb`"
        )
    damaged = ("Corrupt database", "Could not read enough bytes", "has been invalidated")
    if isinstance(e, duckdb.IOException) or any(sign in text for sign in damaged):
        return NotAnAtlas(
            f"{path} cannot be read, it looks truncated or damaged "
            f"({_first_line(text)}): restore a copy, or index into a new file"
        )
    return None


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else "no details"
    return line if len(line) <= 120 else line[:117] + "…"
