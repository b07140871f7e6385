"""Which layout a path holds, and the reader for it.

A new layout is a reader in a file of its own and its row of READERS or DIRECTORIES.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from atlas.datasets.of_the_field import what_it_is
from atlas.datasets.paper_bags import bag_rows
from atlas.datasets.popqa import PARTS, popqa_rows
from atlas.datasets.relation_files import atlas_rows, lama_rows, pararel_rows
from atlas.datasets.rows import Place, Problem, Row, parse_json, read_text
from atlas.datasets.user_tables import csv_rows, jsonl_rows
from atlas.errors import DataError


@dataclass(frozen=True)
class Layout:
    """How to read a path.

    name: what to call the dataset.
    rows: the reader; each call reads the files anew.
    templates_required: whether a relation that has facts but no template is a problem. Otherwise
        it is left out: ParaRel is published with two such relations.
    """

    name: str
    rows: Callable[[], Iterator[Row]]
    templates_required: bool = True


@dataclass(frozen=True)
class Reader:
    """How files of an ending are read, and a directory of such files; None: it is not read."""

    of_file: Callable[[Path], Iterator[Row]]
    of_directory: Callable[[Path], Iterator[Row]] | None = None


@dataclass(frozen=True)
class KnownDirectory:
    """A layout that is known by what lies in the directory.

    name: what to call the dataset. about: what it is, for messages.
    parts: paths below the directory, all of which are there.
    rows: the reader, which is given the paths of the parts. A relation without a template is left
        out: these datasets are published with such.
    """

    name: str
    about: str
    parts: tuple[str, ...]
    rows: Callable[..., Iterator[Row]]


def find_layout(path: Path) -> Layout:
    """The layout of the path.

    Raises DataError where there is nothing, or nothing that is understood.
    """
    try:
        if not path.exists():
            raise DataError(f"no dataset at {path}: check the path; {understood()}")
        return _directory_layout(path) if path.is_dir() else _file_layout(path)
    except OSError as e:
        reason = e.strerror or "unreadable"
        raise DataError(f"{path} cannot be read ({reason}): check its permissions") from e


def _directory_layout(path: Path) -> Layout:
    for known in DIRECTORIES:
        parts = [path / part for part in known.parts]
        if all(part.exists() for part in parts):
            return Layout(known.name, partial(known.rows, *parts), templates_required=False)
    readers = {e: reader.of_directory for e, reader in READERS.items() if reader.of_directory}
    found = [ending for ending in readers if any(path.glob(f"*{ending}"))]
    if len(found) > 1:
        kinds = " and ".join(found)
        raise DataError(f"{path} holds {kinds} files: name one of them, or keep one kind")
    if not found:
        raise DataError(f"no dataset in {path}; {understood()}")
    return Layout(path.resolve().name, partial(readers[found[0]], path))


def _file_layout(path: Path) -> Layout:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is not a dataset by its name; {understood()}")
    return Layout(path.stem, partial(reader.of_file, path))


def understood() -> str:
    """All that is read, for messages."""
    of_directories = [ending for ending, reader in READERS.items() if reader.of_directory]
    directories = ", ".join(known.about for known in DIRECTORIES)
    return (
        f"understood are files that end in {', '.join(READERS)} (as .json: relations, PopQA and "
        f"data_all_allbags.json), directories of {' or '.join(of_directories)} files, {directories}"
    )


def _json_rows(path: Path) -> Iterator[Row]:
    """A relation file of the atlas, or else the paper's bags."""
    text = read_text(path)
    document = text if isinstance(text, Problem) else parse_json(text, Place(str(path), 1))
    if isinstance(text, Problem) or isinstance(document, Problem):
        yield document
    elif isinstance(document, dict) and {"templates", "facts"} & document.keys():
        yield from atlas_rows(path)
    elif isinstance(document, list) and document and isinstance(document[0], dict):
        yield from _listed_rows(document, Place(str(path), 1))
    elif isinstance(document, dict | list):
        yield from bag_rows(document, text, str(path))
    else:
        yield Place(str(path), 1).problem(f"neither a relation nor bags of prompts; {understood()}")


def _listed_rows(entries: list[Any], place: Place) -> Iterator[Row]:
    """A list of objects: PopQA's, or what is not read, which is said once."""
    first = entries[0]
    if first.keys() >= PARTS:
        yield from popqa_rows((place, entry) for entry in entries if isinstance(entry, dict))
        return
    message = what_it_is(first)
    yield place.problem(
        message
        or "a list of objects is not read: write a .jsonl file, one of them a line, with "
        '"relation", "subject" and "object", or "relation" and "template"'
    )


READERS: dict[str, Reader] = {
    ".json": Reader(_json_rows, atlas_rows),
    ".jsonl": Reader(jsonl_rows, jsonl_rows),
    ".ndjson": Reader(jsonl_rows),
    ".csv": Reader(csv_rows, csv_rows),
    ".tsv": Reader(csv_rows),
}
DIRECTORIES = (
    KnownDirectory(
        "pararel",
        "ParaRel's repository",
        ("data/pattern_data/graphs_json", "data/trex_lms_vocab"),
        pararel_rows,
    ),
    KnownDirectory(
        "pararel",
        "its data/ directory",
        ("pattern_data/graphs_json", "trex_lms_vocab"),
        pararel_rows,
    ),
    KnownDirectory(
        "pararel", "a directory with patterns/ and facts/", ("patterns", "facts"), pararel_rows
    ),
    KnownDirectory(
        "lama",
        "LAMA's directory",
        ("relations.jsonl", "TREx"),
        lambda relations, _: lama_rows(relations.parent),
    ),
)
