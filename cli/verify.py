"""`atlas verify`: whether stored rows are what this machine measures."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas.atlas import open_atlas
from atlas.counted import counted

from .edit.model import model_options
from .ray_options import note_given_up, ray_options
from .render import (
    Format,
    db_option,
    emit,
    emit_json,
    format_option,
    note,
    quiet,
    selection_options,
)
from .tables import draw_line

if TYPE_CHECKING:
    from atlas.evidence.verify import VerifyReport

SHOWN = 10  # wrong values in a table


@click.command(
    epilog="""\b
Examples:
  atlas verify
  atlas verify --sample 500 --seed 7
  atlas verify --sample 100% --format json

Draws measured prompts at random and attributes them again, in other batches
and on another number of threads. What is stored of them (P, rank, top answer,
scores, activations, gaps, and that no score is left out) must be what comes
out, within rounding: a ten thousandth of a prompt's largest score in float32,
a tenth in bfloat16. The selection, its overlaps and its stability are made again
from all stored scores, in a copy. The atlas is only read: anybody can verify
an atlas that somebody else made. CSV has one row per quantity.
"""
)
@click.option(
    "--sample",
    metavar="SHARE|N",
    default="1%",
    show_default=True,
    help="How many prompts: a share (64 prompts at least), or a number.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw.")
@selection_options
@model_options
@ray_options
@format_option
@db_option
@click.pass_context
def verify(
    ctx: click.Context,
    sample: str,
    seed: int,
    selection: str | None,
    run: str | None,
    model: str | None,
    device: str,
    ray: str | None,
    workers: int | None,
    gpus_per_worker: float | None,
    format_: Format,
    db: Path,
) -> None:
    """Measure stored prompts again, and say whether they are as stored.

    Exits with 1 if anything is not.
    """
    found = open_atlas(db).verify(
        sample=sample,
        seed=seed,
        lm=model,
        device=device,
        ray=ray,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        selection=selection,
        run=run,
        progress=not quiet(),
    )
    if format_ == "json":
        emit_json(found)
    elif format_ == "csv":
        emit(found.quantities, "csv")
    else:
        _tables(found)
    if not found.holds:
        ctx.exit(1)
    note_given_up(found.given_up)


def _tables(found: "VerifyReport") -> None:
    emit(
        found.quantities,
        "table",
        title=f"{found.prompts:,} of {counted(found.measured_prompts, 'measured prompt')}, "
        f"measured again on {_where(found)}",
        headers={"largest": "largest difference"},
    )
    draw_line()
    emit(found.tables, "table", title="Selected again, rows")
    if found.wrong_values:
        draw_line()
        emit(
            found.wrong_values[:SHOWN],
            "table",
            title="Not as stored",
            hide=("prompt_id",),
            headers={"relation_id": "id"},
            drop=("template", "difference", "allowed"),
        )
        wrong = len(found.wrong_values)
        if wrong > SHOWN:
            note(f"{SHOWN} of {counted(wrong, 'wrong value')}; --format json has them all.")
    draw_line()
    draw_line(_verdict(found), bold=True)


def _where(found: "VerifyReport") -> str:
    threads = counted(found.threads, "thread")
    if found.workers is None:
        return threads
    return f"{counted(found.workers, 'worker')} with {threads}{' each' * (found.workers > 1)}"


def _verdict(found: "VerifyReport") -> str:
    if found.holds and found.given_up:
        return "Not verified whole: what was measured and selected again is as stored."
    if found.holds:
        return "Verified: all that was measured and selected again is as stored."
    wrong = len({value.prompt_id for value in found.wrong_values})
    tables = [table.table for table in found.tables if table.only_stored or table.only_again]
    parts = [f"{counted(wrong, 'prompt')} of {found.prompts:,}"] if wrong else []
    return f"Not as stored: {', '.join([*parts, *tables])}."
