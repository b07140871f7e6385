"""Rows as an HTML table: one look for notebooks and for the pages of the explorer.

Everything is escaped, and text in any script is isolated, so that none of it reaches beyond its
cell. A neuron is written `3:117`, a fact as its subject and object.
"""

import html
import math
import re
from collections.abc import Sequence
from typing import Any, Protocol

LONGEST = 200  # characters of a cell
_PLAIN = re.compile(r"[\x20-\x7e]*")


class Linking(Protocol):
    """Where things have their pages; None: they have none here."""

    def neuron(self, layer: int, neuron: int) -> str | None: ...
    def fact(self, fact_id: str) -> str | None: ...
    def relation(self, relation_id: str) -> str | None: ...
    def edit(self, edit_id: int) -> str | None: ...


def table(
    rows: Sequence[Any],
    columns: Sequence[tuple[str, str]],
    links: Linking | None = None,
    caption: str | None = None,
) -> str:
    """Rows of one dataclass as a table; columns are (field, header).

    Beside fields there are the columns `neuron` (of rows with a layer, too), `fact`, `relation` and
    `edit_id`, which lead to their pages where `links` has these.
    """
    cells = [[cell(row, field, links) for field, _ in columns] for row in rows]
    values = [[getattr(row, field, None) for row in rows] for field, _ in columns]
    right = [field != "neuron" and are_numbers(column)
             for (field, _), column in zip(columns, values, strict=True)]  # fmt: skip
    return drawn([header for _, header in columns], cells, right, caption)


def drawn(
    headers: Sequence[str],
    cells: Sequence[Sequence[str]],
    right: Sequence[bool],
    caption: str | None = None,
) -> str:
    """A table of cells that are HTML already; numbers are on the right of theirs.

    Where all numbers stand behind one to four columns of text, the table says so once.
    """
    texts = list(right).index(True) if True in right else 0
    once = 1 <= texts <= 4 and all(right[texts:])
    of = [' class="n"' if on_right else "" for on_right in right]
    of_cells = [""] * len(of) if once else of
    start = f'<table class="r{texts}">' if once else "<table>"
    head = "".join(
        f'<th scope="col"{kind}>{html.escape(name)}</th>'
        for name, kind in zip(headers, of, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{k}>{c}</td>" for c, k in zip(row, of_cells, strict=True)) + "</tr>\n"
        for row in cells
    )
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f"{start}{title}<thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"


def cell(row: Any, field: str, links: Linking | None = None) -> str:
    """A cell's HTML."""
    if field == "neuron" and hasattr(row, "layer"):
        return linked(
            f"{row.layer}:{row.neuron}", links.neuron(row.layer, row.neuron) if links else None
        )
    if field == "fact":
        subject = linked(row.subject, links.fact(row.fact_id) if links else None)
        return f'{subject} <span class="o">→ {isolated(row.object)}</span>'
    if field == "relation" and row.relation_id:
        label = getattr(row, "relation", None) or row.relation_id
        named = linked(label, links.relation(row.relation_id) if links else None)
        return named if label == row.relation_id else f"{named} <small>{row.relation_id}</small>"
    if field == "edit_id":
        return linked(str(row.edit_id), links.edit(row.edit_id) if links else None)
    return said(getattr(row, field))


def linked(text: str, href: str | None) -> str:
    """The text, as a link where it leads somewhere."""
    inside = isolated(text)
    return f'<a href="{html.escape(href)}">{inside}</a>' if href else inside


def isolated(text: str) -> str:
    """Escaped text, cut where it is very long; other scripts do not turn what is around them."""
    short = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    escaped = html.escape(short)
    return escaped if _PLAIN.fullmatch(short) else f"<bdi>{escaped}</bdi>"


def said(value: Any) -> str:
    """A value as a reader wants it, in HTML: nothing for None, numbers of three digits."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    return isolated(str(value))


def number(value: float) -> str:
    """A number of three significant digits, a whole one with all of them."""
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-4:
        return f"{value:.1e}"
    if size >= 1000:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(size)))
    return f"{value:.{digits}f}"


def are_numbers(values: Sequence[Any]) -> bool:
    """Whether a column holds numbers, and belongs on the right."""
    found = [value for value in values if value is not None]
    return bool(found) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in found
    )
