"""`atlas edit list`, `show`, `diff`, `revert`, `delete`: the edits as data; no model is loaded."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.counted import counted
from atlas.edits.edit import about
from atlas.edits.stored import EditSummary

from ..render import Format, db_option, emit, emit_json, format_option, note
from ..tables import draw_table
from .model import edits_argument
from .tables import show_diff, show_edit


@click.command(
    name="list",
    epilog="""\b
Examples:
  atlas edit list
  atlas edit list --format json

success and held out: the share of its own prompts with the new object on top.
others: prompts that `atlas edit check` has asked and that are not its own;
broken and mended: of those, top answers from right to wrong and back.""",
)
@format_option
@db_option
def list_(format_: Format, db: Path) -> None:
    """List the edits, oldest first."""
    answer = open_atlas(db).edit_list()
    found: tuple[EditSummary, ...] = answer.rows
    if not found:
        note("No edit yet: make one with `atlas edit update FACT --to OBJECT`.")
    if format_ == "json":
        emit_json(answer)
    elif format_ == "csv":
        emit(found, format_, kind=EditSummary)
    elif found:
        _draw(found)


def _draw(found: "Sequence[EditSummary]") -> None:
    """One row an edit: what it is of, what it came to, what it broke."""
    columns: dict[str, Callable[[EditSummary], object]] = {
        "edit": lambda edit: edit.edit_id,
        "kind": lambda edit: edit.kind,
        "fact": lambda edit: about(
            edit.subject, edit.relation_id, edit.old_object, edit.new_object, edit.facts
        ),
        "success": lambda edit: edit.success,
        "held out": lambda edit: edit.held_out_success,
    }
    if any(edit.other_prompts for edit in found):  # `show` has what makes way for the side effects
        columns |= {
            "others": lambda edit: edit.other_prompts,
            "broken": lambda edit: edit.right_to_wrong,
            "mended": lambda edit: edit.wrong_to_right,
        }
    else:
        columns |= {
            "P(old)": lambda edit: edit.p_old_after,
            "P(new)": lambda edit: edit.p_new_after,
            "norm": lambda edit: edit.norm,
        }
    for name in ("model", "selection"):
        if len({getattr(edit, name) for edit in found}) > 1:
            columns[name] = attrgetter(name)
    if any(edit.state != "stored" for edit in found):
        columns["state"] = attrgetter("state")
    rows = [[value(edit) for value in columns.values()] for edit in found]
    draw_table(list(columns), rows, _title(found), grouped=True, drop=("kind", "held out"))


def _title(found: "Sequence[EditSummary]") -> str | None:
    """`1 edit of bert, selection paper`: what all rows share."""
    if not found:
        return None
    title = counted(len(found), "edit")
    models = {edit.model for edit in found}
    selections = {edit.selection for edit in found}
    if len(models) == 1:
        title += f" of {models.pop()}"
    if len(selections) == 1 and None not in selections:
        title += f", selection {selections.pop()}"
    return title


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
def show(edit: int, show: str | None, format_: Format, db: Path) -> None:
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
def diff(first: int, second: int, format_: Format, db: Path) -> None:
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
    for edit in open_atlas(db).edit_revert(*edits, undo=undo).rows:
        number, changed = edit.edit_id, edit.before != edit.state
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
    for edit in open_atlas(db).edit_delete(*edits).rows:
        note(f"Edit {edit.edit_id} is deleted.")
