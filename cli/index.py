"""`atlas index`: measure facts on a model, with a progress bar; Ctrl-C loses nothing committed."""

import contextlib
import itertools
import math
import os
import shlex
from pathlib import Path
from typing import Any

import click

from atlas.datasets import choose, read_dataset
from atlas.errors import SettingsError
from atlas.facts import Dataset
from atlas.queries.info import atlas_info
from atlas.store.atlas_file import open_atlas

from .progress import show_loading, show_progress
from .render import db_option, note, note_next

_GIGABYTE = 1 << 30
_INTEGRATION = ("rule", "points", "tolerance", "max_evaluations")


@click.command(
    epilog="""\b
Examples:
  atlas index
  atlas index --relation P36 --relation capital --limit 25
  atlas index --model ./SmolLM2.gguf --pararel ./pararel --relation P36

Without options: the embedded dataset on the embedded model, into ./atlas.duckdb.
The same command again continues where it was stopped, and changes nothing once
it is done. Naming more relations or facts later extends the same run."""
)
@click.option(
    "--model",
    default="mini-bert",
    show_default=True,
    help="mini-bert, a directory with safetensors, a .gguf file, or a hub id.",
)
@click.option(
    "--data",
    "--pararel",
    "data",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Facts and templates: ParaRel's directory, JSONL or CSV.  [default: embedded]",
)
@click.option(
    "--relation",
    "relations",
    multiple=True,
    help="Id or label; may be given again.  [default: all]",
)
@click.option("--limit", type=click.IntRange(min=1), help="Facts per relation.  [default: all]")
@click.option(
    "--method",
    default="integrated-gradients",
    show_default=True,
    help="integrated-gradients, activation or gradient-x-activation.",
)
@click.option(
    "--rule",
    default="adaptive",
    show_default=True,
    help="adaptive, riemann-left, riemann-right, riemann-linspace or gauss-legendre.",
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
@click.option("--dtype", default="float32", show_default=True, help="float32 or bfloat16.")
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
@db_option
def index(
    model: str,
    data: Path | None,
    relations: tuple[str, ...],
    limit: int | None,
    memory_budget: float | None,
    db: Path,
    **settings: Any,
) -> None:
    """Measure facts on a model and select their knowledge neurons."""
    if memory_budget is not None and not math.isfinite(memory_budget):
        raise SettingsError(f"memory budget is {memory_budget}: give GiB, for example 0.5")
    dataset = read_dataset(data)
    chosen = choose(dataset, relations, limit)
    labels = {relation.relation_id: relation.label for relation in chosen.relations}
    # Idle OpenMP threads spin before they sleep. Where another program wants the core, as on most
    # laptops, the default slowed an index tenfold; this is read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        with contextlib.ExitStack() as stack:
            with show_loading(model):
                from atlas.engine.integration import Integration
                from atlas.index.indexer import IndexSettings, index

                integration = Integration(**{name: settings.pop(name) for name in _INTEGRATION})
                budget = None if memory_budget is None else int(memory_budget * _GIGABYTE)
                how = IndexSettings(
                    model=model, integration=integration, memory_budget=budget, **settings
                )
                # closing: if Ctrl-C comes while we draw, the indexer commits what it has
                events = stack.enter_context(contextlib.closing(index(db, dataset, chosen, how)))
                first = next(events)
            run_id = show_progress(itertools.chain([first], events), labels)
    except KeyboardInterrupt as e:
        if not db.exists():  # it was still loading the model
            raise
        raise KeyboardInterrupt(
            f"Interrupted: what was measured is in {db}; the same command continues."
        ) from e
    _summary(db, run_id, chosen.relations[0].relation_id)
    _note_few_templates(chosen, how.thresholds.min_prompts)


def _note_few_templates(chosen: Dataset, min_prompts: int) -> None:
    """A fact with fewer prompts than a selection asks for can have no knowledge neuron."""
    few = [r.relation_id for r in chosen.relations if len(r.templates) < min_prompts]
    if few:
        note(
            f"  Of {', '.join(few)} there are fewer than {min_prompts} templates, so its facts "
            "have no knowledge neurons: add templates, or `atlas select --min-prompts 1`"
        )


def _summary(db: Path, run_id: str, relation_id: str) -> None:
    with open_atlas(db).reading() as con:
        found = atlas_info(con, db)
    run = next(run for run in found.runs if run.run_id == run_id)
    note(f"Run {run_id} of {run.model} in {db}: {run.measured:,} prompts measured.")
    for skipped in found.skipped:
        if skipped.run_id == run_id:
            note(f"  {skipped.prompts:,} skipped: {skipped.reason}")
    if run.over_tolerance:
        note(f"  {run.over_tolerance:,} with a completeness gap over the tolerance")
    for selection in found.selections[:1]:
        if selection.mean_neurons is not None:
            note(
                f"  {selection.mean_neurons:.2f} knowledge neurons a fact over "
                f"{selection.facts:,} facts, {selection.distinct_neurons:,} distinct"
            )
    about = f"atlas query --relation {shlex.quote(relation_id)}"
    note_next(db, "atlas query --hubs", about, "atlas info")
