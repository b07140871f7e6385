"""Charts as inline SVG, drawn without a library, in the figures' colours.

Shapes have classes and no colours of their own: the style sheet knows the palette, in the light
and in the dark. Every chart has a text that says what it shows; its numbers stand in a table or in
the shapes' titles.
"""

import html
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atlas.html_tables import number

STEPS = 10  # colours of a heatmap


@dataclass(frozen=True)
class Bar:
    """A bar, with what is written beside it."""

    label: str
    value: float
    title: str
    href: str | None = None


def step(share: float | None) -> int | None:
    """The colour of a share from 0 to 1; None stays None."""
    return None if share is None else min(STEPS - 1, max(0, int(share * STEPS)))


def columns(bars: Sequence[Bar], about: str, under: str) -> str:
    """Bars that stand side by side, as layers do; `under` names what they are."""
    wide, high, left, bottom = 480, 150, 44, 30
    most = max((bar.value for bar in bars), default=0) or 1
    room = (wide - left - 4) / max(len(bars), 1)
    every = max(1, -(-len(bars) * 22 // (wide - left)))  # labels that would touch are left out
    parts = [_line(left, high - bottom, wide, high - bottom)]
    for share in (0.5, 1.0):
        y = (high - bottom - 14) * (1 - share) + 14
        parts += [
            _line(left, y, wide, y, "grid"),
            _text(left - 5, y + 3.5, number(most * share), "e"),
        ]
    for i, bar in enumerate(bars):
        x, height = left + 2 + i * room, (high - bottom - 14) * max(bar.value, 0) / most
        shape = (
            f'<path class="b" d="M{x + room * 0.12:.1f} {high - bottom}'
            f'v-{height:.1f}h{room * 0.76:.1f}v{height:.1f}z"/>'
        )
        parts.append(_titled(bar.href, bar.title, shape))
        if i % every == 0:
            parts.append(_text(x + room / 2, high - bottom + 13, bar.label, "m"))
    parts.append(_text((left + wide) / 2, high - 3, under, "m q"))
    return _svg(wide, high, about, parts)


def rows(bars: Sequence[Bar], about: str, *, most: float | None = None) -> str:
    """Bars that lie one below the other, each with its name before and its value behind it."""
    wide, pitch, left, right = 480, 20, 170, 86
    most = most or max((abs(bar.value) for bar in bars), default=0) or 1
    parts = []
    for i, bar in enumerate(bars):
        y = i * pitch
        width = max((wide - left - right) * abs(bar.value) / most, 0.5)
        label = bar.label if len(bar.label) <= 28 else bar.label[:27] + "…"
        parts.append(
            _titled(bar.href, bar.label, _text(left - 6, y + 14, label, "e"))
            + f'<rect class="b" x="{left}" y="{y + 4}" width="{width:.1f}" height="12"/>'
            + _text(left + width + 5, y + 14, bar.title, "q")
        )
    return _svg(wide, pitch * len(bars) + 4, about, parts)


def histogram(bins: Sequence[tuple[float, float, int, int]], about: str, under: str) -> str:
    """How many values lie in bins of one width: low, high, all, and the part to point out."""
    wide, high, left, bottom = 480, 160, 44, 32
    most = max((there for *_, there, _ in bins), default=0) or 1
    room = (wide - left - 4) / max(len(bins), 1)
    floor = high - bottom
    parts = [_line(left, floor, wide, floor)]
    parts += [_line(left, 14, wide, 14, "grid"), _text(left - 5, 17.5, number(most), "e")]
    for i, (low, up, there, chosen) in enumerate(bins):
        x = left + 2 + i * room
        columns = "".join(
            f'<path class="{kind}" d="M{_short(x)} {floor}'
            f'v-{_short((floor - 14) * count / most)}h{_short(room - 1)}V{floor}z"/>'
            for count, kind in ((there, "p"), (chosen, "b"))
            if count
        )
        title = f"{number(low)} to {number(up)}: {there:,}, of these {chosen:,} chosen"
        parts.append(_titled(None, title, columns) if columns else "")
    if bins:
        parts += [
            _text(left + 2, floor + 13, number(bins[0][0]), "q"),
            _text(wide - 2, floor + 13, number(bins[-1][1]), "e q"),
        ]
    parts.append(_text((left + wide) / 2, high - 4, under, "m q"))
    return _svg(wide, high, about, parts)


def matrix(
    names: Sequence[str],
    value: Callable[[int, int], float | None],
    href: Callable[[int, int], str | None],
    title: Callable[[int, int], str],
    about: str,
) -> str:
    """The lower half of a symmetric matrix as coloured cells that lead somewhere."""
    pitch, left, top = 14, 46, 6
    size = pitch * len(names)
    found = [value(i, j) for i in range(len(names)) for j in range(i + 1)]
    most = max((v for v in found if v is not None), default=0) or 1
    parts = []
    for i, name in enumerate(names):
        parts.append(_text(left - 4, top + i * pitch + 11, name, "e"))
        for j in range(i + 1):
            there = value(i, j)
            if there is None:
                continue
            cell = (
                f'<path class="c{step(there / most)}" '
                f'd="M{left + j * pitch} {top + i * pitch}h{pitch - 1}v{pitch - 1}h{1 - pitch}z"/>'
            )
            parts.append(_titled(href(i, j), title(i, j), cell))
        parts.append(
            f'<g transform="translate({left + i * pitch + 10} {top + size + 4}) rotate(90)">'
            f"{_text(0, 0, name)}</g>"
        )
    return _svg(left + size + 4, top + size + 44, about, parts, "wide")


def before_after(
    shifts: Sequence[tuple[str, bool, Sequence[tuple[str, float, float]]]], about: str
) -> str:
    """Probabilities before and after: a name, whether it is to stand back, and lines by class."""
    wide, pitch, left = 640, 26, 310
    parts: list[str] = []

    def at(p: float) -> float:
        return left + (wide - left - 8) * min(max(p, 0.0), 1.0)

    floor = pitch * len(shifts)
    for p in (0.0, 0.5, 1.0):
        parts += [_line(at(p), 0, at(p), floor, "grid"), _text(at(p), floor + 13, number(p), "m q")]
    for i, (name, back, lines) in enumerate(shifts):
        y = i * pitch
        if back:
            parts.append(f'<rect class="back" x="0" y="{y}" width="{wide}" height="{pitch}"/>')
        label = name if len(name) <= 50 else name[:49] + "…"
        parts.append(_titled(None, name, _text(left - 8, y + 16, label, "e")))
        for nudge, (kind, before, after) in zip((-5, 5), lines, strict=False):
            level = y + pitch / 2 + nudge
            parts.append(
                f'<g class="{kind}">{_title(f"{number(before)} → {number(after)}")}'
                f'<path d="M{at(before):.1f} {level}H{at(after):.1f}"/>'
                f'<circle class="open" cx="{at(before):.1f}" cy="{level}" r="3.2"/>'
                f'<circle cx="{at(after):.1f}" cy="{level}" r="3.5"/></g>'
            )
    return _svg(wide, floor + 18, about, parts, "wide")


@dataclass(frozen=True)
class Node:
    """A neuron in a graph between two facts or relations."""

    name: str
    title: str
    href: str | None = None


def between(
    a: str, b: str, only_a: Sequence[Node], both: Sequence[Node], only_b: Sequence[Node], about: str
) -> str:
    """Two subjects and their neurons: those of one alone outside, those of both between them."""
    wide, pitch, most = 640, 24, 14
    high = max(3, *(min(len(n), most) + (len(n) > most) for n in (only_a, both, only_b))) * pitch
    middle, left, right = high / 2, wide * 0.27, wide * 0.73
    parts: list[str] = []
    for nodes, x, ends in (
        (only_a, 40.0, (left,)), (both, wide / 2, (left, right)), (only_b, wide - 40.0, (right,))
    ):  # fmt: skip
        shown = nodes[:most]
        top = (high - pitch * (len(shown) + (len(nodes) > most))) / 2 + pitch / 2
        for i in range(len(shown)):
            y = top + i * pitch
            kind = "shared" if len(ends) == 2 else "own"
            parts += [
                f'<path class="{kind}" d="M{end:.0f} {middle:.1f}L{x:.0f} {y:.1f}"/>'
                for end in ends
            ]
        for i, node in enumerate(shown):
            y = top + i * pitch
            mark = (
                f'<rect class="node" x="{x - 30:.0f}" y="{y - 9:.1f}" '
                f'width="60" height="18" rx="9"/>{_text(x, y + 4, node.name, "m")}'
            )
            parts.append(_titled(node.href, node.title, mark))
        if len(nodes) > most:
            parts.append(_text(x, top + most * pitch + 4, f"{len(nodes) - most} more", "m q"))
    for name, x in ((a, left), (b, right)):
        short = name if len(name) <= 18 else name[:17] + "…"
        parts.append(
            _titled(
                None,
                name,
                f'<rect class="fact" x="{x - 62:.0f}" y="{middle - 13:.1f}" '
                f'width="124" height="26" rx="4"/>{_text(x, middle + 4, short, "m f")}',
            )
        )
    return _svg(wide, high + 4, about, parts, "wide")


def scatter(points: Sequence[tuple[float, float, str]], about: str, x: str, y: str) -> str:
    """Points with their titles, both axes linear from the smallest value to the largest."""
    wide, high, left, bottom = 480, 240, 52, 34
    xs, ys = [p[0] for p in points] or [0.0], [p[1] for p in points] or [0.0]
    low_x, low_y = min(0.0, *xs), min(0.0, *ys)
    span_x, span_y = (max(*xs, 0.0) - low_x) or 1, (max(*ys, 0.0) - low_y) or 1
    floor = high - bottom
    parts = [_line(left, floor, wide, floor), _line(left, 6, left, floor)]
    for share in (0.0, 1.0):
        parts += [
            _text(left - 5, floor - (floor - 10) * share + 3, number(low_y + span_y * share), "e"),
            _text(left + (wide - left - 20) * share, floor + 13, number(low_x + span_x * share)),
        ]
    parts += [
        f'<circle class="dot" cx="{left + (wide - left - 20) * (px - low_x) / span_x:.1f}" '
        f'cy="{floor - (floor - 10) * (py - low_y) / span_y:.1f}" r="3">{_title(title)}</circle>'
        for px, py, title in points
    ]
    parts += [_text((left + wide) / 2, high - 4, x, "m q"), _text(left + 6, 12, y, "q")]
    return _svg(wide, high, about, parts)


@dataclass(frozen=True)
class Dot:
    """A mean with its interval, of a series; `x` is a number or a name."""

    series: str
    x: float | str
    value: float
    low: float | None
    high: float | None
    title: str


SERIES = 7  # colours of series; further ones begin anew


def dots(found: Sequence[Dot], about: str, under: str) -> str:
    """Means of named things with their intervals and a line at 0, each below its name.

    So it is no wider than a telephone.
    """
    wide, pitch, left, right = 340, 32, 26, 24
    names = list(dict.fromkeys(dot.series for dot in found))
    ends = [
        0.0,
        *(end for dot in found for end in (dot.value, dot.low, dot.high) if end is not None),
    ]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0
    floor = pitch * len(found) + 6

    def at(value: float) -> float:
        return left + (wide - left - right) * (value - low) / span

    parts = [_line(at(0.0), 0, at(0.0), floor)]
    for value in (low, high):
        if value:
            parts.append(_line(at(value), 0, at(value), floor, "grid"))
            if abs(at(value) - at(0.0)) > 30:  # pixels, that the number does not run into the 0
                parts.append(_text(at(value), floor + 13, number(value), "m q"))
    parts += [_text(at(0.0), floor + 13, "0", "m q")]
    parts.append(_text((left + wide - right) / 2, floor + 28, under, "m q"))
    for i, dot in enumerate(found):
        y = i * pitch + 25
        label = f"{dot.x}: {dot.series}" if len(names) > 1 else str(dot.x)
        kind = f"s{names.index(dot.series) % SERIES}"
        interval = ""
        if dot.low is not None and dot.high is not None:
            interval = f'<path d="M{at(dot.low):.1f} {y}H{at(dot.high):.1f}"/>'
        mark = f'<g class="{kind}">{interval}<circle cx="{at(dot.value):.1f}" cy="{y}" r="4"/></g>'
        parts.append(_titled(None, dot.title, _text(0, y - 11, label[:56]) + mark))
    return _svg(wide, floor + 34, about, parts, "wide")


def curves(found: Sequence[Dot], about: str, x: str, y: str) -> str:
    """Means over a number, a line a series, each with its intervals and its name in a legend."""
    names = list(dict.fromkeys(dot.series for dot in found))
    wide, left, bottom, top = 340, 56, 36, 28 + 16 * len(names)
    high = top + bottom + 170
    steps = sorted({float(dot.x) for dot in found})
    ends = [
        0.0,
        *(end for dot in found for end in (dot.value, dot.low, dot.high) if end is not None),
    ]
    low, up = min(ends), max(ends)
    span = (up - low) or 1.0
    floor = high - bottom
    room = (wide - left - 20) / max(len(steps) - 1, 1)

    def across(dot: Dot) -> float:
        return left + 8 + room * steps.index(float(dot.x))

    def upward(value: float) -> float:
        return floor - (floor - top) * (value - low) / span

    parts = [_line(left, floor, wide, floor)]
    for value in dict.fromkeys((low, 0.0, up)):
        parts += [
            _line(left, upward(value), wide, upward(value), "grid"),
            _text(left - 5, upward(value) + 3.5, number(value), "e"),
        ]
    every = max(1, -(-len(steps) * 34 // (wide - left)))
    parts += [
        _text(left + 8 + room * i, floor + 13, f"{step:g}", "m q")
        for i, step in enumerate(steps)
        if i % every == 0
    ]
    for place, name in enumerate(names):
        own = sorted((dot for dot in found if dot.series == name), key=lambda dot: float(dot.x))
        path = "L".join(f"{across(dot):.1f} {upward(dot.value):.1f}" for dot in own)
        marks = "".join(
            f'<circle cx="{across(dot):.1f}" cy="{upward(dot.value):.1f}" r="3.5">'
            f"{_title(dot.title)}</circle>"
            + (
                ""
                if dot.low is None or dot.high is None
                else f'<path d="M{across(dot):.1f} {upward(dot.low):.1f}V{upward(dot.high):.1f}"/>'
            )
            for dot in own
        )
        legend = f'<circle cx="{left + 10}" cy="{24 + 16 * place}" r="4"/>'
        parts += [
            f'<g class="s{place % SERIES}"><path d="M{path}"/>{marks}{legend}</g>',
            _text(left + 20, 28 + 16 * place, name),
        ]
    parts += [_text((left + wide) / 2, high - 4, x, "m q"), _text(wide, 12, y, "e q")]
    return _svg(wide, high, about, parts, "wide")


def _svg(wide: float, high: float, about: str, parts: Sequence[str], kind: str = "") -> str:
    """The chart; a wide one keeps its size on a small screen and scrolls by itself."""
    inside = "".join(itertools.chain.from_iterable((part, "\n") for part in parts))
    role = "group" if "<a " in inside else "img"
    named = f'aria-label="{html.escape(about)}"'
    drawn = (
        f'<svg class="chart" viewBox="0 0 {wide:g} {high:g}" role="{role}" {named} '
        f'width="{wide:g}" height="{high:g}">\n{inside}</svg>'
    )
    if not kind:
        return drawn
    return f'<div class="scroll {kind}" tabindex="0" role="region" {named}>{drawn}</div>'


def _title(text: str) -> str:
    return f"<title>{html.escape(text)}</title>"


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    of = f' class="{kind}"' if kind else ""
    return f'<text{of} x="{_short(x)}" y="{_short(y)}">{html.escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str = "axis") -> str:
    return f'<path class="{kind}" d="M{_short(x1)} {_short(y1)}L{_short(x2)} {_short(y2)}"/>'


def _short(length: float) -> str:
    return f"{length:.1f}".removesuffix(".0")


def _titled(href: str | None, title: str, inside: str) -> str:
    """What is drawn, with what it is called, as a link where it leads somewhere."""
    named = f"{_title(title)}{inside}"
    return f'<a href="{html.escape(href)}">{named}</a>' if href else f"<g>{named}</g>"
