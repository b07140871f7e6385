"""`atlas info`: what an atlas file holds."""

from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.counted import counted
from atlas.queries.info import (
    AtlasInfo,
    AtlasTotals,
    ModelSummary,
    RunSummary,
)
from atlas.queries.relations import SkipReason
from atlas.selection.selections import SelectionSummary

from .render import Format, db_option, emit, emit_json, format_option, note
from .selection_tables import draw_selections
from .tables import draw_line, draw_pairs

_PARTS = {
    "runs": RunSummary,
    "models": ModelSummary,
    "selections": SelectionSummary,
    "skipped": SkipReason,
    "totals": AtlasTotals,
}


@click.command(
    epilog="""\b
Examples:
  atlas info
  atlas info --db my.duckdb --format json
  atlas info --format csv --show selections"""
)
@click.option(
    "--show",
    type=click.Choice(list(_PARTS)),
    default="runs",
    show_default=True,
    help="With --format csv, which table; tables and JSON hold everything.",
)
@format_option
@db_option
def info(show: str, format_: Format, db: Path) -> None:
    """Show models, runs, selections and counts."""
    found = open_atlas(db).info()
    if format_ == "json":
        emit_json(found)
    elif format_ == "csv":
        emit([found.totals] if show == "totals" else getattr(found, show), "csv", kind=_PARTS[show])
    else:
        _tables(found)


def _tables(found: AtlasInfo) -> None:
    totals = found.totals
    default = next((s for s in found.selections if s.is_default), None)
    if default is not None:
        draw_line(
            f"Questions are about selection {default.name} ({default.selection_id}) "
            f"of {default.model}."
        )
        draw_line()
    draw_pairs(
        {
            "size": f"{totals.bytes / 1e6:,.1f} MB",
            "schema revision": totals.schema_revision,
            "relations": totals.relations,
            "templates": totals.templates,
            "facts": totals.facts,
            "prompts": totals.prompts,
        },
        title=totals.file,
    )
    if found.models:
        draw_line()
        emit(found.models, "table", title="Models", hide=("model_id", "revision", "weights_sha256"))
    for run in found.runs:
        draw_line()
        _run(run, [s for s in found.skipped if s.run_id == run.run_id])
    if found.selections:
        draw_line()
        draw_selections(found.selections)
    if not found.runs:
        note("No run yet: start one with `atlas index`.")


def shards_of(run: RunSummary) -> str:
    """Which part of a dataset a run was asked for: `shard 3 of 64`, `shards 1-3, 7 of 64`."""
    held = str(run.shards)
    return f"shard {held}" if held.partition(" of ")[0].isdigit() else f"shards {held}"


def _run(run: RunSummary, skipped: list[SkipReason]) -> None:
    settings = {
        "rule": run.rule,
        "points": run.points,
        "tolerance": run.tolerance,
        "baseline": run.baseline,
        "score floor": run.score_floor,
        "seed": run.seed,
        "dtype": run.dtype,
        "device": run.device,
    }
    draw_pairs(
        {
            "status": f"{run.status}, atlas {run.atlas_version}",
            "started": run.started_at,
            "finished": run.finished_at,
            "dataset": f"{run.dataset} ({run.dataset_digest})"
            + (f", {shards_of(run)}" if run.shards is not None else ""),
            "method": f"{run.method} at the {run.position}",
            "settings": ", ".join(f"{k} {v}" for k, v in settings.items() if v is not None),
            "made with": ", ".join(f"{k} {v}" for k, v in run.environment.items()),
            "measured": f"{counted(run.measured, 'prompt')}, "
            f"{counted(run.attributions, 'score')} kept",
            "known": f"{run.known_facts:,} of {counted(run.measured_facts, 'measured fact')}",
            "over tolerance": counted(run.over_tolerance, "prompt"),
            "skipped": counted(run.skipped, "prompt"),
        }
        | {f"  {reason.prompts:,}": reason.reason for reason in skipped},
        title=f"Run {run.run_id} of {run.model}"
        + (f", the null of run {run.null_of}" if run.null_of is not None else ""),
    )
