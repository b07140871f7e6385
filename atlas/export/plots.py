"""Figures of a selection or an edit, drawn from SQL alone: no model is loaded.

A new figure is a file in `drawings` and a row of DRAWINGS.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb

from atlas.errors import SettingsError
from atlas.export.drawings import edit, effects, fact, hubs, layers, overlap
from atlas.export.drawings.drawing import Drawing, Request
from atlas.export.figure_files import data_file, require_writable, save
from atlas.export.figures import parse_size, styled
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
_WORDS = {"edit_id": "edit", "fact": "fact", "relation": "relation"}


@dataclass(frozen=True)
class Plotted:
    """A figure that was written, with its data beside it and the caption to print below it."""

    what: str
    file: str
    data_file: str  # CSV: the rows that the figure shows
    run_id: str
    selection_id: str | None  # None: an edit's that is checked against none
    points: int  # rows of the data file
    caption: str


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
    narrowed = {"edit_id": edit_id, "fact": fact, "relation": relation}
    for name, value in narrowed.items():
        if value is not None and name not in drawing.takes:
            takers = [other for other, d in DRAWINGS.items() if name in d.takes]
            raise SettingsError(
                f"{what} is not drawn of one {_WORDS[name]}: only {' and '.join(takers)} are"
            )
        if value is None and name in drawing.needs:
            raise SettingsError(f"{what} is drawn of one {_WORDS[name]}: name it")
    request = Request(connection, selection, edit_id, fact, relation, parse_size(size), title)
    require_writable(file)
    with styled():
        drawn = drawing.draw(request)
        source = drawn.source
        caption = f"{drawn.caption} {source.sentence}"
        known = {
            "figure": what,
            "model": source.model,
            "run_id": source.run_id,
            "selection_id": source.selection_id,
        }
        save(drawn.figure, file, drawn.rows, known, caption)
    return Plotted(
        what=what,
        file=str(file),
        data_file=str(data_file(file)),
        run_id=source.run_id,
        selection_id=source.selection_id,
        points=sum(len(rows) for rows in drawn.rows.values()),
        caption=caption,
    )
