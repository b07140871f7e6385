"""Results on stdout as a table, JSON or CSV; notes on stderr.

JSON and CSV carry every column at full precision. Tables round, write a neuron as `3:117`, and
fit the terminal; piped, they are as wide as COLUMNS, or as their contents where that is not set.
"""

import csv
import dataclasses
import decimal
import io
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import click

from atlas.answers import Answer, plain

from .tables import columns_of, draw_table, folded

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FORMATS = ("table", "json", "csv")

DEFAULT_DB = Path("atlas.duckdb")
Format: TypeAlias = Literal["table", "csv", "json"]
OfRows: TypeAlias = Literal["table", "csv"]  # JSON is of whole answers
_Command = TypeVar("_Command", bound=Callable[..., Any])


def format_option(command: _Command) -> _Command:
    """Adds `--format table|json|csv`, passed as `format_`."""
    return click.option(
        "--format",
        "format_",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="How to print; json and csv have every column at full precision.",
    )(command)


def db_option(command: _Command) -> _Command:
    """Adds `--db FILE`, passed as `db`, a Path."""
    return click.option(
        "--db",
        type=click.Path(dir_okay=False, path_type=Path),
        default=DEFAULT_DB,
        envvar="ATLAS_DB",
        show_default=True,
        show_envvar=True,
        metavar="FILE",
        help="The atlas file.",
    )(command)


def selection_options(command: _Command) -> _Command:
    """Adds `--selection NAME` and `--run ID`: which neurons a question or a figure is about."""
    run = click.option("--run", metavar="ID", help="The selection of this run.")
    return click.option("--selection", metavar="NAME", help="The selection: name or id.")(
        run(command)
    )


@contextmanager
def resumable(db: Path) -> Iterator[None]:
    """Around work that a Ctrl-C only interrupts: says so, unless nothing was measured yet."""
    try:
        yield
    except KeyboardInterrupt as e:
        if not db.exists():  # it was still loading the model
            raise
        raise KeyboardInterrupt(
            f"Interrupted: what was measured is in {db}; the same command continues."
        ) from e


def quiet() -> bool:
    """Whether the command line asks for results and errors alone."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.find_root().params.get("quiet"))


def note(message: str) -> None:
    """A line for the reader's eyes, on stderr; folded where a terminal is too narrow."""
    if quiet():
        return
    for line in folded(message, _error_width()):
        click.echo(line, err=True)


def note_next(db: Path, *commands: str) -> None:
    """What may be asked of this atlas next, as commands that work as they stand.

    One a line where they do not fit beside each other: no line breaks within a command.
    """
    named = [f"`{pasted(command, db)}`" for command in commands]
    line = "Next: " + ", ".join(named)
    for part in [line] if len(line) <= _error_width() else ["Next:", *(f"  {n}" for n in named)]:
        if not quiet():
            click.echo(part, err=True)


def _error_width() -> int:
    return columns_of(sys.stderr)


def pasted(command: str, db: Path) -> str:
    """The command as it works on this atlas when it is pasted."""
    named = db == DEFAULT_DB or os.environ.get("ATLAS_DB") == str(db)
    return command if named else f"{command} --db {shlex.quote(str(db))}"


def emit(
    rows: "Sequence[DataclassInstance]",
    format_: OfRows,
    *,
    title: str | None = None,
    kind: "type[DataclassInstance] | None" = None,
    hide: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
) -> None:
    """Prints rows of one dataclass as a table or CSV; JSON is of whole answers, see `emit_json`.

    `kind` is that dataclass; an empty result needs it for its header. The rest only matters for
    tables, which leave out columns without any value: `title`, `hide` (columns that the title
    already says), `headers` (what to write instead of a column's name) and `drop` (the columns, by
    field, that go first where the terminal is too narrow).
    """
    kind = type(rows[0]) if rows else kind
    columns = [field.name for field in dataclasses.fields(kind)] if kind else []
    if format_ != "table":
        values = [[getattr(row, column) for column in columns] for row in rows]
        return emit_values(columns, values, format_)
    neurons = "layer" in columns and "neuron" in columns
    shown = [
        column
        for column in columns
        if column not in hide
        and not (neurons and column == "layer")
        and (not rows or any(getattr(row, column) is not None for row in rows))
    ]
    names = {column: column.replace("_", " ") for column in shown} | dict(headers or {})
    cells = [
        [neuron_id(row) if neurons and c == "neuron" else getattr(row, c) for c in shown]
        for row in rows
    ]
    going = [names[column] for column in drop if column in names]
    draw_table([names[column] for column in shown], cells, title, grouped=True, drop=going)


def neuron_id(row: Any) -> str:
    """`3:117` for anything with a layer and a neuron."""
    return f"{row.layer}:{row.neuron}"


def emit_values(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    format_: OfRows,
    *,
    title: str | None = None,
) -> None:
    """Prints rows whose columns are known only at run time."""
    if format_ == "csv":
        _echo_csv(columns, rows)
    else:
        draw_table(columns, list(rows), title, grouped=False)


def emit_json(answer: Answer) -> None:
    """Prints an answer in the one shape that all have."""
    _echo_utf8(json.dumps(answer.to_json(), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def _echo_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_csv_value(value) for value in row] for row in rows)
    _echo_utf8(text.getvalue())


def _echo_utf8(text: str) -> None:
    """Data for programs is UTF-8, whatever the locale says that people read."""
    click.echo(text.encode("utf-8", "backslashreplace"), nl=False)


def _csv_value(value: object) -> object:
    cell = value if isinstance(value, float | decimal.Decimal) else plain(value)
    if isinstance(cell, bool):
        return str(cell).lower()
    return json.dumps(cell, ensure_ascii=False) if isinstance(cell, list | dict) else cell
