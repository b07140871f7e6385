"""The text of a figure, as a reader meets it: size, place, and what it touches."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

SVG = "{http://www.w3.org/2000/svg}"
_SIZE = re.compile(r"(?:font-size:\s*|font:[^;]*?)(\d+(?:\.\d+)?)px")


def svg_text(file: Path) -> str:
    """All text of an SVG file."""
    root = ET.parse(file).getroot()
    return " ".join("".join(node.itertext()) for node in root.iter(f"{SVG}text"))


def svg_sizes(file: Path) -> set[float]:
    """The sizes of an SVG's text, in points: one user unit of these files is one point."""
    root = ET.parse(file).getroot()
    height = root.get("height") or ""
    assert height.endswith("pt")
    assert float((root.get("viewBox") or "").split()[3]) == float(height[:-2])
    sizes = set()
    for node in root.iter(f"{SVG}text"):
        found = _SIZE.search(node.get("style") or "")
        assert found, ET.tostring(node)
        sizes.add(float(found[1]))
    return sizes


def faults(figure: "Figure") -> list[str]:
    """What an art editor would send back: text that touches other text, or leaves the figure."""
    figure.draw_without_rendering()
    left_out = _left_out(figure)
    boxes = [
        (text, text.get_window_extent())
        for text in figure.findobj(_is_text)
        if text.get_visible() and text.get_text().strip() and text not in left_out
    ]
    page = figure.bbox
    found = []
    for i, (text, box) in enumerate(boxes):
        if not (page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1
                and page.y0 - 1 <= box.y0 and box.y1 <= page.y1 + 1):  # fmt: skip
            found.append(f"{text.get_text()!r} leaves the figure")
        for other, its in boxes[i + 1 :]:
            across = min(box.x1, its.x1) - max(box.x0, its.x0)
            down = min(box.y1, its.y1) - max(box.y0, its.y0)
            if across > 1 and down > 2:  # the boxes hold more than the ink
                found.append(f"{text.get_text()!r} touches {other.get_text()!r}")
    return found


def _is_text(artist: object) -> bool:
    from matplotlib.text import Text

    return isinstance(artist, Text)


def _left_out(figure: "Figure") -> set["Text"]:
    """Labels of ticks beyond the axis, and all text of hidden panels, which are not drawn."""
    left_out: set[Text] = set()
    for axes in figure.axes:
        if not axes.get_visible():
            left_out.update(axes.findobj(_is_text))
        for axis in (axes.xaxis, axes.yaxis):
            shown = set(axis._update_ticks())  # no public call says which ticks are drawn
            for tick in (*axis.majorTicks, *axis.minorTicks):
                if tick not in shown:
                    left_out |= {tick.label1, tick.label2}
    return left_out
