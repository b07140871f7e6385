"""`atlas site`: the explorer's pages as files."""

from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.explorer.site import SiteKind, write_site

from .render import (
    Format,
    db_option,
    emit,
    emit_json,
    format_option,
    note,
    quiet,
    selection_options,
)


@click.command(
    epilog="""\b
Examples:
  atlas site --to pages
  atlas site --to pages --force --selection paper

\b
Pages of the overview, relations, facts, neurons and edits, which open from the
disk; publish the directory as it is."""
)
@click.option(
    "--to",
    "directory",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A new directory; it appears whole or not at all.",
)
@click.option("--force", is_flag=True, help="Replace an earlier site.")
@selection_options
@format_option
@db_option
def site(
    directory: Path,
    force: bool,
    selection: str | None,
    run: str | None,
    format_: Format,
    db: Path,
) -> None:
    """Write the explorer's pages as files, to publish beside a paper."""
    written = write_site(
        open_atlas(db),
        directory,
        selection=selection,
        run=run,
        force=force,
        progress=not quiet(),
    )
    if format_ == "json":
        emit_json(written)
    else:
        emit(written.kinds, format_, kind=SiteKind)
    note(f"Written to {written.directory}, {written.bytes / 1e6:.1f} MB: open index.html.")
