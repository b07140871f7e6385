"""`atlas edit list`, `show`, `diff`, `revert`, `delete`: the edits as data; no model is loaded."""

from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.edits.stored import EditSummary

from ..render import db_option, emit, emit_json, format_option, note
from .model import edits_argument
from .tables import show_diff, show_edit

_HEADERS = {
    "edit_id": "edit",
    "relation_id": "relation",
    "old_object": "old",
    "new_object": "new",
    "held_out_success": "held out",
    "p_old_after": "P(old)",
    "p_new_after": "P(new)",
    "checked_prompts": "checked",
    "right_to_wrong": "broken",
    "wrong_to_right": "mended",
    "mean_delta_log_p": "Δ log P",
}


@click.command(
    name="list",
    epilog="""\b
Examples:
  atlas edit list
  atlas edit list --format json

success and held out: the share of prompts with the new object on top; broken
and mended: top answers from right to wrong and back in all prompts that
`atlas edit check` has asked.""",
)
@format_option
@db_option
def list_(format_: str, db: Path) -> None:
    """List the edits, oldest first."""
    answer = open_atlas(db).edit_list()
    found: tuple[EditSummary, ...] = answer.rows
    if not found:
        note("No edit yet: make one with `atlas edit update FACT --to OBJECT`.")
    if format_ == "json":
        emit_json(answer)
    elif found or format_ != "table":
        hide = ["created_at", "prompts", "old_gone", "p_old_before", "p_new_before"]
        if all(edit.state == "stored" for edit in found):
            hide.append("state")
        if any(edit.checked_prompts for edit in found):  # `show` has what makes way for it
            hide += ["neurons", "norm", "p_old_after"]
        emit(found, format_, kind=EditSummary, hide=hide, headers=_HEADERS)


@click.command(
    epilog="""\b
Examples:
  atlas edit show 1
  atlas edit show 1 --format csv --show prompts"""
)
@click.argument("edit", type=click.IntRange(min=1))
@click.option(
    "--show",
    type=click.Choice(["neurons", "prompts"]),
    help="Only this part; CSV is one table, the neurons unless this says otherwise.",
)
@format_option
@db_option
def show(edit: int, show: str | None, format_: str, db: Path) -> None:
    """Show what an edit changes, its settings and its outcome."""
    show_edit(open_atlas(db).edit(edit), show, format_)


@click.command(
    epilog="""\b
Examples:
  atlas edit diff 1 2
  atlas edit diff 1 2 --format json"""
)
@click.argument("first", type=click.IntRange(min=1))
@click.argument("second", type=click.IntRange(min=1))
@format_option
@db_option
def diff(first: int, second: int, format_: str, db: Path) -> None:
    """Compare two edits: settings, neurons, and how alike their changes are."""
    show_diff(open_atlas(db).edit_diff(first, second), format_)


@click.command(
    epilog="""\b
Examples:
  atlas edit revert 1
  atlas edit revert 1 --undo

A reverted edit keeps its number and its measurements, but is applied no more:
apply, live, check and export refuse it."""
)
@edits_argument
@click.option("--undo", is_flag=True, help="Bring it back.")
@db_option
def revert(edits: tuple[int, ...], undo: bool, db: Path) -> None:
    """Take edits out of force, or bring them back."""
    for before in open_atlas(db).edit_revert(*edits, undo=undo):
        number, changed = before.edit_id, (before.state == "stored") != undo
        if undo:
            note(f"Edit {number} is {'back ' if changed else ''}in force.")
        else:
            note(
                f"Edit {number} is reverted{'' if changed else ' already'}; "
                f"`atlas edit revert {number} --undo` brings it back."
            )


@click.command(
    epilog="""\b
Examples:
  atlas edit delete 1
  atlas edit delete 1 3 --db my.duckdb

Its deltas and measurements are gone for good; its number is not given out
again. `atlas edit export 1 --delta FILE` keeps a copy first."""
)
@edits_argument
@db_option
def delete(edits: tuple[int, ...], db: Path) -> None:
    """Delete edits with their measurements."""
    for edit in open_atlas(db).edit_delete(*edits):
        note(f"Edit {edit.edit_id} is deleted.")
