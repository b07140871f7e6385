"""An atlas file: creating it, recognising it, bringing it to the newest revision.

At every moment the file is either the old one or the new one, whole: it is created under
another name and renamed, and upgraded in one transaction after a backup was made. What takes more
than one transaction is done in a copy that takes its place.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from atlas.durability import appearing_file
from atlas.errors import NewerAtlas, NotAnAtlas, StoreError
from atlas.store import connection as connections
from atlas.store import migrate
from atlas.store.file_lock import file_lock

# A format that DuckDB 1.1 and later read; files keep theirs for good. It costs no time, and in size
# 1 % of 54 MB, a fifth of 9 MB (`tests/bench/storage_format.py`): a constant, mostly.
_FORMAT = "v1.1.0"


@dataclass(frozen=True)
class AtlasFile:
    """An atlas at the newest revision; the file is open only inside `reading` and `writing`.

    sandboxed: readers reach nothing of the machine but this file, as SQL from users does; they and
    such SQL can then go on side by side in one process. Exports need files.
    """

    path: Path
    sandboxed: bool = field(default=False, kw_only=True)

    def reading(
        self, wait: float = 10.0
    ) -> contextlib.AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A read-only connection; LockedAtlas after `wait` seconds in which others write."""
        return connections.reading(self.path, wait, connections.SANDBOX if self.sandboxed else None)

    def writing(
        self, wait: float = 60.0
    ) -> contextlib.AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A connection with one transaction: commits on exit, rolls back on an exception."""
        return connections.writing(self.path, wait)


def open_file(path: Path | str, *, create: bool = False) -> AtlasFile:
    """The atlas at `path`, upgraded first if an older version wrote it.

    An older file is copied to `PATH.backup-REVISION` before it is touched. With `create`, a
    missing file (or a DuckDB file without any table) becomes a new atlas.

    Errors: StoreError (no such file), NotAnAtlas, NewerAtlas, LockedAtlas, ReadOnlyAtlas, DiskFull.
    """
    path = Path(path)
    newest = migrate.revisions()[-1]
    if create:
        _create(path)
    with connections.reading(path) as connection:
        found = _recognised(path, connection, create)
    if found != newest:
        _upgrade(path, create)
    return AtlasFile(path)


@contextlib.contextmanager
def readable(path: Path | str) -> Iterator[Path]:
    """An atlas as a file at the newest revision, to be read alone: `path` is left as it is.

    Of an older atlas, a copy is upgraded and forgotten at the end. Errors as of `open_file`.
    """
    path = Path(path)
    with connections.reading(path) as connection:
        found = _recognised(path, connection, create=False)
    if found == migrate.revisions()[-1]:
        yield path
        return
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "atlas.duckdb")
        with connections.mapped_errors(path):
            for end in ("", ".wal"):  # what a killed writer had committed is in the log
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(f"{path}{end}", f"{copy}{end}")
        with connections.exclusive(copy) as connection:
            migrate.upgrade(connection)
        yield copy


@contextlib.contextmanager
def scratch_copy(path: Path | str) -> Iterator[AtlasFile]:
    """A copy of the atlas at `path` to write in, forgotten at the end; the atlas is as it was."""
    path = Path(path)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "atlas.duckdb")
        with connections.mapped_errors(path), contextlib.ExitStack() as held:
            # Closing any descriptor of the file drops DuckDB's lock on it: these close last.
            sources = [
                (held.enter_context(Path(f"{path}{end}").open("rb")), Path(f"{copy}{end}"))
                for end in ("", ".wal")  # what a killed writer had committed is in the log
                if Path(f"{path}{end}").exists()
            ]
            held.enter_context(connections.reading(path))
            for source, target in sources:
                with target.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
        yield AtlasFile(copy)


@contextlib.contextmanager
def rewritten(path: Path | str) -> Iterator[AtlasFile]:
    """A copy of the atlas at `path`, or a new one, that takes its place when the block ends well.

    Until then the atlas is as it was, for readers too, and writers wait. The copy may be written in
    as many transactions as are useful. Errors as of `open_file`, told of `path`.
    """
    path = Path(path).resolve()  # a link goes on to lead to it
    with contextlib.ExitStack() as held:
        held.enter_context(connections.mapped_errors(path))
        if path.exists():
            open_file(path)
            if _log(path).exists():  # a killed writer's, which a copy of the file would lack
                with connections.exclusive(path) as connection:
                    connection.execute("CHECKPOINT")
            # Closing any descriptor of the file drops DuckDB's lock on it: this one closes last.
            source = held.enter_context(path.open("rb"))
            held.enter_context(connections.reading(path))
        else:
            source = None
        with appearing_file(path) as unfinished:
            try:
                if source is None:
                    open_file(unfinished, create=True)
                else:
                    with unfinished.open("wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
                    shutil.copymode(path, unfinished)
                yield AtlasFile(unfinished)
                with connections.exclusive(unfinished) as connection:
                    connection.execute("CHECKPOINT")
                if source is None:  # of a file that is gone
                    _remove_wal(path)
            except StoreError as e:
                said = str(e).replace(str(unfinished), str(path))
                raise type(e)(said, parameters=e.parameters) from e
            finally:
                _remove_wal(unfinished)


def _recognised(path: Path, connection: duckdb.DuckDBPyConnection, create: bool) -> str | None:
    """The file's revision, which this version knows; None for a file without tables."""
    found = migrate.revision_of(connection)
    known = migrate.revisions()
    if found is None:
        if not migrate.is_empty(connection):
            raise NotAnAtlas(
                f"{path} is a DuckDB file of something else: name another", parameters=["path"]
            )
        if not create:
            raise NotAnAtlas(f"{path} is empty: fill it with `atlas index`, or name another file")
    elif found not in known:
        raise NewerAtlas(
            f"{path} has schema revision {found}, this version knows up to {known[-1]}: "
            "upgrade with `pip install -U knowledge-neuron-atlas`"
        )
    return found


def _create(path: Path) -> None:
    """Make a new atlas at `path` unless there is a file."""
    with connections.mapped_errors(path):
        if path.exists():
            return
    with (
        connections.mapped_errors(path),
        file_lock(path.with_name(f"{path.name}.creating-lock"), wait=True),
    ):
        if path.exists():  # another process was faster: use its file
            return
        # Of a file that is gone; DuckDB would take it for the new file's and refuse to open that.
        _remove_wal(path)
        with appearing_file(path) as unfinished:
            _write_empty(unfinished)


def _write_empty(file: Path) -> None:
    """Write an atlas that holds nothing yet."""
    try:
        with contextlib.closing(
            duckdb.connect(str(file), config={"storage_compatibility_version": _FORMAT})
        ) as connection:
            migrate.upgrade(connection)
            # Closing does that too, but silently leaves a log behind if the disk is full.
            connection.execute("CHECKPOINT")
    finally:
        _remove_wal(file)


def _log(file: Path) -> Path:
    return file.with_name(f"{file.name}.wal")


def _remove_wal(file: Path) -> None:
    _log(file).unlink(missing_ok=True)


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
        with connections.mapped_errors(path):
            source = descriptors.enter_context(path.open("rb"))
            backup = path.with_name(f"{path.name}.backup-{found}")
            with appearing_file(backup) as unfinished, unfinished.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        migrate.upgrade(connection)
