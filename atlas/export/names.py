"""Names beside marks: as many as have room, none on top of another."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.export.figures import GREY, SMALLEST_TYPE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

# Where a name may lie: dx, dy in points from its mark, and the alignments that go with them;
# beside the mark, or further off at the end of a line.
_BESIDE = (
    (4, 0, "left", "center"),
    (-4, 0, "right", "center"),
    (0, 4, "center", "bottom"),
    (0, -4, "center", "top"),
    (3, 3, "left", "bottom"),
    (-3, 3, "right", "bottom"),
    (3, -3, "left", "top"),
    (-3, -3, "right", "top"),
)
_FURTHER = tuple(
    (dx * by, dy * by, ha, va)
    for by in (3, 6)
    for dx, dy, ha, va in (
        (4, 4, "left", "bottom"),
        (-4, 4, "right", "bottom"),
        (4, -4, "left", "top"),
        (-4, -4, "right", "top"),
        (0, 5, "center", "bottom"),
        (0, -5, "center", "top"),
    )
)
_PLACES = _BESIDE + _FURTHER
_LINE = {"arrowstyle": "-", "linewidth": 0.4, "color": GREY, "shrinkA": 0, "shrinkB": 2}
_MARGIN = 1.5  # points around a name that nothing else may enter


def name_marks(
    axes: "Axes",
    marks: Sequence[tuple[float, float, str]],
    among: Sequence[tuple[float, float]] = (),
) -> int:
    """Writes each mark's name (x, y, name) where it hides fewest other marks; returns how many.

    Earlier marks have precedence. A name for which there is no place within the axes, beside the
    names before it and the axes' own text, is left out. `among` are all marks of the panel. The
    panel must be complete: its layout is settled here.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    scale = float(figure.dpi) / 72
    at = _pixels(axes, [*((x, y) for x, y, _ in marks), *among])
    inside = axes.get_window_extent()
    taken: list[Bbox] = [
        text.get_window_extent() for text in axes.texts if text.get_text() and text.get_visible()
    ]
    legend = axes.get_legend()
    if legend is not None:
        taken.append(legend.get_window_extent())
    written = 0
    for i, (x, y, name) in enumerate(marks):
        best: tuple[int, int] | None = None
        for place in range(len(_PLACES)):
            text = _write(axes, x, y, name, place)
            box = text.get_window_extent().padded(_MARGIN * scale)
            text.remove()
            if not _within(box, inside) or any(box.overlaps(other) for other in taken):
                continue
            hidden = int(
                np.sum((at[:, 0] > box.x0) & (at[:, 0] < box.x1)
                       & (at[:, 1] > box.y0) & (at[:, 1] < box.y1))
            )  # fmt: skip
            if best is None or hidden < best[0]:
                best = hidden, place
            if hidden == 0:
                break
        if best is not None:
            text = _write(axes, x, y, name, best[1])
            taken.append(text.get_window_extent())
            written += 1
        radius = 2 * scale  # a later name may not hide a named mark
        px, py = at[i]
        taken.append(_box(px - radius, py - radius, px + radius, py + radius))
    return written


def _write(axes: "Axes", x: float, y: float, name: str, place: int):  # type: ignore[no-untyped-def]
    dx, dy, ha, va = _PLACES[place]
    return axes.annotate(
        name,
        (x, y),
        xytext=(dx, dy),
        textcoords="offset points",
        ha=ha,
        va=va,
        fontsize=SMALLEST_TYPE,
        bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.3},
        zorder=5,
        in_layout=False,  # the panel keeps its place, or the names would leave theirs
        arrowprops=_LINE if place >= len(_BESIDE) else None,
    )


def _pixels(axes: "Axes", marks: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    return np.asarray(axes.transData.transform(np.asarray(marks, np.float64).reshape(-1, 2)))


def _within(box: "Bbox", outer: "Bbox") -> bool:
    return bool(
        box.x0 >= outer.x0 and box.x1 <= outer.x1 and box.y0 >= outer.y0 and box.y1 <= outer.y1
    )


def _box(x0: float, y0: float, x1: float, y1: float) -> "Bbox":
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(x0, y0, x1, y1)
