"""What can be merged: atlas files and directories of exported runs, which are only read."""

import contextlib
import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb

from atlas.counted import counted
from atlas.errors import DiskFull, NewerAtlas, NotAnAtlas, SettingsError, StoreError
from atlas.export.run_export import REVISION
from atlas.export.run_tables import EXPORTED
from atlas.store.atlas_file import readable
from atlas.store.connection import attached, mapped_errors
from atlas.store.migrate import revisions

SCHEMA = "source"  # under which an attached atlas is read
_EVERY = tuple(table for table, _ in EXPORTED)


@dataclass(frozen=True)
class Source:
    """A source that is open: `table` says how SQL reads one of its tables."""

    path: Path
    kind: Literal["atlas", "export"]

    def table(self, name: str) -> str:
        """What follows FROM."""
        if self.kind == "atlas":
            return f"{SCHEMA}.{name}"
        quoted = str(_file(self.path, name)).replace("'", "''")
        return f"read_parquet('{quoted}')"


def named_sources(sources: Path | str | Sequence[Path | str], to: Path) -> list[Path]:
    """The files and directories that are meant, each once, in the order in which they are named.

    A name that there is not may be a pattern (`shard-*.duckdb`). SettingsError where a pattern fits
    nothing, where none is left, or where the target is among them.
    """
    named = [sources] if isinstance(sources, Path | str) else list(sources)
    found: dict[Path, Path] = {}
    for name in named:
        path = Path(name)
        fitting = [path]
        if not path.exists() and glob.has_magic(str(path)):
            fitting = sorted(map(Path, glob.glob(str(path))))
            if not fitting:
                raise SettingsError(
                    f"nothing is called {path}: name atlases, or directories of exported runs",
                )
        for one in fitting:
            found.setdefault(one.resolve(), one)
    if not found:
        raise SettingsError(
            "nothing to merge: name atlases, or directories of exported runs",
        )
    if to.resolve() in found:
        raise SettingsError(
            f"{to} is among what is to be merged into it: name another file to merge into, or "
            "leave it out, for what it holds stays",
            parameters=["target"],
        )
    return list(found.values())


def require_source(path: Path) -> None:
    """Raise what merging this would: nothing is there, no atlas, no export, a newer one."""
    if path.is_dir():
        _require_export(path)
    else:
        with readable(path):
            pass


@contextlib.contextmanager
def opened(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[Source]:
    """The source, for queries on this connection, which writes to another file.

    What goes wrong in the block is told of the source, except that the other file cannot grow.
    """
    with contextlib.ExitStack() as held:
        if path.is_dir():
            _require_export(path)
            source = Source(path, "export")
        else:
            held.enter_context(attached(connection, held.enter_context(readable(path)), SCHEMA))
            source = Source(path, "atlas")
        try:
            with mapped_errors(path, (duckdb.Error,)):
                yield source
        except DiskFull as e:
            raise (e.__cause__ or e) from None
        except duckdb.Error as e:
            if source.kind == "atlas":
                raise
            raise _damaged(path, e) from e


def _file(directory: Path, table: str) -> Path:
    return directory / f"{table}.parquet"


def _require_export(directory: Path) -> None:
    """StoreError unless it holds every table of an export, at this version's revision."""
    missing = [table for table in _EVERY if not _file(directory, table).is_file()]
    if len(missing) == len(_EVERY):
        raise NotAnAtlas(
            f"{directory} is no directory of an exported run: name one that `atlas export run` "
            "wrote, or an atlas",
        )
    newest, known = revisions()[-1], revisions()
    with contextlib.closing(duckdb.connect()) as connection:
        for table in _EVERY:
            if table in missing:
                continue
            found = _revision(connection, _file(directory, table))
            if found == newest:
                continue
            if found is None or found in known:
                raise StoreError(
                    f"{directory} was exported by an older version: export the run again with this "
                    "one, which upgrades its atlas"
                )
            raise NewerAtlas(
                f"{directory} was exported at schema revision {found}, this version knows up to "
                f"{newest}: upgrade with `pip install -U knowledge-neuron-atlas`"
            )
    if missing:
        raise StoreError(
            f"{directory} lacks {counted(len(missing), 'table')} of an exported run "
            f"({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}): export the run again"
        )


def _revision(connection: duckdb.DuckDBPyConnection, file: Path) -> str | None:
    """The schema's revision that the file was exported at; None: it says none."""
    try:
        rows = connection.execute(
            """
            SELECT value
            FROM parquet_kv_metadata(?)
            WHERE key = ?
            """,
            [str(file), REVISION.encode()],
        ).fetchall()
    except duckdb.Error as e:
        raise _damaged(file, e) from e
    return rows[0][0].decode() if rows else None


def _damaged(path: Path, e: Exception) -> StoreError:
    first = str(e).strip().splitlines()[0]
    said = first if len(first) <= 120 else f"{first[:117]}…"
    return StoreError(f"{path} cannot be read, it looks damaged ({said}): export the run again")
