"""Results as Arrow tables and back: rows are dataclasses, columns their fields.

Arrow is imported where it is used: it starts a thread, which one process alone does not need.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pyarrow

Row = TypeVar("Row")


def rows_as_table(kind: type[Any], rows: Sequence[Any]) -> "pyarrow.Table":
    """A table with a row for each dataclass of this kind."""
    import pyarrow

    names = [field.name for field in fields(kind)]
    return pyarrow.table({name: [getattr(row, name) for row in rows] for name in names})


def table_as_rows(kind: type[Row], table: "pyarrow.Table") -> list[Row]:
    """The dataclasses that `rows_as_table` was given."""
    return [kind(**row) for row in table.to_pylist()]


def columns_as_table(record: Any) -> "pyarrow.Table":
    """A table of a dataclass whose fields are arrays of one length."""
    import pyarrow

    return pyarrow.table({field.name: getattr(record, field.name) for field in fields(record)})


def table_as_columns(kind: type[Row], table: "pyarrow.Table") -> Row:
    """The dataclass that `columns_as_table` was given."""
    return kind(**{name: table[name].to_numpy() for name in table.column_names})
