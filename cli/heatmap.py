"""A matrix of non-negative numbers as shaded cells, on stdout."""

from collections.abc import Sequence

import click

from . import tables
from .tables import draw_line, visible

_SHADES = ("··", "░░", "▒▒", "▓▓", "██")
_SHORTEST = 10  # of a label, however narrow the terminal is
_COLOURS = ("bright_black", "blue", "cyan", "yellow", "red")


def draw_heatmap(
    labels: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],  # [row, column]
    title: str,
) -> None:
    """Rows of cells two characters wide under numbered or named columns, with a legend.

    Each shade stands for twice the numbers of the one before; `··` is nearly nothing, a blank no
    number at all. A terminal gets colours besides. Column names may have two characters.
    """
    largest = max((v for row in values for v in row if v is not None), default=0.0)
    # One shade for everything where there is nothing to tell apart.
    limits = [largest / 2**steps for steps in (4, 3, 2, 1)] if largest else [0.0] * 4
    draw_line(title, bold=True)
    longest = max((len(visible(label)) for label in labels), default=0)
    width = min(longest, max(tables.available() - 3 * len(columns) - 1, _SHORTEST))
    click.echo(" " * (width + 2) + " ".join(f"{name:>2}" for name in columns))
    for label, row in zip(labels, values, strict=True):
        named = _shortened(visible(label), width)
        click.echo(f"{named:<{width}}  " + " ".join(_cell(v, limits) for v in row))
    parts = [f"to {limit:.3g}" for limit in [*limits, largest]]
    legend = "   ".join(f"{_styled(i)} {part}" for i, part in enumerate(parts))
    shown = sum(3 + len(part) for part in parts) + 3 * (len(parts) - 1)
    click.echo(" " * max(min(width + 2, tables.available() - shown), 0) + legend)


def _shortened(label: str, width: int) -> str:
    return label if len(label) <= width else label[: width - 1] + "…"


def _cell(value: float | None, limits: Sequence[float]) -> str:
    if value is None:
        return "  "
    return _styled(sum(value > limit for limit in limits))


def _styled(shade: int) -> str:
    return click.style(_SHADES[shade], fg=_COLOURS[shade])
