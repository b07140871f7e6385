"""`atlas select`: other knowledge neurons from the scores that are stored."""

from pathlib import Path
from typing import Any, Literal

import click

from atlas.atlas import open_atlas
from atlas.counted import counted
from atlas.selection.chosen import labelled
from atlas.selection.report import SelectedRelation, SelectionReport
from atlas.selection.selections import MadeSelection
from atlas.selection.thresholds import AGAINST

from .query.scope import facts_of, note_unlike_templates
from .render import Format, db_option, emit, emit_json, format_option, note, pasted
from .selection_tables import thresholds
from .selections import note_default, note_nothing_known


@click.command(
    epilog="""\b
Examples:
  atlas select --ratio 0.2 --sharing 0.7
  atlas select --preset paper
  atlas select --preset paper --ratio 0.3 --comparison ">"
  atlas select --ratio 0.3 --name strict --keep-default
  atlas select --all-facts
  atlas select --frequency 0.8
  atlas select --negatives --keep-default

Preset "paper" moves the sharing threshold of each relation until its facts
have 2 to 5 neurons on average; "fixed" applies the thresholds as they are.
Without --preset, naming any threshold means "fixed", naming none "paper".

A fact is known if its object is the top answer in at least half of its measured
prompts. Of facts that the model does not know, neurons say little: they are left
out without --all-facts. Facts asked with fewer prompts have more neurons, so that
relations of unlike numbers of templates are compared with --templates.

A neuron's frequency is how often it would be chosen over ratios of 0.1 to 0.3 and
bootstraps of the fact's prompts (`atlas query --fact` shows it); --frequency keeps
those of the chosen ones that are chosen as often, whichever preset chose them.

Only SQL over stored scores: no model is loaded and no selection is deleted. This
one becomes the default, what questions and edits are about (unless it is empty);
`atlas selections use NAME` goes back to another."""
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
@click.option(
    "--known-only/--all-facts",
    default=True,
    help="Neurons of known facts, or of every measured fact. [default: known]",
)
@click.option(
    "--templates",
    type=int,
    metavar="N",
    help="Go by so many prompts of every fact. [default: all]",
)
@click.option(
    "--against",
    type=click.Choice(AGAINST),
    help="Leave out neurons that serve the same answer in other facts, or other answers to the "
    "same templates. [default: none]",
)
@click.option("--negatives", is_flag=True, help="The same as --against template.")
@click.option(
    "--frequency",
    type=float,
    help="How often other ratios and bootstraps of the prompts must choose it. [default: any]",
)
@click.option(
    "--run", metavar="ID", help="The run whose scores to use. [default: the default selection's]"
)
@click.option("--name", help="What to call the selection. [default: after its thresholds]")
@click.option("--keep-default", is_flag=True, help="Leave the default selection as it is.")
@format_option
@db_option
def select(
    preset: Literal["paper", "fixed"] | None,
    ratio: float | None,
    sharing: float | None,
    comparison: str | None,
    min_prompts: int | None,
    known_only: bool,
    templates: int | None,
    against: str | None,
    negatives: bool,
    frequency: float | None,
    run: str | None,
    name: str | None,
    keep_default: bool,
    format_: Format,
    db: Path,
) -> None:
    """Choose knowledge neurons anew from the stored scores."""
    if negatives and against == "answer":
        raise click.UsageError("--negatives is --against template: name one of them")
    against = "template" if negatives else against
    named: dict[str, Any] = {
        threshold: value
        for threshold, value in (
            ("ratio", ratio),
            ("sharing", sharing),
            ("comparison", comparison),
            ("min_prompts", min_prompts),
            ("templates", templates),
            ("against", against),
            ("frequency", frequency),
        )
        if value is not None
    }
    if preset is not None:
        named["preset"] = preset
    named["known_only"] = known_only
    made = open_atlas(db).select(run=run, name=name, make_default=not keep_default, **named)
    _show(made.selection, format_, db)
    if made.renamed is not None:
        note(
            f"It was called {made.renamed} until now: a run's equal thresholds are one selection, "
            "which has one name."
        )
    if made.selection.is_default:
        note_default(made.default, db)
    else:
        _note_other_default(made, db)


def _note_other_default(made: MadeSelection, db: Path) -> None:
    """Why the selection is not the default, and what makes it that."""
    use = pasted(f"atlas selections use {made.selection.selection_id}", db)
    because = "" if made.selection.mean_neurons else "It has no knowledge neuron, so "
    note(f"{because}{labelled(made.default.now)} stays the default; `{use}` makes it this one.")


def _show(report: SelectionReport, format_: Format, db: Path) -> None:
    selection = report.selection
    assert selection is not None, "a selection that was made is one that there is"
    if format_ == "json":
        emit_json(report)
    else:
        emit(
            report.relations,
            format_,
            kind=SelectedRelation,
            hide=("measured_facts", "known_facts", "templates"),
            title=f"Selection {report.name} ({report.selection_id}) of run {report.run_id}",
            headers={
                "relation_id": "id",
                "target_met": "on target",
                "mean_neurons": "neurons a fact",
                "sharing": "sharing used",
            },
        )
    if not report.measured_facts:
        note(f"Run {report.run_id} has no measured prompt yet.")
    elif report.mean_neurons is None:
        note_nothing_known(report.measured_facts, db)
    else:
        note(
            f"Selection {report.name} ({report.preset}: {thresholds(report)}): "
            f"{report.mean_neurons:.2f} knowledge neurons a fact over {facts_of(selection)}"
            f"{_target(report)}."
        )
        note_unlike_templates(selection)


def _target(report: SelectionReport) -> str:
    """How often the target of the preset `paper` was missed, if it was."""
    if not report.targets_missed:
        return ""
    aimed = sum(relation.target_met is not None for relation in report.relations)
    return (
        f"; target {report.target_low:g} to {report.target_high:g} missed in "
        f"{report.targets_missed:,} of {counted(aimed, 'relation')}"
    )
