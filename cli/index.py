"""`atlas index`: measure facts on a model, with a progress bar; Ctrl-C loses nothing committed."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from atlas.counted import counted
from atlas.engine.quadrature import RULES
from atlas.engine.settings import BOTH, DTYPES, METHODS, POSITIONS
from atlas.selection.chosen import labelled

from .dataset_option import dataset_option
from .info import shards_of
from .query.scope import facts_of
from .ray_options import note_given_up, ray_options
from .render import db_option, note, note_next, pasted, quiet, resumable
from .selections import note_default, note_nothing_known

if TYPE_CHECKING:
    from atlas.jobs import IndexReport


@click.command(
    epilog="""\b
Examples:
  atlas index
  atlas index --relation P36 --relation capital --limit 25
  atlas index --null
  atlas index --model ./SmolLM2.gguf --pararel ./pararel --relation P36
  atlas index --at subject
  atlas index --shard 3/64 --db shard-3.duckdb

Without options: the embedded dataset on the embedded model, into ./atlas.duckdb.
The same command again continues where it was stopped, and changes nothing once
it is done. Naming more relations or facts later extends the same run.

With --null, the facts that the same command without it has measured are
measured once more, with objects shuffled within their relation so that every
one is false: what neurons per fact or overlap are worth shows beside it."""
)
@click.option(
    "--model",
    envvar="ATLAS_MODEL",
    show_envvar=True,
    default="mini-bert",
    show_default=True,
    help="mini-bert, a directory with safetensors, a .gguf file, or a hub id.",
)
@dataset_option("Facts and templates: ParaRel's directory, JSONL or CSV.  [default: embedded]")
@click.option(
    "--relation",
    "relations",
    multiple=True,
    help="Id or label; may be given again.  [default: all]",
)
@click.option(
    "--limit", type=click.IntRange(min=0), help="Facts per relation; 0 for all.  [default: all]"
)
@click.option(
    "--at",
    "position",
    type=click.Choice((*POSITIONS, BOTH)),
    default=POSITIONS[0],
    show_default=True,
    help="Where neurons are attributed: answer position, subject's last token; both: two runs.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default=METHODS[0],
    show_default=True,
    help="What a neuron's score is.",
)
@click.option(
    "--rule",
    type=click.Choice(RULES),
    default=RULES[0],
    show_default=True,
    help="How the integral is taken.",
)
@click.option("--points", default=20, show_default=True, help="Points of the fixed rules.")
@click.option(
    "--tolerance",
    default=0.01,
    show_default=True,
    help="Largest completeness gap, as a share of the prompt's largest layer effect.",
)
@click.option(
    "--max-evaluations",
    default=160,
    show_default=True,
    help="Gradient evaluations per layer at which the adaptive rule gives up.",
)
@click.option(
    "--score-floor",
    default=0.05,
    show_default=True,
    help="Scores below this share of a prompt's maximum are not stored.",
)
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default=DTYPES[0],
    show_default=True,
    help="Number format of the model's weights.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option(
    "--memory-budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GIB",
    help="What a pass may keep; changes no score.  [default: a quarter of what is free]",
)
@click.option(
    "--interactions",
    is_flag=True,
    help="Also suppress every fact's neurons, each, in pairs and all (atlas query --interactions).",
)
@click.option(
    "--shard",
    metavar="K/N",
    help="The K-th of N parts of the facts, for machines side by side (atlas merge).",
)
@click.option(
    "--null",
    is_flag=True,
    help="Measure the null beside the real run: the same facts with shuffled objects.",
)
@ray_options
@db_option
def index(
    model: str,
    data: Path | None,
    relations: tuple[str, ...],
    limit: int | None,
    db: Path,
    **settings: Any,
) -> None:
    """Measure facts on a model and select their knowledge neurons."""
    _refuse_ignored(settings["method"], settings["rule"])
    from atlas.jobs import index as index_facts

    with resumable(db):
        found = index_facts(
            db,
            model,
            data,
            relations=relations,
            limit=limit,
            progress=not quiet(),
            **settings,
        )
    _summary(db, found)
    at_subject = () if found.at_subject is None else found.at_subject.given_up
    note_given_up(found.given_up + at_subject)


def _refuse_ignored(method: str, rule: str) -> None:
    """UsageError for an option of the integral that this method or rule does not use."""
    context = click.get_current_context()
    given = {
        name
        for name in ("rule", "points", "tolerance", "max_evaluations")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if method != METHODS[0]:
        unused, why = given, f"method {method} takes no integral"
    elif rule == RULES[0]:
        unused, why = given & {"points"}, f"rule {rule} chooses its points itself"
    else:
        unused, why = given & {"max_evaluations"}, f"rule {rule} has as many as --points says"
    if unused:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(unused))
        raise click.UsageError(f"{options} would be ignored, for {why}: leave it out.")


def _summary(db: Path, found: "IndexReport") -> None:
    _run(db, found)
    if found.at_subject is not None:
        _run(db, found.at_subject)
    if found.run.null_of is None:
        _advice(db, found)
    elif found.computed or (found.at_subject is not None and found.at_subject.computed):
        note_next(db, "atlas overlap", "atlas selections list", "atlas info")


def _run(db: Path, found: "IndexReport") -> None:
    """What one run measured, and what was selected of it."""
    run, selected = found.run, found.found
    if run.null_of is not None:
        _null_summary(db, found)
        return
    measured = counted(run.measured, "prompt")
    where = "" if run.position == "answer" else f" at the {run.position}"
    note(f"Run {run.run_id} of {run.model} in {db}: {measured} measured{where}.")
    if run.shards is not None:
        note(f"  {shards_of(run)[:1].upper()}{shards_of(run)[1:]}: `atlas merge` joins shards.")
    for skipped in found.skipped:
        note(f"  {skipped.prompts:,} skipped: {skipped.reason}")
    if run.over_tolerance:
        note(f"  {run.over_tolerance:,} with a completeness gap over the tolerance")
    about = found.selection
    assert about is not None, "an index has a selection"
    if selected is not None and selected.mean_neurons is not None:
        note(
            f"  {selected.mean_neurons:.2f} knowledge neurons a fact over "
            f"{facts_of(about)}, {selected.distinct_neurons:,} distinct"
        )
    elif selected is not None and selected.measured_facts:
        note_nothing_known(selected.measured_facts, db)


def _advice(db: Path, found: "IndexReport") -> None:
    """What questions are about now, and what to ask next."""
    selected = found.found
    note_default(found.default, db)
    if selected is not None and not selected.is_default:
        use = pasted(f"atlas selections use {selected.selection_id}", db)
        note(
            f"  {labelled(found.default.now)} is the default selection; `{use}` makes it this one."
        )
    if found.at_subject is not None and found.at_subject.selection is not None:
        asked = pasted(f"atlas query --hubs --selection {found.at_subject.selection.name}", db)
        note(f"  Of the run at the subject its selection is asked: `{asked}`.")
    relation = f"atlas query --relation {shlex.quote(found.relations[0])}"
    note_next(db, "atlas query --hubs", relation, "atlas info")
    if found.few_templates:  # a fact with fewer prompts can have no knowledge neuron
        note(
            f"  Of {', '.join(found.few_templates)} there are fewer than "
            f"{counted(found.min_prompts, 'template')}, so its facts have no knowledge "
            "neurons: add templates, or `atlas select --min-prompts 1`"
        )


def _null_summary(db: Path, found: "IndexReport") -> None:
    run, selected = found.run, found.found
    if not found.computed:
        note(
            f"The null of run {run.null_of}, at the {run.position}, is measured already (run "
            f"{run.run_id}, {counted(run.measured, 'prompt')})."
        )
        return
    note(
        f"Run {run.run_id} in {db} is the null of run {run.null_of}, at the {run.position}: "
        f"{counted(run.measured, 'prompt')} of facts with shuffled objects measured."
    )
    for skipped in found.skipped:
        note(f"  {skipped.prompts:,} skipped: {skipped.reason}")
    if found.null_left_out:
        note(
            f"  {', '.join(found.null_left_out)} left out: no shuffling of their objects makes "
            "every fact false"
        )
    if selected is not None and selected.mean_neurons is not None:
        note(
            f"  {selected.mean_neurons:.2f} knowledge neurons a fact over "
            f"{counted(selected.facts, 'fact')}, {selected.with_neurons:.0%} of them with any"
        )
