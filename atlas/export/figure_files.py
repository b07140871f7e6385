"""How a figure becomes a file, with its data beside it."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.durability import appearing_file
from atlas.errors import SettingsError
from atlas.store.connection import mapped_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png", ".pdf")
OF_EVERY_ROW = ("figure", "panel", "model", "run_id", "selection_id")


def require_writable(file: Path) -> None:
    """SettingsError unless a figure and its data can be written under this name."""
    if file.suffix.lower() not in FORMATS:
        raise SettingsError(
            f"{file} is no format that figures come in: name it .svg, .png or .pdf",
            parameters=["file"],
        )
    if not file.absolute().parent.is_dir():
        raise SettingsError(
            f"there is no directory {file.absolute().parent}: make it first", parameters=["file"]
        )
    for target in (file, data_file(file)):
        if target.is_dir():
            raise SettingsError(
                f"{target} is a directory: name the figure otherwise", parameters=["file"]
            )
    with mapped_errors(file):
        if data_file(file).exists() and not _is_of_a_figure(data_file(file)):
            raise SettingsError(
                f"the figure's data would replace {data_file(file)}, which no figure wrote: "
                "move it, or name the figure otherwise",
                parameters=["file"],
            )


def data_file(file: Path) -> Path:
    """Where a figure's data lies: beside it, under the same name."""
    return file.with_suffix(".csv")


def save(
    figure: "Figure",
    file: Path,
    rows: Mapping[str, Sequence[Any]],
    of_every_row: Mapping[str, str | None],
    caption: str,
) -> None:
    """Write the figure and its data, each of which appears whole or not at all.

    The data appear first, and neither does if one cannot be written. The same picture is the same
    bytes.
    `rows` are dataclasses by the letters of their panels; `of_every_row` has a value for each of
    OF_EVERY_ROW but the panel.
    """
    kind = file.suffix.lower()[1:]
    about: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Description": caption},
        "pdf": {"CreationDate": None, "Subject": caption},
        "png": {"Description": caption},
    }
    with mapped_errors(file), appearing_file(file) as drawn:
        figure.savefig(drawn, format=kind, metadata=about[kind])
        with appearing_file(data_file(file)) as data:
            _write_rows(data, rows, of_every_row)


def _write_rows(
    file: Path, rows: Mapping[str, Sequence[Any]], of_every_row: Mapping[str, str | None]
) -> None:
    """One table of all panels' rows; a column that a panel does not know is empty there."""
    columns = list(
        dict.fromkeys(
            field.name for part in rows.values() for row in part[:1]
            for field in dataclasses.fields(row)
        )
    )  # fmt: skip
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow([*OF_EVERY_ROW, *columns])
        for panel, part in rows.items():
            before = [{**of_every_row, "panel": panel}[name] for name in OF_EVERY_ROW]
            for row in part:
                values = (getattr(row, column, None) for column in columns)
                writer.writerow([*before, *(_plain(value) for value in values)])


def _plain(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _is_of_a_figure(file: Path) -> bool:
    """Whether a CSV file is one that `save` wrote, which a new one may replace."""
    with file.open("rb") as source:
        return source.read(200).startswith(f"{','.join(OF_EVERY_ROW)},".encode())
