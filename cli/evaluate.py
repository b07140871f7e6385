"""`atlas evaluate`: a benchmark's edits made and measured, by named protocols."""

from pathlib import Path

import click

from atlas.atlas import open_atlas
from atlas.benchmarks.settings import LONGEST_TEXT, METHODS, PROTOCOLS, STRONGEST

from .edit.model import model_options
from .evaluate_tables import show
from .render import Format, db_option, format_option, quiet, selection_options


@click.command(
    epilog="""\b
Examples:
  atlas evaluate counterfact.json --edits 100
  atlas evaluate zsre.json --edits 100 --method solve --protocol free
  atlas evaluate knowedit.json --cases results/run_000 --format json

FILE is CounterFact (as ROME has it, or flat), zsRE (as EasyEdit or MEND have it)
or KnowEdit's factual part; `atlas data check FILE` says what it holds. Every
case's edit is made from its own prompt alone, in a copy of the atlas, which
stays as it is, and the model has its own weights again after each.

Teacher-forced, the model is given the right answer's tokens so far and asked for
the next; accuracy is then of tokens, and score and magnitude compare P of the two
answers, as ROME does. Free-running, it answers by itself, and the whole answer
must be there. Every number says which."""
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--edits", type=int, metavar="N", help="So many cases; all without it.")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="spare",
    show_default=True,
    help="How edits are made, see `atlas edit update`.",
)
@click.option(
    "--protocol", type=click.Choice(list(PROTOCOLS)), default="both", show_default=True,
    help="How answers are asked for.",
)  # fmt: skip
@click.option(
    "--neurons",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"That an edit may change. [default: {STRONGEST}; spare chooses itself]",
)
@click.option("--seed", type=int, help="Draw the cases; without it they are the first ones.")
@click.option(
    "--tokens",
    type=click.IntRange(min=0),
    default=LONGEST_TEXT,
    show_default=True,
    help="Length of continued texts, for fluency; 0 leaves it out.",
)
@click.option(
    "--cases",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also write case_N.json files as ROME's evaluation does.",
)
@click.option("--verbose", is_flag=True, help="List what the model cannot be asked, and each case.")
@selection_options
@model_options
@format_option
@db_option
def evaluate(
    file: Path,
    edits: int | None,
    method: str,
    protocol: str,
    neurons: int | None,
    seed: int | None,
    tokens: int,
    cases: Path | None,
    verbose: bool,
    selection: str | None,
    run: str | None,
    model: str | None,
    device: str,
    format_: Format,
    db: Path,
) -> None:
    """Run a benchmark of editing: efficacy, paraphrase, neighbourhood, portability, fluency."""
    found = open_atlas(db).evaluate(
        file,
        edits=edits,
        method=method,
        protocol=protocol,
        neurons=neurons,
        seed=seed,
        tokens=tokens,
        cases=cases,
        lm=model,
        device=device,
        selection=selection,
        run=run,
        progress=not quiet(),
    )
    show(found, format_, verbose=verbose)
