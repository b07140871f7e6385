"""Figures of a selection or an edit, drawn from SQL alone: no model is loaded.

A new figure is a file in `drawings` and a row of DRAWINGS.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb

from atlas.answers import Answer
from atlas.errors import SettingsError
from atlas.export.drawings import edit, effects, fact, hubs, layers, overlap
from atlas.export.drawings.drawing import Drawing, Request
from atlas.export.figure_files import data_file, require_writable, save
from atlas.export.figures import parse_size, require_room, styled
from atlas.selection.chosen import ChosenSelection

DRAWINGS: dict[str, Drawing] = {
    "layers": Drawing(
        layers.draw, "in which layers facts are expressed, beside what chance gives", ("relation",)
    ),
    "overlap": Drawing(overlap.draw, "neurons that relations share, similar relations together"),
    "hubs": Drawing(hubs.draw, "neurons by the facts they serve and how these spread"),
    "effects": Drawing(
        effects.draw,
        "predicted against measured effects on other facts, a panel a change",
        ("edit_id", "fact"),
    ),
    "fact": Drawing(fact.draw, "a fact's prompts × neurons: scores", ("fact",), ("fact",)),
    "edit": Drawing(
        edit.draw, "an edit's own prompts before and after, its damage", ("edit_id",), ("edit_id",)
    ),
}
_NAMES = {"edit_id": "edit", "fact": "fact", "relation": "relation"}


@dataclass(frozen=True)
class PlottedPanel:
    """A panel of a figure, or several that show the same rows."""

    panel: str  # its letters: a, or ab
    rows: int  # of the data file


@dataclass(frozen=True)
class Plotted(Answer, rows="panels"):
    """A figure that was written, with its data beside it and the caption to print below it."""

    what: str
    file: str
    data_file: str  # CSV: the rows that the figure shows
    model: str
    run_id: str
    selection_id: str | None  # None: that of an edit which is checked against none
    points: int  # rows of the data file
    caption: str
    panels: tuple[PlottedPanel, ...]


def plot(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    what: str,
    file: Path | str,
    *,
    edit_id: int | None = None,
    fact: str | None = None,
    relation: str | None = None,
    title: str | None = None,
    size: str | None = None,
) -> Plotted:
    """Draw one of DRAWINGS into an .svg, .png or .pdf file, its data into a .csv beside it.

    `edit_id`, `fact` (id, subject or SUBJECT:RELATION) and `relation` (id or label) narrow the
    figures that take them. `size` is `column`, `page`, or WxH in inches or mm. Both files appear
    whole or not at all, replacing those of an earlier figure. Raises SettingsError for an unknown
    figure, format or size, NotFound where there is nothing to draw.
    """
    file = Path(file)
    drawing = DRAWINGS.get(what)
    if drawing is None:
        raise SettingsError(f"no figure '{what}'; there are {', '.join(DRAWINGS)}")
    for name, value in (("edit_id", edit_id), ("fact", fact), ("relation", relation)):
        if value is not None and name not in drawing.takes:
            takers = [other for other, row in DRAWINGS.items() if name in row.takes]
            raise SettingsError(
                f"{what} is not drawn of one {_NAMES[name]}: {' and '.join(takers)} can be",
                parameters=[name],
            )
        if value is None and name in drawing.needs:
            raise SettingsError(
                f"{what} is drawn of one {_NAMES[name]}: name it", parameters=[name]
            )
    request = Request(connection, selection, edit_id, fact, relation, parse_size(size), title)
    require_writable(file)
    with styled():
        drawn = drawing.draw(request)
        require_room(drawn.figure)
        source = drawn.source
        caption = f"{drawn.caption} {source.sentence}"
        known = {
            "figure": what,
            "model": source.model,
            "run_id": source.run_id,
            "selection_id": source.selection_id,
        }
        save(drawn.figure, file, drawn.rows, known, caption)
    panels = tuple(PlottedPanel(panel, len(rows)) for panel, rows in drawn.rows.items())
    return Plotted(
        what=what,
        file=str(file),
        data_file=str(data_file(file)),
        model=source.model,
        run_id=source.run_id,
        selection_id=source.selection_id,
        points=sum(panel.rows for panel in panels),
        caption=caption,
        panels=panels,
    )
