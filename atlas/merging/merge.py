"""Merging atlases and exported runs into one file: equal runs are joined.

A run is the same where model, settings and dataset are, so that shards of a dataset come together
to what one index would have made. All of it happens in a copy of the target that takes its place at
the end. Sources are only read, and merging them again changes nothing.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from atlas.answers import Answer
from atlas.errors import NotAnAtlas, StoreError
from atlas.merging.agreement import (
    require_joined_shards,
    require_same_facts,
    require_same_models_and_runs,
    require_same_values,
)
from atlas.merging.edits import add_edits
from atlas.merging.rows import add_rows
from atlas.merging.sources import Source, named_sources, opened, require_source
from atlas.progress import Advance, Progress, Reporter, Working
from atlas.queries.info import RunSummary, run_summary
from atlas.reporting import reporting
from atlas.selection.chosen import default_selection
from atlas.selection.recorded import make_default
from atlas.selection.select import select_again
from atlas.selection.selections import DefaultSelection, default_since
from atlas.store.atlas_file import AtlasFile, rewritten


@dataclass(frozen=True)
class MergedSource:
    """A source, and what of it the target did not have."""

    source: str
    kind: str  # atlas | export
    runs: int
    new_runs: int  # that the target had nothing of
    facts: int
    prompts: int  # measured or skipped, over all runs
    edits: int


@dataclass(frozen=True)
class Merged(Answer, rows="sources"):
    """What a merge came to."""

    target: str
    created: bool
    sources: tuple[MergedSource, ...]
    runs: tuple[RunSummary, ...]  # those of the sources, as they are now
    default: DefaultSelection | None  # the atlas's now, and what was before; None: no selection


def merge(
    sources: Path | str | Sequence[Path | str],
    to: Path | str = "atlas.duckdb",
    *,
    progress: Progress = None,
) -> Merged:
    """Merge atlases and directories of exported runs into the atlas `to`, which may be there.

    sources: files, directories, or patterns (`shard-*.duckdb`). Knowledge neurons of runs that have
    grown are selected anew, by every selection that they have in any source; what was measured of
    neurons that a fact has no more goes. A new atlas has the default selection of the first source,
    others keep theirs.

    Errors: SettingsError (nothing to merge, the target among the sources), StoreError (a source
    that disagrees with what is merged already), NotAnAtlas, NewerAtlas, LockedAtlas, DiskFull; then
    nothing is written.
    """
    target = Path(to)
    paths = named_sources(sources, target)
    for path in paths:
        require_source(path)
    with reporting(progress) as report:
        created = not target.exists()
        with rewritten(target) as atlas:
            made, runs, default = _merged(atlas, target, paths, report)
    return Merged(str(target), created, tuple(made), tuple(runs), default)


def import_run(path: Path | str, directory: Path | str, *, progress: Progress = None) -> Merged:
    """Put the run that an export wrote into a directory back into the atlas at `path`.

    The atlas may be new. Errors as of `merge`.
    """
    if not Path(directory).is_dir():
        raise NotAnAtlas(
            f"there is no directory {directory}: name one that `atlas export run` wrote",
        )
    return merge([directory], path, progress=progress)


def _merged(
    atlas: AtlasFile, target: Path, paths: Sequence[Path], report: Reporter
) -> tuple[list[MergedSource], list[RunSummary], DefaultSelection | None]:
    with atlas.reading() as connection:
        before = default_selection(connection)
    wanted = None if before is None else before.selection_id
    came_from: dict[str, Path] = {}
    joined: set[str] = set()
    made = []
    started = time.monotonic()
    for number, path in enumerate(paths):
        report(_advance(number, len(paths), started))
        with atlas.writing() as connection, opened(connection, path) as source:
            require_same_models_and_runs(connection, source)
            require_same_facts(connection, source)
            require_same_values(connection, source)
            added = add_rows(connection, source)
            edits = add_edits(connection, source)
            wanted = wanted or _default_of(connection, source)
        joined.update(added.joined)
        for run_id in added.runs:
            came_from.setdefault(run_id, path)
        made.append(
            MergedSource(
                str(path),
                source.kind,
                len(added.runs),
                len(added.new_runs),
                added.facts,
                added.prompts,
                edits,
            )
        )
    report(_advance(len(paths), len(paths), started))
    report(Working("Selecting knowledge neurons"))
    # of committed rows: DuckDB plans queries of others badly, by a factor of a hundred
    with atlas.writing() as connection:
        require_joined_shards(connection, came_from, target)
        _require_real_runs(connection)
        select_again(connection, sorted(joined))
        _keep_default(connection, wanted)
        runs = [run_summary(connection, run_id) for run_id in came_from]
        now = default_selection(connection)
        return made, runs, None if now is None else default_since(connection, before)


def _advance(done: int, total: int, started: float) -> Advance:
    return Advance(
        "merging",
        done,
        total,
        computed=done,
        seconds=time.monotonic() - started,
        unit="sources",
        complete=done == total,
    )


def _default_of(connection: duckdb.DuckDBPyConnection, source: Source) -> str | None:
    """The selection that questions to the source are about."""
    found = connection.execute(
        f"""
        SELECT selection_id
        FROM {source.table("selections")}
        WHERE null_of IS NULL
        ORDER BY asked_at DESC NULLS LAST, created_at DESC, selection_id
        LIMIT 1
        """
    ).fetchone()
    return None if found is None else str(found[0])


def _keep_default(connection: duckdb.DuckDBPyConnection, wanted: str | None) -> None:
    """Make this selection the default again, if what was merged has another that was so later."""
    now = default_selection(connection)
    if wanted is not None and now is not None and now.selection_id != wanted:
        make_default(connection, wanted)


def _require_real_runs(connection: duckdb.DuckDBPyConnection) -> None:
    """StoreError if a null has come without the run that it stands beside."""
    for null, real in connection.execute(
        """
        SELECT n.run_id, n.null_of
        FROM runs AS n
        ANTI JOIN runs AS r ON r.run_id = n.null_of
        WHERE n.null_of IS NOT NULL
        ORDER BY n.run_id
        LIMIT 1
        """
    ).fetchall():
        raise StoreError(
            f"run {null} is the null of run {real}, which the atlas does not have: put that one "
            "into it first, or both at once"
        )
