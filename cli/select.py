"""`atlas select`: other knowledge neurons from the scores that are stored."""

from pathlib import Path
from typing import Any, Literal

import click

from atlas.atlas import open_atlas
from atlas.selection.chosen import SelectedRelation, SelectionReport

from .render import db_option, emit, emit_json, format_option, note


@click.command(
    epilog="""\b
Examples:
  atlas select --ratio 0.2 --sharing 0.7
  atlas select --preset paper
  atlas select --preset paper --ratio 0.3 --comparison ">"

Preset "paper" moves the sharing threshold of each relation until its facts
have 2 to 5 neurons on average; "fixed" applies the thresholds as they are.
Without --preset, naming any threshold means "fixed", naming none "paper".

Only SQL over stored scores: no model is loaded and nothing is deleted. The
selection becomes the one that `atlas query` asks."""
)
@click.option("--preset", type=click.Choice(["paper", "fixed"]), help="How to use the thresholds.")
@click.option(
    "--ratio",
    type=float,
    help="A neuron's score in a prompt, as a share of the prompt's largest. [default: 0.2]",
)
@click.option(
    "--sharing",
    type=float,
    help="The share of a fact's prompts in which it must reach that. [default: 0.7]",
)
@click.option(
    "--comparison",
    type=click.Choice([">=", ">"]),
    help="Whether a score equal to the ratio will do. [default: >=]",
)
@click.option(
    "--min-prompts",
    type=int,
    help="The number of prompts in which it must reach that. [default: 3]",
)
@click.option("--run", metavar="ID", help="The run whose scores to use. [default: the latest]")
@format_option
@db_option
def select(
    preset: Literal["paper", "fixed"] | None,
    ratio: float | None,
    sharing: float | None,
    comparison: str | None,
    min_prompts: int | None,
    run: str | None,
    format_: str,
    db: Path,
) -> None:
    """Choose knowledge neurons anew from the stored scores."""
    named: dict[str, Any] = {
        name: value
        for name, value in (
            ("ratio", ratio),
            ("sharing", sharing),
            ("comparison", comparison),
            ("min_prompts", min_prompts),
        )
        if value is not None
    }
    if preset is not None:
        named["preset"] = preset
    _show(open_atlas(db).select(run=run, **named).selection, format_)


def _show(report: SelectionReport, format_: str) -> None:
    if format_ == "json":
        emit_json(report)
    else:
        emit(
            report.relations,
            format_,
            kind=SelectedRelation,
            title=f"Selection {report.selection_id} of run {report.run_id}",
            headers={
                "relation_id": "id",
                "mean_neurons": "neurons a fact",
                "sharing": "sharing used",
            },
        )
    if report.mean_neurons is None:
        note(f"Run {report.run_id} has no measured prompt yet.")
    else:
        note(
            f"Selection {report.selection_id} ({report.preset}: ratio {report.ratio:g}, "
            f"sharing {report.sharing:g}, {report.comparison}, at least {report.min_prompts} "
            f"prompts): {report.mean_neurons:.2f} knowledge neurons a fact over "
            f"{report.facts:,} facts."
        )
