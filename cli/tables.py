"""Drawing tables, name-value pairs and bars on stdout.

A table that fits is written line by line, whatever its length; rich lays out the ones whose text
must be folded to fit the terminal. Piped, everything fits: nothing is ever cut or dropped.
"""

import datetime
import decimal
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

_GAP = "  "
_READABLE_WIDTH = 14  # text is not folded narrower than this to fit the terminal
_BAR_WIDTH = 40
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    ord("\t"): "\\t",
    ord("\n"): "\\n",
    ord("\r"): "\\r",
}


def visible(text: str) -> str:
    """The text with control characters escaped: a model's top answer may well be a newline."""
    return text if text.isprintable() else text.translate(_CONTROL)


def draw_line(text: str = "", *, bold: bool = False) -> None:
    """One line of text."""
    click.secho(visible(text), bold=bold or None)


def draw_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    title: str | None = None,
    *,
    grouped: bool,
) -> None:
    """A table with its title, or the title alone if there are no rows.

    Numbers, and the column `neuron`, stand on the right and are never folded. `grouped` writes
    integers with thousands separators.
    """
    if title:
        draw_line(title, bold=True)
    if not columns or (title and not rows):
        return
    values = [[row[i] for row in rows] for i in range(len(columns))]
    cells = [written(column, grouped=grouped) for column in values]
    right = [
        name == "neuron" or _all_numbers(column)
        for name, column in zip(columns, values, strict=True)
    ]
    widths = [max(map(_width, [name, *c])) for name, c in zip(columns, cells, strict=True)]
    if sum(widths) + len(_GAP) * (len(widths) - 1) <= _available():
        _draw_fitting(columns, cells, right, widths)
    else:
        _draw_folded(columns, cells, right, widths)


def draw_pairs(pairs: Mapping[str, object], title: str) -> None:
    """Names and values below each other under a title; pairs without a value are left out."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in pairs.items():
        if value is None:
            continue
        table.add_row(name, *written([value], grouped=True))
    draw_line(title, bold=True)
    _draw(table, _available())


def draw_bars(labels: Sequence[str], values: Sequence[int], title: str) -> None:
    """One horizontal bar a label under a title, the longest as wide as forty characters."""
    from rich.bar import Bar
    from rich.table import Table

    longest = max(values, default=0) or 1
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for label, value, text in zip(labels, values, written(values, grouped=True), strict=True):
        table.add_row(label, text, Bar(longest, 0, value, width=_BAR_WIDTH))
    draw_line(title, bold=True)
    _draw(table, _available())


def written(values: Sequence[object], *, grouped: bool) -> list[str]:
    """One column's cells: three decimals, or three significant digits where those would hide it."""
    floats = [abs(v) for v in values if isinstance(v, float) and math.isfinite(v) and v]
    plain = all(1e-3 <= size < 1e6 for size in floats)

    def cell(value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, float):
            return f"{value:.3f}" if plain else f"{value:.3g}"
        if isinstance(value, int):
            return f"{value:,}" if grouped else str(value)
        if isinstance(value, datetime.datetime):
            return value.isoformat(sep=" ", timespec="seconds")
        return visible(str(value))

    return [cell(value) for value in values]


def _all_numbers(values: Sequence[object]) -> bool:
    shown = [value for value in values if value is not None]
    return bool(shown) and all(
        isinstance(value, int | float | decimal.Decimal) and not isinstance(value, bool)
        for value in shown
    )


def _draw_fitting(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    right: Sequence[bool],
    widths: Sequence[int],
) -> None:
    def line(row: Sequence[str]) -> str:
        padding = [" " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        return _GAP.join(
            space + cell if on_right else cell + space
            for cell, space, on_right in zip(row, padding, right, strict=True)
        ).rstrip()

    rule = "─" * (sum(widths) + len(_GAP) * (len(widths) - 1))
    header = click.style(line(columns), bold=True)
    click.echo("\n".join([header, rule, *(line(row) for row in zip(*cells, strict=True))]))


def _draw_folded(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    right: Sequence[bool],
    widths: Sequence[int],
) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    least = [
        width if on_right else min(width, _READABLE_WIDTH)
        for width, on_right in zip(widths, right, strict=True)
    ]
    for column, on_right, width in zip(columns, right, least, strict=True):
        table.add_column(
            column,
            justify="right" if on_right else "left",
            no_wrap=on_right,
            min_width=width,
            overflow="fold",
        )
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    # Where even that is too wide, the terminal wraps the lines: rich would drop columns.
    _draw(table, max(_available(), sum(least) + len(_GAP) * len(least)))


def _draw(renderable: "RenderableType", width: int) -> None:
    from rich.console import Console

    console = Console(
        width=width,
        markup=False,  # prompts contain [X], [Y] and [MASK]
        emoji=False,
        highlight=False,
    )
    with console.capture() as capture:
        console.print(renderable)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def _available() -> int:
    """Columns of the terminal; more than anything needs if stdout is not one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000


def _width(text: str) -> int:
    """The columns that a terminal needs for the text: two for a Chinese character."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
