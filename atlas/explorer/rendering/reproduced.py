"""Published claims on trial as one page that needs nothing else, with its rows as CSV beside it."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path

from atlas.durability import appearing_directory, appearing_file
from atlas.errors import SettingsError
from atlas.evidence.experiments.experiment import Row
from atlas.evidence.reproduce import ReproduceReport
from atlas.explorer.rendering.links import Links
from atlas.explorer.rendering.pages import page


def rows_beside(path: Path) -> Path:
    """The directory of an experiment's rows, one CSV file each."""
    return path.with_name(f"{path.stem}-rows")


def require_free(path: Path, force: bool) -> None:
    """SettingsError unless the report and its rows can be written there."""
    if not path.parent.is_dir():
        raise SettingsError(f"there is no directory {path.parent}", parameters=["report"])
    for there in (path, rows_beside(path)):
        if there.exists() and not force:
            raise SettingsError(
                f"{there} is there already: choose another name, or replace it",
                parameters=["report", "force"],
            )
    if path.is_dir():
        raise SettingsError(f"{path} is a directory: name a file", parameters=["report"])
    rows = rows_beside(path)
    if rows.exists() and not (rows.is_dir() and all(f.suffix == ".csv" for f in rows.iterdir())):
        raise SettingsError(
            f"{rows} is no directory of rows, so it is not replaced: choose another name",
            parameters=["report"],
        )


def write_report(
    report: ReproduceReport, rows: Mapping[str, Sequence[Row]], file: Path, path: Path
) -> None:
    """Write the page about claims of the atlas in `file`; its rows are there before it."""
    beside = rows_beside(path)
    with appearing_directory(beside) as directory:
        for name, own in rows.items():
            with (directory / f"{name}.csv").open("w", newline="", encoding="utf-8") as opened:
                writer = csv.writer(opened)
                writer.writerow([field.name for field in fields(Row)])
                writer.writerows(astuple(row) for row in own)
    with appearing_file(path) as unfinished:
        unfinished.write_text(report_page(report, file, beside.name), encoding="utf-8")


def report_page(report: ReproduceReport, file: Path, rows_at: str) -> str:
    """The page; rows_at: the name of the directory beside it."""
    verdicts = Counter(claim.verdict for claim in report.claims).most_common()
    return page(
        "reproduced",
        Links(),
        file,
        report,
        verdicts=verdicts,
        nulls=any(one.null_items is not None for one in report.experiments),
        settings=_settings(report),
        rows_at=rows_at,
    )


def _settings(report: ReproduceReport) -> list[tuple[str, object]]:
    of = report.selection
    assert of is not None  # every report is of a selection
    return [
        ("model", of.model),
        ("run", of.run_id),
        ("position", of.position),
        ("selection", f"{of.name} ({of.selection_id})"),
        ("ratio", of.ratio),
        ("sharing", of.sharing),
        ("known facts", of.known_facts),
        ("facts per relation", "all" if report.limit is None else report.limit),
        ("seed", report.seed),
    ]
