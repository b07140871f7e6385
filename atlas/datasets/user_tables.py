"""Facts and templates that users write themselves, as JSONL or CSV.

JSONL, one object per line, in one file or in a directory of `*.jsonl` files:

    {"relation": "P36", "template": "The capital of [X] is [Y].", "label": "capital"}
    {"relation": "P36", "subject": "Ireland", "object": "Dublin", "uuid": "…"}

`label` and `uuid` are optional. A fact's line may bring `"templates": ["…", …]`; they count for the
whole relation, like any other template.

CSV, with a header that names the columns in any order: `relation`, `subject`, `object`, and if
wanted `uuid`, `label` and `template`. A row states a fact (`subject` and `object` filled), or a
template (`template` filled), or both. A file without a `template` column takes its templates from
`templates.csv` beside it (`relation,template[,label]`). A directory of `*.csv` files is read as one
dataset. A `.tsv` file is the same with tabs. Blanks around a cell are dropped; within one, and in
JSON everywhere, white space is the template's.

Other keys and columns are ignored. Lines are read in the order of the files' names, then of lines.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from atlas.counted import counted
from atlas.datasets.of_the_field import what_it_is
from atlas.datasets.popqa import LIST, PARTS, popqa_rows
from atlas.datasets.rows import (
    LabelRow,
    Place,
    Problem,
    Row,
    fact_row,
    json_lines,
    read_text,
    template_row,
    text_fields,
)

_CSV_COLUMNS = ("relation", "subject", "object", "uuid", "label", "template")


def jsonl_rows(path: Path) -> Iterator[Row]:
    """The rows of a JSONL file, or of every `*.jsonl` in a directory."""
    told: set[str] = set()  # of what is not read, once is enough
    for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        for line in json_lines(file):
            if isinstance(line, Problem):
                yield line
                continue
            place, record = line
            message = what_it_is(record)
            if message is None:
                yield from _record_rows(record, place)
            elif message not in told:
                told.add(message)
                yield place.problem(message)


def csv_rows(path: Path) -> Iterator[Row]:
    """The rows of a CSV file and its `templates.csv`, or of every `*.csv` in a directory."""
    if path.is_dir():
        for file in sorted(path.glob("*.csv")):
            yield from _csv_file_rows(file, _header(file))
        return
    header = _header(path)
    if set(header) >= PARTS:
        yield from popqa_rows(_cells(path, header))
        return
    yield from _csv_file_rows(path, header)
    templates = path.with_name("templates.csv")
    if "template" not in header and templates.is_file():
        yield from _csv_file_rows(templates, _header(templates))


def _record_rows(record: Mapping[str, object], place: Place) -> Iterator[Row]:
    states_fact = "subject" in record or "object" in record
    templates = record.get("templates", [])
    if states_fact:
        yield from fact_row(record, place)
    if "template" in record:
        yield from template_row(record, place)
    if not isinstance(templates, list):
        yield place.problem('"templates" must be a list of texts: write ["… [X] … [Y] …"]')
        templates = []
    for template in templates:
        yield from template_row({**record, "template": template}, place)
    if states_fact or "template" in record or "templates" in record:
        fields, problems = text_fields(record, place, ("relation",), ("label",))
        yield from problems
        if not problems and "label" in fields:
            yield LabelRow(place, fields["relation"], fields["label"])
    else:
        yield place.problem(
            'neither a fact nor a template: give "subject" and "object", or "template"'
        )


def _header(path: Path) -> tuple[str, ...]:
    """The column names of a CSV file; empty where there are none to be had."""
    text = read_text(path)
    if isinstance(text, Problem):
        return ()
    try:
        first: list[str] = next(_reader(path, text), [])
    except csv.Error:
        return ()
    return tuple(name.strip().lower() for name in first)


def _reader(path: Path, text: str) -> Any:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    return csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)


def _csv_file_rows(path: Path, header: tuple[str, ...]) -> Iterator[Row]:
    problem = _header_problem(path, header)
    if problem:
        text = read_text(path)
        yield text if isinstance(text, Problem) else problem
        return
    for row in _cells(path, header):
        if isinstance(row, Problem):
            yield row
        else:
            yield from _record_rows(_filled(row[1]), row[0])


def _cells(
    path: Path, header: tuple[str, ...]
) -> Iterator[tuple[Place, Mapping[str, str]] | Problem]:
    """The rows below the header by column, with their places; blank ones are passed over."""
    text = read_text(path)
    if isinstance(text, Problem):
        yield text
        return
    reader = _reader(path, text)
    line = 1
    try:
        for cells in reader:
            # a quoted cell may span lines, so a row begins after the end of the one before it
            place, line = Place(str(path), line), reader.line_num + 1
            if place.line == 1 or not any(cell.strip() for cell in cells):
                continue
            if len(cells) == len(header) or (header[-1] == LIST and len(cells) > len(header)):
                yield place, dict(zip(header, (cell.strip(" \t") for cell in cells), strict=False))
            else:
                yield place.problem(
                    f"{counted(len(cells), 'cell')} under {counted(len(header), 'column')}: "
                    "put a text that has a comma in double quotes"
                )
    except csv.Error as error:
        yield Place(str(path), line).problem(f"malformed CSV ({error}): mend its quotes")


def _header_problem(path: Path, header: tuple[str, ...]) -> Problem | None:
    place = Place(str(path), 1)
    repeated = [name for name in _CSV_COLUMNS if header.count(name) > 1]
    if repeated:
        return place.problem(f"the column {repeated[0]} appears twice: keep one")
    if "relation" in header and ("template" in header or {"subject", "object"} <= set(header)):
        return None
    return place.problem(
        "the first line must name the columns, separated by commas: "
        "relation,subject,object[,uuid][,label][,template], or relation,template[,label]"
    )


def _filled(cells: Mapping[str, str]) -> dict[str, object]:
    """A CSV row as a record: an empty cell states nothing, except half of a fact."""
    record: dict[str, object] = {name: cell for name, cell in cells.items() if name in _CSV_COLUMNS}
    states_fact = any(str(record.get(key, "")).strip() for key in ("subject", "object"))
    if not str(record.get("template", "")).strip():
        record.pop("template", None)
        states_fact = True
    if not states_fact:
        record.pop("subject", None)
        record.pop("object", None)
    return record
