"""How every figure looks, and how it becomes a file.

Sizes are those of a journal's column, text stays text in SVG and PDF, and colours come from the
palette of Okabe and Ito (2008) and from matplotlib's cividis and viridis, which people with any
kind of colour vision can tell apart.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import SettingsError
from atlas.store.connection import mapped_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png", ".pdf")
COLUMN, PAGE = 3.5, 7.2  # inches: one and two columns
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6,
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


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Matplotlib draws as figures of the atlas look within the context."""
    # A third of a second, which nothing else needs to pay.
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def require_writable(file: Path) -> None:
    """SettingsError unless a figure can be written under this name."""
    if file.suffix.lower() not in FORMATS:
        raise SettingsError(f"{file} is no format that figures come in: name it .svg, .png or .pdf")
    if not file.absolute().parent.is_dir():
        raise SettingsError(f"there is no directory {file.absolute().parent}: make it first")


def new_figure(width: float, height: float) -> "Figure":
    """A figure of so many inches, laid out when it is saved."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def logarithmic(*axes: Any) -> None:
    """Logarithmic axes whose ticks say 1, 10, 1,000."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for axis in axes:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(LogLocator())
        axis.set_major_formatter("{x:,.0f}")
        axis.set_minor_formatter(NullFormatter())


def layer_colours() -> Any:
    """Viridis without its yellow, which is hard to see on white."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"](np.linspace(0, 0.88, 256)))


def whole_numbers(axis: Any) -> None:
    """An axis with ticks at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, nbins=16))


def save(figure: "Figure", file: Path) -> None:
    """Write the figure under another name first; the same picture is the same bytes."""
    unfinished = file.with_name(f".{file.name}.unfinished-{os.getpid()}")
    kind = file.suffix.lower()[1:]
    timeless = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    try:
        with mapped_errors(file):
            figure.savefig(unfinished, format=kind, metadata=timeless)
            unfinished.replace(file)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
