"""The layouts that keep one relation per file: the atlas's own, ParaRel's two, and LAMA's."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from atlas.datasets.json_positions import Lines, element_positions, member_positions, value_position
from atlas.datasets.rows import (
    FactRow,
    LabelRow,
    Place,
    Problem,
    Row,
    TemplateRow,
    detokenised,
    fact_row,
    json_lines,
    parse_json,
    read_text,
    template_row,
    text_fields,
)

_RELATION_FILE = re.compile(r"P\d+")


def atlas_rows(path: Path) -> Iterator[Row]:
    """The rows of a relation file, or of every `*.json` in a directory.

    A file is {"relation": "P36", "label": "capital", "templates": ["…", …],
    "facts": [{"uuid": …, "subject": …, "object": …}, …]}; `label` and `uuid` are optional.
    """
    for file in _in_relation_order(path.glob("*.json")) if path.is_dir() else [path]:
        yield from _atlas_file_rows(file)


def pararel_rows(patterns: Path, facts: Path) -> Iterator[Row]:
    """The rows of ParaRel's two directories of `P*.jsonl` (Elazar et al. 2021).

    Of a pattern's keys only `pattern` is read, of a fact's `sub_label`, `obj_label` and `uuid`.
    """
    for line in _relation_lines(patterns, ("pattern",)):
        if isinstance(line, Problem):
            yield line
        else:
            yield TemplateRow(line.place, line.relation, detokenised(line.fields["pattern"]))
    yield from t_rex_rows(facts)


def lama_rows(directory: Path) -> Iterator[Row]:
    """The rows of LAMA's `relations.jsonl` and `TREx/P*.jsonl` (Petroni et al. 2019).

    A relation has one template. Its other parts (Google-RE, ConceptNet, SQuAD) are not read: they
    have no such templates.
    """
    for line in json_lines(directory / "relations.jsonl"):
        if isinstance(line, Problem):
            yield line
            continue
        place, record = line
        fields, problems = text_fields(record, place, ("relation", "template"), ("label",))
        yield from problems
        if not problems:
            yield TemplateRow(place, fields["relation"], detokenised(fields["template"]))
            if "label" in fields:
                yield LabelRow(place, fields["relation"], fields["label"])
    yield from t_rex_rows(directory / "TREx")


def t_rex_rows(directory: Path) -> Iterator[Row]:
    """The facts of a directory of `P*.jsonl` as LAMA and ParaRel have it."""
    for line in _relation_lines(directory, ("sub_label", "obj_label"), ("uuid",)):
        if isinstance(line, Problem):
            yield line
        else:
            subject, object = line.fields["sub_label"], line.fields["obj_label"]
            yield FactRow(line.place, line.relation, subject, object, line.fields.get("uuid"))


class _Line(NamedTuple):
    place: Place
    relation: str
    fields: dict[str, str]


def _relation_lines(
    directory: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[_Line | Problem]:
    for file in _in_relation_order(directory.glob("P*.jsonl")):
        for line in json_lines(file):
            if isinstance(line, Problem):
                yield line
                continue
            place, record = line
            fields, problems = text_fields(record, place, required, optional)
            yield from problems
            if not problems:
                yield _Line(place, file.stem, fields)


def _atlas_file_rows(file: Path) -> Iterator[Row]:
    text = read_text(file)
    if isinstance(text, Problem):
        yield text
        return
    document = parse_json(text, Place(str(file), 1))
    if isinstance(document, Problem):
        yield document
        return
    if not isinstance(document, dict):
        yield Place(str(file), 1).problem(
            'not a relation: write {"relation": …, "label": …, "templates": […], "facts": […]}'
        )
        return
    lines = Lines(text)
    starts = member_positions(text, value_position(text))

    def place_of(key: str) -> Place:
        return Place(str(file), lines.number(starts[key]) if key in starts else 1)

    def elements(key: str) -> Iterator[tuple[Place, Any]]:
        places = [lines.number(at) for at in element_positions(text, starts[key])]
        for line, value in zip(places, document[key], strict=True):
            yield Place(str(file), line), value

    header, problems = text_fields(document, place_of("relation"), ("relation",), ("label",))
    yield from problems
    relation = header.get("relation", file.stem)
    if _RELATION_FILE.fullmatch(file.stem) and relation != file.stem:
        yield place_of("relation").problem(
            f"relation {relation} in {file.name}: rename one of them"
        )
    if "label" in header:
        yield LabelRow(place_of("label"), relation, header["label"])
    for key in ("templates", "facts"):
        if not isinstance(document.get(key), list):
            yield place_of(key).problem(f'"{key}" must be a list: write [ … ]')
            continue
        for place, value in elements(key):
            if key == "templates":
                yield from template_row({"relation": relation, "template": value}, place)
            elif isinstance(value, dict):
                yield from fact_row({**value, "relation": relation}, place)
            else:
                yield place.problem('not a fact: write {"subject": …, "object": …}')


def _in_relation_order(files: Iterator[Path]) -> list[Path]:
    """P17 before P101."""
    return sorted(files, key=lambda file: (len(file.stem), file.stem))
