"""Which layout a path holds, and the reader for it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.datasets.of_the_field import what_it_is
from atlas.datasets.paper_bags import bag_rows
from atlas.datasets.popqa import PARTS, popqa_rows
from atlas.datasets.relation_files import atlas_rows, lama_rows, pararel_rows
from atlas.datasets.rows import Place, Problem, Row, parse_json, read_text
from atlas.datasets.user_tables import csv_rows, jsonl_rows
from atlas.errors import DataError

UNDERSTOOD = (
    "understood are a .jsonl, .csv or .tsv file or a directory of the first two, relation files "
    "(P36.json), a directory with patterns/ and facts/, ParaRel's repository or its data/ "
    "directory, LAMA's directory, PopQA's file, and data_all_allbags.json"
)


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


def find_layout(path: Path) -> Layout:
    """The layout of the path.

    Raises DataError where there is nothing, or nothing that is understood.
    """
    try:
        if not path.exists():
            raise DataError(f"no dataset at {path}: check the path; {UNDERSTOOD}")
        return _directory_layout(path) if path.is_dir() else _file_layout(path)
    except OSError as e:
        reason = e.strerror or "unreadable"
        raise DataError(f"{path} cannot be read ({reason}): check its permissions") from e


def _directory_layout(path: Path) -> Layout:
    name = path.resolve().name
    for patterns, facts in (
        (path / "data/pattern_data/graphs_json", path / "data/trex_lms_vocab"),
        (path / "pattern_data/graphs_json", path / "trex_lms_vocab"),
        (path / "patterns", path / "facts"),
    ):
        if patterns.is_dir() and facts.is_dir():
            return _pararel(patterns, facts)
    if (path / "relations.jsonl").is_file() and (path / "TREx").is_dir():
        return Layout("lama", lambda: lama_rows(path), templates_required=False)
    found = [suffix for suffix in DIRECTORY_READERS if any(path.glob(f"*{suffix}"))]
    if len(found) > 1:
        kinds = " and ".join(found)
        raise DataError(f"{path} holds {kinds} files: name one of them, or keep one kind")
    if not found:
        raise DataError(f"no dataset in {path}; {UNDERSTOOD}")
    return Layout(name, lambda: DIRECTORY_READERS[found[0]](path))


def _pararel(patterns: Path, facts: Path) -> Layout:
    return Layout("pararel", lambda: pararel_rows(patterns, facts), templates_required=False)


def _file_layout(path: Path) -> Layout:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is not a dataset by its name; {UNDERSTOOD}")
    return Layout(path.stem, lambda: reader(path))


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
        yield Place(str(path), 1).problem(f"neither a relation nor bags of prompts; {UNDERSTOOD}")


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


# By ending: how a file is read, and how a directory of such files is.
READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".json": _json_rows,
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".csv": csv_rows,
    ".tsv": csv_rows,
}
DIRECTORY_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".json": atlas_rows,
    ".jsonl": jsonl_rows,
    ".csv": csv_rows,
}
