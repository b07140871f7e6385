"""What every figure gets and gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from atlas.export.captions import Source
from atlas.export.figures import UNSIZED, Size, new_figure
from atlas.selection.chosen import ChosenSelection

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Request:
    """What to draw, of what, and how large. `None`: not named."""

    connection: duckdb.DuckDBPyConnection
    selection: ChosenSelection
    edit_id: int | None = None
    fact: str | None = None  # id, subject or SUBJECT:RELATION
    relation: str | None = None  # id or label
    size: Size = UNSIZED
    title: str | None = None  # over all panels; "": none

    def figure(
        self, width: float, height: Callable[[float], float], title: str | None = None
    ) -> "Figure":
        """A figure of the size and title asked for, else of `width`, its height, and `title`."""
        title = title if self.title is None else self.title
        return new_figure(self.size, title, width, height)


@dataclass(frozen=True)
class Drawn:
    """A figure, the rows that it shows and the words to print below it."""

    figure: "Figure"
    rows: Mapping[str, Sequence[Any]]  # letters of the panels → dataclasses, each one mark or more
    caption: str  # without the source
    source: Source


@dataclass(frozen=True)
class Drawing:
    """A kind of figure: a row of the table in `atlas.export.plots`."""

    draw: Callable[[Request], Drawn]
    about: str  # one line, for help
    takes: tuple[str, ...] = ()  # of edit_id, fact and relation, those that it understands
    needs: tuple[str, ...] = ()  # of those, the ones that it cannot do without
