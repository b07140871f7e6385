"""`atlas diff`: two selections, or two runs, side by side."""

from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.counted import counted
from atlas.queries.diff import FactDifference, SelectionDiff, SettingDifference
from atlas.selection.chosen import labelled

from .query.scope import say_cut
from .render import Format, db_option, emit, emit_json, format_option, note
from .tables import draw_line

_SHOWN = 20


@click.command(
    epilog="""\b
Examples:
  atlas diff paper strict
  atlas diff df65c4eee138 e913353cff93 --limit 5 --format json

A and B are selections, by name or id, or runs by id (of which the selection
that was the default last is taken). Facts that are measured in both are
compared, with a selection of known facts those that are known."""
)
@click.argument("a")
@click.argument("b")
@click.option("--limit", type=click.IntRange(min=0), help="Facts at most; 0 for all.")
@format_option
@db_option
def diff(a: str, b: str, limit: int | None, format_: Format, db: Path) -> None:
    """Compare two selections or runs: settings, and which facts have other neurons."""
    shown = (_SHOWN if format_ == "table" else None) if limit is None else limit
    found = open_atlas(db).diff(a, b, limit=shown)
    if format_ == "json":
        emit_json(found)
    elif format_ == "csv":
        emit(found.facts, "csv", kind=FactDifference)
    else:
        _tables(found)


def _tables(found: SelectionDiff) -> None:
    draw_line(f"a  {labelled(found.a)} of {found.a.model}, run {found.a.run_id}", bold=True)
    draw_line(f"b  {labelled(found.b)} of {found.b.model}, run {found.b.run_id}", bold=True)
    if found.settings:
        emit(found.settings, "table", kind=SettingDifference, headers={"name": ""})
    if not found.compared:
        note("No fact is measured in both, or known where that is asked for.")
        return
    draw_line(
        f"  {counted(found.compared, 'fact')} {'is' if found.compared == 1 else 'are'} measured in "
        f"both: {found.neurons_a:.2f} and "
        f"{found.neurons_b:.2f} knowledge neurons a fact, the same set in {found.same:,}"
    )
    if found.jaccard is not None:
        draw_line(
            f"  mean Jaccard {found.jaccard:.3f} over "
            f"{counted(found.jaccard_facts, 'fact')} with neurons"
        )
    if found.facts:
        draw_line()
        emit(
            found.facts,
            "table",
            title="Facts whose sets differ, least alike first",
            hide=("fact_id",),
            headers={"relation_id": "id", "neurons_a": "a", "neurons_b": "b"},
        )
    differing = found.compared - found.same
    say_cut(len(found.facts), differing, "fact")
