"""A matrix of non-negative numbers as shaded cells, on stdout."""

from collections.abc import Sequence

import click

from .tables import draw_line, visible

_SHADES = ("··", "░░", "▒▒", "▓▓", "██")
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
    width = max((len(visible(label)) for label in labels), default=0)
    click.echo(" " * (width + 2) + " ".join(f"{name:>2}" for name in columns))
    for label, row in zip(labels, values, strict=True):
        click.echo(f"{visible(label):<{width}}  " + " ".join(_cell(v, limits) for v in row))
    legend = "   ".join(
        f"{_styled(i)} to {limit:.3g}" for i, limit in enumerate([*limits, largest])
    )
    click.echo(f"{'':<{width}}  {legend}")


def _cell(value: float | None, limits: Sequence[float]) -> str:
    if value is None:
        return "  "
    return _styled(sum(value > limit for limit in limits))


def _styled(shade: int) -> str:
    return click.style(_SHADES[shade], fg=_COLOURS[shade])
