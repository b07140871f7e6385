"""One indexer per atlas file.

The indexer closes the atlas between batches, so DuckDB's own lock cannot tell a second indexer to
stay away: `FILE.indexing` does.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from atlas.errors import LockedAtlas
from atlas.store.connection import mapped_errors
from atlas.store.file_lock import Held, file_lock


@contextlib.contextmanager
def indexing(path: Path | str) -> Iterator[None]:
    """Be the only indexer of the atlas at `path`, which need not exist yet.

    Errors: LockedAtlas at once if another process is indexing it; ReadOnlyAtlas, DiskFull.
    """
    path = Path(path)
    with contextlib.ExitStack() as held:
        try:
            with mapped_errors(path):
                held.enter_context(file_lock(path.with_name(f"{path.name}.indexing"), wait=False))
        except Held as e:
            raise LockedAtlas(
                f"{path} is being indexed by {e.holder}: wait for it to end, stop it, or index "
                "into another file",
                parameters=["path"],
            ) from e
        yield
