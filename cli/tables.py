"""Drawing tables, name-value pairs and bars on stdout.

A table that fits is written line by line, whatever its length. On a terminal that is too narrow for
it, heads go over several lines, text is folded, and then columns are left out, the least important
first, which a note says. Piped, everything fits and nothing is ever cut or dropped, unless COLUMNS
says how wide it may be.
"""

import datetime
import decimal
import math
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

_ENDLESS = 10_000  # columns: nothing is folded or left out
_GAP = "  "
_HELD = "\u2007"  # stands for a blank at which a line is not broken
_READABLE_WIDTH = 14  # text is not folded narrower than this to fit the terminal
_FEWEST = 2  # columns that stay however narrow the terminal is
# What goes first where a table does not say so itself: other columns tell nearly the same.
_SECONDARY = (
    "prompt share",
    "prompt share a",
    "prompt share b",
    "top relation",
    "wrong→wrong",
    "gap",
    "relation",
    "label",
    "P(top)",
    "rarity",
    "relations",
)
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
    """One line of text, which goes on below itself where the terminal is too narrow."""
    for line in folded(visible(text), available(), break_words=True):
        click.secho(line, bold=bold or None)


def folded(text: str, width: int, *, break_words: bool = False) -> list[str]:
    """The text in lines of at most `width`, broken between words but within no `command`.

    `break_words` also breaks what has no blank and is too long, a path for example.
    """
    if _width(text) <= width:
        return [text]
    kept = re.sub(r"`[^`]*`", lambda found: found[0].replace(" ", _HELD), text)
    indent = " " * (len(kept) - len(kept.lstrip()))
    lines = textwrap.wrap(
        kept,
        width,
        subsequent_indent=f"{indent}  ",
        drop_whitespace=True,
        break_long_words=break_words,
        break_on_hyphens=False,
    )
    return [line.replace(_HELD, " ") for line in lines]


def draw_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    title: str | None = None,
    *,
    grouped: bool,
    drop: Sequence[str] = (),
) -> None:
    """A table with its title, or the title alone if there are no rows.

    Numbers, and the column `neuron`, stand on the right and are never folded. `grouped` writes
    integers with thousands separators. `drop` names the columns that go first where the terminal
    is too narrow, the least important first.
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
    if _together(widths) <= available():
        _draw_fitting(columns, cells, right, widths)
        return
    least = [
        _least(name, column, on_right)
        for name, column, on_right in zip(columns, cells, right, strict=True)
    ]
    stay = _that_fit(columns, least, drop)
    _draw_folded(
        [columns[i] for i in stay],
        [cells[i] for i in stay],
        [right[i] for i in stay],
        [least[i] for i in stay],
    )
    gone = [name for i, name in enumerate(columns) if i not in stay and name.strip()]
    if gone:
        text = f"Too narrow for {', '.join(gone)}: a wider terminal or --format csv shows them."
        for line in folded(text, available()):
            click.secho(line, dim=True)


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
    _draw(table, available())


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
    _draw(table, available())


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
    least: Sequence[int],
) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column, column_cells, on_right, width in zip(columns, cells, right, least, strict=True):
        widest = max(map(_width, column_cells), default=0)
        table.add_column(
            "\n".join(textwrap.wrap(column, max(width, widest))),
            justify="right" if on_right else "left",
            no_wrap=on_right,
            min_width=width,
            overflow="fold",
        )
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    # Where even the columns that stay are too wide, the terminal wraps the lines.
    _draw(table, max(available(), _together(least) + len(_GAP)))


def _least(name: str, cells: Sequence[str], on_right: bool) -> int:
    """The columns of the terminal that a column needs: the longest word of its head, and of its
    cells all (numbers) or what can be read (text)."""
    head = max(map(_width, name.split()), default=0)
    widest = max(map(_width, cells), default=0)
    return max(head, widest if on_right else min(widest, _READABLE_WIDTH))


def _that_fit(columns: Sequence[str], least: Sequence[int], drop: Sequence[str]) -> list[int]:
    """The places of the columns that fit beside each other; the least important go."""
    stay = list(range(len(columns)))
    named = [i for name in (*drop, *_SECONDARY) for i in stay if columns[i] == name]
    others = [i for i in reversed(stay) if i not in named and columns[i] != "neuron"]
    for i in dict.fromkeys([*named, *others]):
        if len(stay) <= _FEWEST or _together([least[j] for j in stay]) + 2 <= available():
            break
        stay.remove(i)
    return stay


def _together(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


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


def available() -> int:
    """Columns that a line of stdout may have."""
    return columns_of(sys.stdout)


def columns_of(stream: TextIO) -> int:
    """Columns of the terminal; of a file or a pipe COLUMNS, else more than anything needs."""
    if stream.isatty():
        return shutil.get_terminal_size().columns
    wanted = os.environ.get("COLUMNS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else _ENDLESS


def _width(text: str) -> int:
    """The columns that a terminal needs for the text: two for a Chinese character."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
