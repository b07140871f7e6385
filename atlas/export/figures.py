"""How every figure looks: sizes, type, colours, axes.

Sizes are those of a journal's column and page, no text is smaller than 6 points, text stays text
in SVG and PDF, and colours come from the palette of Okabe and Ito (2008) and from matplotlib's
cividis and viridis, which people with any kind of colour vision can tell apart.
"""

import contextlib
import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.5, 7.2  # inches: one and two columns
TALLEST = 9.5  # inches: what a page holds beside a caption
SMALLEST_TYPE = 6  # points
BLUE, ORANGE, GREY, PALE = "#0072B2", "#D55E00", "#666666", "#E6E6E6"
_SIZES = {"column": COLUMN, "page": PAGE}
_UNITS = {"in": 1.0, "mm": 1 / 25.4, "cm": 1 / 2.54}
_MEASURES = re.compile(r"(\d+(?:\.\d+)?)\s*[x×]\s*(\d+(?:\.\d+)?)\s*(in|mm|cm)?")
_LEAST, _MOST = (2.0, 1.5), (40.0, 40.0)  # inches, width and height
_BESIDE = 5.0  # inches of width from which panels lie side by side

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 7,
    "figure.titlesize": 9,
    "axes.titlesize": 8,
    "axes.labelsize": 7,
    "xtick.labelsize": SMALLEST_TYPE,
    "ytick.labelsize": SMALLEST_TYPE,
    "legend.fontsize": SMALLEST_TYPE,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "text.parse_math": False,  # a model may be called whatever_$
    "svg.fonttype": "none",
    "svg.hashsalt": "atlas",
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
}


@dataclass(frozen=True)
class Size:
    """How large a figure is to be, in inches; None leaves it to the figure."""

    width: float | None = None
    height: float | None = None


UNSIZED = Size()


def parse_size(text: str | None) -> Size:
    """`column`, `page`, or `WxH` in inches (`3.5x2.4`, `90x60mm`, `9x6cm`); SettingsError."""
    if text is None:
        return Size()
    wanted = text.strip().lower()
    if wanted in _SIZES:
        return Size(_SIZES[wanted])
    found = _MEASURES.fullmatch(wanted)
    if found is None:
        raise SettingsError(
            f"'{text}' is no size: write column, page, or WIDTHxHEIGHT in inches or mm, "
            "e.g. 3.5x2.4 or 90x60mm",
            parameters=["size"],
        )
    unit = _UNITS[found[3] or "in"]
    size = Size(float(found[1]) * unit, float(found[2]) * unit)
    for inches, least, most in zip((size.width, size.height), _LEAST, _MOST, strict=True):
        if inches is not None and not least <= inches <= most:
            raise SettingsError(
                f"{text} is too small or too large for a figure: it needs at least "
                f"{_LEAST[0]:g}x{_LEAST[1]:g} inches, and at most {_MOST[0]:g}x{_MOST[1]:g}",
                parameters=["size"],
            )
    return size


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Matplotlib draws as figures of the atlas look within the context."""
    # A third of a second, which nothing else needs to pay.
    import matplotlib

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # A subject in a script that no installed font has: SVG and the data keep it as text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # `require_room` says it.
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        yield


def require_room(figure: "Figure") -> None:
    """SettingsError where the text leaves a panel a quarter of an inch, or rows no line each."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        is_bar = axes.get_label() == "<colorbar>"
        box = axes.get_window_extent()
        least = max(box.width, box.height) if is_bar else min(box.width, box.height)
        if axes.get_visible() and (least < 0.25 * figure.dpi or _rows_touch(axes)):
            raise SettingsError(
                "the size leaves no room for this figure: make it wider or higher",
                parameters=["size"],
            )


def _rows_touch(axes: "Axes") -> bool:
    """Whether the names of rows, which lie at whole numbers, cover each other."""
    if axes.yaxis.get_scale() != "linear" or axes.get_yticks().size < 2:
        return False
    labels = [label for label in axes.get_yticklabels() if label.get_text()]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: float(box.y0))
    return any(
        above.y0 - below.y1 < -0.02 * axes.get_figure(root=True).dpi  # type: ignore[union-attr]
        for below, above in itertools.pairwise(boxes)
    )


def new_figure(
    size: Size, title: str | None, width: float, height: Callable[[float], float]
) -> "Figure":
    """A figure of the size wanted for, else of `width` and the `height` that goes with a width.

    It is laid out when it is drawn; the title is wrapped and has room above the rest.
    """
    from matplotlib.figure import Figure

    wide = size.width or width
    lines = wrapped(title, 72 * wide - 12, 9, 4) if title and title.strip() else ""
    above = 0.16 * len(lines.splitlines())
    figure = Figure(figsize=(wide, size.height or height(wide) + above), layout="constrained")
    if lines:
        figure.suptitle(lines, x=0.01, ha="left", fontsize=9)
    return figure


def side_by_side(width: float) -> bool:
    """Whether two panels go beside each other, not below, in a figure so wide."""
    return width >= _BESIDE


def panels(figure: "Figure", count: int, **more: Any) -> "list[Axes]":
    """That many panels, side by side where there is room, else below each other."""
    beside = side_by_side(float(figure.get_figwidth()))
    grid = figure.subplots(*((1, count) if beside else (count, 1)), squeeze=False, **more)
    return list(grid.flat)


def heading(axes: "Axes", text: str, letter: str | None = None) -> None:
    """A panel's title, and its letter before it where there are several panels."""
    axes.set_title(text, loc="left", pad=5)
    if letter is not None:
        axes.annotate(
            letter,
            (0, 1),
            xycoords="axes fraction",
            xytext=(-5, 5),
            textcoords="offset points",
            ha="right",
            va="baseline",
            fontsize=9,
            fontweight="bold",
            annotation_clip=False,
        )


def counts_axis(axis: Any, values: Sequence[int]) -> None:
    """Logarithmic where the counts span a factor of 20, with ticks that say 1, 2, 5, 10, …"""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    least, most = max(1, min(values)), max(1, *values)
    if most / least < 20:
        whole_numbers(axis)
        axis.set_major_formatter("{x:,.0f}")
        axis.axes.set(**{f"{axis.axis_name}lim": (0, most * 1.15)})
        return
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    decades = math.log10(most / least)
    steps = (1, 2, 5) if decades < 3 else (1,)
    ticks = [s * 10**d for d in range(math.ceil(math.log10(most)) + 1) for s in steps]
    axis.set_major_locator(FixedLocator([t for t in ticks if least / 1.5 <= t <= most * 1.5]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:,.0f}")
    axis.set_minor_formatter(NullFormatter())


def whole_numbers(axis: Any) -> None:
    """An axis with ticks at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def layer_ticks(layers: int, most: int = 12) -> list[int]:
    """Whole numbers from the first layer to the last, which both have one; at most `most` + 1."""
    last = layers - 1
    step = next(
        step * 10**power
        for power in range(6)
        for step in (1, 2, 5)
        if last <= step * 10**power * (most - 1)
    )
    ticks = list(range(0, last, step))
    while len(ticks) > 1 and last - ticks[-1] < 0.7 * step:
        ticks.pop()
    return [*ticks, last] if last else [0]


@cache
def layer_colours(layers: int) -> Any:
    """One colour a layer: viridis without its lightest, which are hard to see on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"](np.linspace(0, 0.82, layers)))


def letters(count: int) -> Sequence[str | None]:
    """Names of that many panels; a single one needs none."""
    return [None] if count == 1 else [chr(ord("a") + i) for i in range(count)]


def text_width(text: str, size: float = SMALLEST_TYPE) -> float:
    """How wide the text is in the figures' type, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        width, _, _ = text_to_path.get_text_width_height_descent(
            text, FontProperties(size=size), ismath=False
        )
    return float(width)


def fitted(text: str, points: float, size: float = SMALLEST_TYPE) -> str:
    """The text, or as much of its beginning as has room, with an ellipsis."""
    if text_width(text, size) <= points:
        return text
    cut = len(text)
    while cut > 1 and text_width(f"{text[:cut].rstrip()}…", size) > points:
        cut -= 1
    return f"{text[:cut].rstrip()}…"


def name_and_id(label: str, relation_id: str, points: float) -> str:
    """`capital (P36)` within so many points: the label is cut, the id is not."""
    known_as = f" ({relation_id})"
    return fitted(label, points - text_width(known_as)) + known_as


def wrapped(text: str, points: float, size: float = SMALLEST_TYPE, lines: int = 2) -> str:
    """The text in at most so many lines of that width; what has no room is cut."""
    words, done = text.split(), list[str]()
    while words and len(done) < lines - 1:
        count = len(words)
        while count > 1 and text_width(" ".join(words[:count]), size) > points:
            count -= 1
        done.append(fitted(" ".join(words[:count]), points, size))
        words = words[count:]
    if words:
        done.append(fitted(" ".join(words), points, size))
    return "\n".join(done)


def write_cells(axes: "Axes", values: NDArray[np.float64], norm: Any = float) -> None:
    """The numbers of a matrix in its cells; `norm` makes shares of the colour map of them."""
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = norm(float(value)) < 0.55
            axes.text(
                column,
                row,
                f"{value:.2g}",
                ha="center",
                va="center",
                fontsize=SMALLEST_TYPE,
                color="white" if dark else "black",
            )
