"""`atlas selections list|use|delete`: which selections there are, and which is the default."""

import shlex
from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.counted import counted
from atlas.selection.chosen import labelled
from atlas.selection.selections import DefaultSelection, SelectionSummary

from .render import Format, db_option, emit, emit_json, format_option, note, pasted
from .selection_tables import draw_selections


@click.group()
def selections() -> None:
    """List selections, choose the default, delete one."""


@selections.command(
    name="list",
    epilog="""\b
Examples:
  atlas selections list
  atlas selections list --format json""",
)
@format_option
@db_option
def list_(format_: Format, db: Path) -> None:
    """List every selection, the default first."""
    found = open_atlas(db).selections()
    rows = found.table()
    if format_ == "json":
        emit_json(found)
    elif format_ == "csv":
        emit(rows, format_, kind=SelectionSummary)
    elif rows:
        draw_selections(rows)
    if not rows:
        note("No selection yet: `atlas index` makes the first.")


_run_option = click.option("--run", metavar="ID", help="The run that the selection is of.")


@selections.command(
    epilog="""\b
Examples:
  atlas selections use paper
  atlas selections use e91335"""
)
@click.argument("name", metavar="NAME")
@_run_option
@db_option
def use(name: str, run: str | None, db: Path) -> None:
    """Make a selection the default: what questions and edits are about.

    NAME is its name, or the beginning of its id.
    """
    default = open_atlas(db).use_selection(name, run=run)
    if default.previous is None:
        note(f"Selection {labelled(default.now)} is the default already.")
    else:
        note_default(default, db)
    if not default.distinct_neurons:
        note("It has no knowledge neuron: questions will find nothing.")


@selections.command(
    epilog="""\b
Examples:
  atlas selections delete ratio-0.3-sharing-0.7"""
)
@click.argument("name", metavar="NAME")
@_run_option
@db_option
def delete(name: str, run: str | None, db: Path) -> None:
    """Delete a selection and all that is derived from it; edits made from it stay.

    NAME is its name, or the beginning of its id.
    """
    gone = open_atlas(db).delete_selection(name, run=run)
    note(f"Deleted selection {labelled(gone)} of run {gone.run_id}.")


def note_nothing_known(measured: int, db: Path) -> None:
    """Say what to do where a selection of known facts has none to be made from."""
    note(
        f"None of the {counted(measured, 'measured fact')} is known, so no neuron is selected: "
        f"`{pasted('atlas select --all-facts', db)}` selects from all of them."
    )


def note_default(default: DefaultSelection, db: Path) -> None:
    """Say which selection has become the default, and how to go back; nothing if none has."""
    if default.previous is not None:
        back = pasted(f"atlas selections use {shlex.quote(default.previous)}", db)
        note(
            f"Selection {labelled(default.now)} is now the default, what questions and edits are "
            f"about; `{back}` goes back."
        )
