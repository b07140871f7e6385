"""Which facts are to get which objects: a file of them, or rows, each checked before any is made.

A CSV file names its columns in any order: `subject`, `relation` and `object`, the new one. A `.tsv`
file is the same with tabs, and a `.jsonl` file has an object with these keys on a line.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from atlas.counted import counted
from atlas.datasets.rows import Place, Problem, json_lines, read_text, text_fields
from atlas.edits.making.settings import require_other_object
from atlas.errors import AtlasError, EditError
from atlas.queries.facts import require_measured
from atlas.queries.named_facts import NamedFact, one_fact, require_known_name
from atlas.selection.chosen import ChosenSelection

COLUMNS = ("subject", "relation", "object")
_ALSO_CALLED = {
    "relation_id": "relation",
    "relation id": "relation",
    "new object": "object",
    "new_object": "object",
    "to": "object",
}
_LISTED = 5  # problems that a message names


@dataclass(frozen=True)
class WantedChange:
    """A fact and the object that it is to get, as somebody wrote it."""

    place: Place
    subject: str
    relation: str
    object: str

    def problem(self, message: str) -> Problem:
        """What is wrong with it, and where."""
        return self.place.problem(message)


Wanted = Path | str | Iterable[tuple[str, str, str]]


def read_wanted(wanted: Wanted) -> list[WantedChange]:
    """The changes of a file, or of rows (subject, relation, new object).

    EditError, which lists what is wrong by line, for a file or row that states none.
    """
    if isinstance(wanted, Path | str):
        file = Path(wanted)
        rows = list(_of_jsonl(file) if file.suffix.lower() == ".jsonl" else _of_table(file))
        nothing = f"{file} holds no fact to change: write a line for each"
    else:
        given = [dict(zip(COLUMNS, row, strict=True)) for row in wanted]
        rows = [_row(row, Place("changes", number)) for number, row in enumerate(given, start=1)]
        nothing = "no fact to change: name one or more"
    require_none([row for row in rows if isinstance(row, Problem)])
    if not rows:
        raise EditError(nothing, parameters=["changes"])
    return [row for row in rows if isinstance(row, WantedChange)]


def named_changes(
    connection: duckdb.DuckDBPyConnection,
    chosen: ChosenSelection,
    wanted: Sequence[WantedChange],
    any_object: bool,
) -> list[NamedFact]:
    """The fact of each change, all of them measured and no two the same; EditError, as above."""
    facts: list[NamedFact] = []
    first: dict[str, WantedChange] = {}
    problems = []
    for change in wanted:
        try:
            fact = one_fact(connection, change.subject, change.relation)
            require_other_object(fact.named, fact.object, change.object)
            if not any_object:
                require_known_name(connection, change.object)
            require_measured(connection, chosen, fact)
        except AtlasError as error:
            problems.append(change.problem(str(error)))
            continue
        same = first.setdefault(fact.fact_id, change)
        if same is not change:
            problems.append(change.problem(f"{fact.named} again, as in line {same.place.line}"))
        facts.append(fact)
    require_none(problems)
    return facts


def require_none(problems: Sequence[Problem]) -> None:
    """EditError, one line that lists them, unless there are none."""
    if problems:
        listed = "; ".join(str(problem) for problem in problems[:_LISTED])
        more = len(problems) - _LISTED
        raise EditError(
            listed + (f"; and {counted(more, 'other problem')}" if more > 0 else ""),
            parameters=["changes"],
        )


def _of_jsonl(file: Path) -> Iterator[WantedChange | Problem]:
    for line in json_lines(file):
        yield line if isinstance(line, Problem) else _row(line[1], line[0])


def _of_table(file: Path) -> Iterator[WantedChange | Problem]:
    text = read_text(file)
    if isinstance(text, Problem):
        yield text
        return
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter="\t" if file.suffix.lower() == ".tsv" else ","
    )
    try:
        header = [_column(name) for name in next(reader, [])]
        if not header:
            return
        if missing := [name for name in COLUMNS if name not in header]:
            yield Problem(
                str(file),
                1,
                f"no column {' and no column '.join(missing)}: begin with a line "
                f"'{','.join(COLUMNS)}', the new object last",
            )
            return
        if repeated := [name for name in COLUMNS if header.count(name) > 1]:
            yield Problem(str(file), 1, f"two columns are the {repeated[0]}: leave one out")
            return
        for cells in reader:
            if any(cell.strip() for cell in cells):
                place = Place(str(file), reader.line_num)
                yield _row(dict(zip(header, cells, strict=False)), place)
    except csv.Error as error:
        yield Problem(str(file), reader.line_num, f"no CSV ({error}): save it as CSV again")


def _column(name: str) -> str:
    name = name.strip().lower()
    return _ALSO_CALLED.get(name, name)


def _row(record: Mapping[str, object], place: Place) -> WantedChange | Problem:
    named = {_column(key): value for key, value in record.items()}
    values, problems = text_fields(named, place, COLUMNS)
    return problems[0] if problems else WantedChange(place, **values)
