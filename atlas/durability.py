"""Files and directories that appear whole or not at all, also after kill -9 or a power cut.

They are written beside their place under an unfinished name, flushed to the disk, and renamed.
What a killed process left unfinished is removed when the same file or directory is written next.
"""

import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_numbers = itertools.count()
_under_way: set[Path] = set()  # what this process is writing


@contextmanager
def appearing_file(path: Path | str) -> Iterator[Path]:
    """A name to write a file under, which becomes `path` when the block ends without an error.

    A file that is there is replaced, and until then is as it was. OSError if it cannot be written.
    """
    path = _absolute(path)
    with _unfinished(path) as unfinished:
        yield unfinished
        flush(unfinished)
        unfinished.replace(path)
        flush(path.parent)


@contextmanager
def appearing_directory(path: Path | str) -> Iterator[Path]:
    """An empty directory to fill, which becomes `path` when the block ends without an error.

    A directory that is there is replaced, and until then is as it was. No system call swaps two
    directories everywhere, so a process that is killed between the two renames leaves none under
    that name; the former one comes back when `path` is written next. OSError if it cannot be
    written.
    """
    path = _absolute(path)
    with _unfinished(path) as unfinished:
        unfinished.mkdir()
        yield unfinished
        _flush_tree(unfinished)
        former = unfinished.with_suffix(".former")
        try:
            with contextlib.suppress(FileNotFoundError):
                path.rename(former)
            unfinished.rename(path)
        except BaseException:
            if former.exists() and not path.exists():
                former.rename(path)
            raise
        flush(path.parent)
        _remove(former)


def flush(path: Path) -> None:
    """Make a file's content, or a directory's names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_tree(directory: Path) -> None:
    for folder, _, names in os.walk(directory):
        for name in names:
            flush(Path(folder, name))
        flush(Path(folder))


def _absolute(path: Path | str) -> Path:
    return Path(os.path.abspath(path))  # so that "." and ".." have a name, and a parent


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """A free name beside `path` that tells who writes under it; whatever has it goes at the end."""
    _clear(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{next(_numbers)}.unfinished")
    _under_way.add(unfinished)
    try:
        yield unfinished
    finally:
        _remove(unfinished)
        _under_way.discard(unfinished)


def _clear(path: Path) -> None:
    """Remove what killed writers of `path` left; bring back what one of them had put aside."""
    ours = re.compile(rf"(\.{re.escape(path.name)}\.(\d+)-\d+\.)(unfinished|former)(\..*)?")
    with contextlib.suppress(OSError):  # a directory whose names cannot be read
        for left in list(path.parent.iterdir()):
            found = ours.fullmatch(left.name)
            if found is None:
                continue
            if _is_writing(int(found[2]), left.with_name(f"{found[1]}unfinished")):
                continue
            if found[3] == "former" and not path.exists():
                left.rename(path)
            else:
                _remove(left)


def _is_writing(process_id: int, unfinished: Path) -> bool:
    """Whether the process that began it still runs, and is no later one of the same number."""
    if process_id == os.getpid():
        return unfinished in _under_way
    import psutil

    try:
        return psutil.Process(process_id).create_time() <= unfinished.stat().st_mtime + 1
    except (psutil.Error, OSError):
        return False


def _remove(left: Path) -> None:
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            left.unlink(missing_ok=True)
