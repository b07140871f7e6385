"""What every dataset layout is read into: rows and problems, each with its file and line.

A layout's reader is a generator over rows and problems; `atlas.datasets` folds them into a
Dataset. So reading and checking see the same rows and apply the same rules.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BLANKS = re.compile(r"\s+")
_BLANK_BEFORE_STOP = re.compile(r" ([.,])(?= |$)")


@dataclass(frozen=True)
class Problem:
    """What is wrong with a dataset, where, and what to do; `line` is None for a whole file."""

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.message}"


@dataclass(frozen=True)
class Place:
    """A line of a file, or the whole file."""

    file: str
    line: int | None = None

    def problem(self, message: str) -> Problem:
        return Problem(self.file, self.line, message)


@dataclass(frozen=True)
class FactRow:
    """A fact as its file states it; `uuid` is None where the file gives none."""

    place: Place
    relation: str
    subject: str
    object: str
    uuid: str | None


@dataclass(frozen=True)
class TemplateRow:
    """A template as its file states it: every blank and line break is the prompt's."""

    place: Place
    relation: str
    text: str


@dataclass(frozen=True)
class LabelRow:
    """A relation's label as a file states it."""

    place: Place
    relation: str
    label: str


Row = FactRow | TemplateRow | LabelRow | Problem


def detokenised(template: str) -> str:
    """A template of a corpus that sets marks apart, as it would be printed.

    ParaRel and LAMA write "The capital of [X] is [Y] ." as well as "[X]'s capital is [Y].": single
    blanks, and none before a full stop or comma that ends a word. Other marks keep their blank:
    French puts one before a colon.
    """
    return _BLANK_BEFORE_STOP.sub(r"\1", _BLANKS.sub(" ", template).strip())


def quoted(text: str, longest: int = 60) -> str:
    """The text in double quotes, cut after `longest` characters, on one line."""
    shown = text if len(text) <= longest else text[: longest - 1] + "…"
    return json.dumps(shown, ensure_ascii=False)


def read_text(path: Path) -> str | Problem:
    """The file's text (UTF-8, with or without a byte-order mark), or why there is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "unreadable"
        return Problem(str(path), None, f"cannot be read ({reason}): check its permissions")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Problem(str(path), line, "is not UTF-8: save the file with that encoding")


def parse_json(text: str, place: Place) -> Any:
    """The JSON value, or a Problem that names the line; an object may not repeat a key."""
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats)
        if "\\ud" in text.lower():
            # half a surrogate pair is JSON, but not a text that can be hashed or stored
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        line = (place.line or 1) + error.lineno - 1
        message = f"malformed JSON at column {error.colno} ({error.msg}): mend or remove it"
        return Problem(place.file, line, message)
    except (ValueError, RecursionError) as error:
        return place.problem(f"malformed JSON ({error}): mend or remove it")


def json_lines(path: Path) -> Iterator[tuple[Place, dict[str, Any]] | Problem]:
    """The objects of a JSONL file with their places; blank lines are passed over."""
    text = read_text(path)
    if isinstance(text, Problem):
        yield text
        return
    # Not splitlines(): it also splits at U+2028 and U+0085, which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = Place(str(path), number)
        value = parse_json(line, place)
        if isinstance(value, Problem):
            yield value
        elif isinstance(value, dict):
            yield place, value
        else:
            yield place.problem('not a JSON object: write one {"key": "value"} per line')


def text_fields(
    record: Mapping[str, object],
    place: Place,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    exact: Sequence[str] = (),
) -> tuple[dict[str, str], list[Problem]]:
    """The record's text fields, stripped but for the `exact` ones, and what is wrong with them.

    A required field must be there and not blank; an optional one may be missing, null or blank
    and is then left out. Fields not asked for are ignored.
    """
    fields: dict[str, str] = {}
    problems: list[Problem] = []
    for key in (*required, *optional):
        value = record.get(key)
        if isinstance(value, str) and value.strip():
            fields[key] = value if key in exact else value.strip()
        elif value is not None and not isinstance(value, str):
            shown = type(value).__name__
            problems.append(place.problem(f'"{key}" must be text, not {shown}: put it in quotes'))
        elif key in required:
            state = "is empty" if isinstance(value, str) else "is missing"
            problems.append(place.problem(f'"{key}" {state}: give it, or remove the line'))
    return fields, problems


def fact_row(record: Mapping[str, object], place: Place) -> list[Row]:
    """The record {"relation", "subject", "object", "uuid"?} as a row, or its problems."""
    required = ("relation", "subject", "object")
    fields, problems = text_fields(record, place, required, ("uuid",))
    if problems:
        return list(problems)
    relation, subject, object = (fields[key] for key in required)
    return [FactRow(place, relation, subject, object, fields.get("uuid"))]


def template_row(record: Mapping[str, object], place: Place) -> list[Row]:
    """The record {"relation", "template"} as a row, or its problems."""
    fields, problems = text_fields(record, place, ("relation", "template"), exact=("template",))
    if problems:
        return list(problems)
    return [TemplateRow(place, fields["relation"], fields["template"])]


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {quoted(repeated)} appears twice")
    return members
