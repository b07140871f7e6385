"""What every answer of the atlas can do: print itself briefly, and leave as Arrow, pandas or JSON.

An answer is a frozen dataclass that derives from `Answer` and names the field that holds its main
table. Rows are frozen dataclasses too; a neuron is two numbers, `layer` and `neuron`. In JSON every
answer has one shape (see `Answer.to_json`), and every id is a string: readers of JSON round numbers
of 63 bits.
"""

import dataclasses
import datetime
import decimal
import html
import importlib.util
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from atlas.counted import counted
from atlas.errors import AtlasError, SettingsError
from atlas.html_tables import are_numbers, drawn, said

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

SCHEMA_VERSION = 1  # of the JSON; a change that breaks its readers counts it up
_EXACT = 2**53  # up to here a reader whose numbers are doubles holds integers exactly
_SHOWN = 20  # rows of a notebook's table


class Answer:
    """Base of what the atlas answers.

    `class Hubs(Answer, rows="hubs")` says which field is the main table; a subclass is a frozen
    dataclass. A field `selection` says which selection, and with it which run and model, it is of.
    """

    ROWS: ClassVar[str] = "rows"

    def __init_subclass__(cls, rows: str | None = None) -> None:
        super().__init_subclass__()
        if rows is not None:
            cls.ROWS = rows
        # In the class itself, or the dataclass decorator would write its own, which shows all.
        cls.__repr__ = Answer.__repr__  # type: ignore[method-assign]

    def table(self, part: str | None = None) -> tuple[Any, ...]:
        """The rows of the main table, or of the field `part`.

        Raises ValueError for a field that holds no rows.
        """
        found = getattr(self, part or self.ROWS, None)
        if not isinstance(found, list | tuple):
            tables = [f.name for f in _fields(self) if _is_table(getattr(self, f.name))]
            raise ValueError(f"'{part}' holds no rows: there is {', '.join(tables)}")
        return tuple(found)

    def to_arrow(self, part: str | None = None) -> "pyarrow.Table":
        """The rows as an Arrow table, a column a field; `part` names another field with rows."""
        import pyarrow

        rows = self.table(part)
        names = columns_of(rows)
        return pyarrow.table({name: [_flat(getattr(row, name)) for row in rows] for name in names})

    def to_pandas(self, part: str | None = None) -> "pandas.DataFrame":
        """The rows as a pandas data frame, where pandas is installed."""
        _require("pandas")
        frame: pandas.DataFrame = self.to_arrow(part).to_pandas()
        return frame

    def to_polars(self, part: str | None = None) -> "polars.DataFrame":
        """The rows as a polars data frame, where polars is installed."""
        _require("polars")
        import polars

        frame = polars.from_arrow(self.to_arrow(part))
        assert isinstance(frame, polars.DataFrame)
        return frame

    def to_json(self) -> dict[str, Any]:
        """The answer in JSON's types, in the one shape that all answers have.

        schema_version, answer (the class's name), run and selection (null where the answer is of
        none), rows (the main table) and summary (every other field).
        """
        selection = getattr(self, "selection", None)
        about = selection if isinstance(selection, AboutSelection) else None
        rest = [f.name for f in _fields(self) if f.name != self.ROWS]
        if about is not None:
            rest.remove("selection")
        return {
            "schema_version": SCHEMA_VERSION,
            "answer": type(self).__name__,
            "run": None if about is None else plain(about.about_run()),
            "selection": None if about is None else plain(about.about_selection()),
            "rows": plain(self.table()),
            "summary": {name: plain(getattr(self, name), name) for name in rest},
        }

    def __repr__(self) -> str:
        parts = []
        for field in _fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str | bool | int) or value is None:
                parts.append(f"{field.name}={value!r}")
            elif isinstance(value, float):
                parts.append(f"{field.name}={value:.4g}")
            elif _is_table(value):
                parts.append(f"{field.name}=<{len(value)}>")
            elif isinstance(value, AboutSelection):
                parts.append(f"selection={value.selection_id!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _cells(self) -> tuple[list[str], list[list[Any]]]:
        """Names and values of the main table."""
        rows = self.table()
        names = columns_of(rows)
        return names, [[getattr(row, name) for name in names] for row in rows]

    def _repr_html_(self) -> str:
        """A notebook's view: what is single above, then the first rows of the main table."""
        single = {
            f.name: getattr(self, f.name)
            for f in _fields(self)
            if isinstance(getattr(self, f.name), str | bool | int | float)
        }
        values = (f"{html.escape(_words(name))} {said(value)}" for name, value in single.items())
        names, cells = self._cells()
        table = drawn(
            [_words(name) for name in names],
            [[said(value) for value in row] for row in cells[:_SHOWN]],
            [are_numbers([row[i] for row in cells[:_SHOWN]]) for i in range(len(names))],
        )
        more = f"<p>{counted(len(cells) - _SHOWN, 'more row')}</p>" if len(cells) > _SHOWN else ""
        return f"<p><b>{html.escape(type(self).__name__)}</b> {', '.join(values)}</p>{table}{more}"


@dataclasses.dataclass(frozen=True)
class Listed(Answer, rows="rows"):
    """Rows that are of no one selection: edits, selections, tables."""

    rows: tuple[Any, ...]


class AboutSelection(ABC):
    """What says which selection an answer is of: see `selection.chosen.ChosenSelection`."""

    selection_id: str

    @abstractmethod
    def about_run(self) -> Mapping[str, Any]:
        """The run and its model, by name."""

    @abstractmethod
    def about_selection(self) -> Mapping[str, Any]:
        """The selection and its thresholds, by name."""


def _require(package: str) -> None:
    """AtlasError, with what to do, where a package that the atlas does not need is not there."""
    if importlib.util.find_spec(package) is None:
        raise AtlasError(f"{package} is not installed: run `pip install {package}`")


def at_most(limit: int | None) -> int | None:
    """How many rows an answer shows; None and 0 both mean all. SettingsError for fewer."""
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise SettingsError(
            f"limit is {limit!r}: give a number of rows, or 0 for all", parameters=["limit"]
        )
    return limit or None


def columns_of(rows: Sequence[Any]) -> list[str]:
    """The fields of the rows' dataclass; none where there is no row."""
    return [field.name for field in dataclasses.fields(rows[0])] if rows else []


def plain(value: Any, name: str = "") -> Any:
    """The value in JSON's types; NaN and infinities become null, and ids (`name`) strings.

    A decimal and a large integer keep their digits as strings, since a reader's floating point may
    not hold them.
    """
    if isinstance(value, int) and (name.endswith("_id") or abs(value) > _EXACT):
        return str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, decimal.Decimal):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name), f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, name) for item in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def _fields(answer: Answer) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(answer)  # type: ignore[arg-type]


def _is_table(value: object) -> bool:
    return isinstance(value, list | tuple)


def _flat(value: Any) -> Any:
    """A cell that Arrow can hold: nested dataclasses as structs."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _flat(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [_flat(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _flat(item) for key, item in value.items()}
    return value


def _words(name: str) -> str:
    return name.replace("_", " ")
