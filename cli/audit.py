"""`atlas audit`: other weights of a run's architecture held against its facts."""

from pathlib import Path

import click

from atlas.atlas import open_atlas

from .audit_tables import show
from .edit.check import OVER_THE_LIMIT
from .edit.model import model_options
from .render import Format, db_option, format_option, note, quiet, resumable, selection_options


@click.command(
    epilog="""\b
Examples:
  atlas audit my-finetuned-model
  atlas audit my-adapter --scope known --fail-over flips=3,ppl=5%
  atlas audit merged.gguf --forecast

CHECKPOINT is a directory, a GGUF file, a hub id or a PEFT adapter with the
architecture, the shapes and the tokenizer of the model that was indexed:
fine-tuned, merged, quantised, unlearned, or edited with any tool. First the
weights are compared, and changed value vectors are turned into a forecast of
who suffers; then the run's prompts are asked of both models. Side effects are
told beside the noise floor: the run's own model asked in batches of another size.

Scopes: all measured prompts, those of known facts, or sample:N. What is asked
is stored; the same command again shows it, or goes on where it was stopped.
Exit code 3: a limit is exceeded, see `atlas edit check --help`."""
)
@click.argument("checkpoint")
@click.option("--scope", default="all", show_default=True, help="all, known or sample:N.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which sample.")
@click.option("--forecast", is_flag=True, help="Compare and forecast; ask nothing.")
@click.option(
    "--fail-over", metavar="LIMITS", help="Exit with 3 above these, e.g. flips=3,broken=0,ppl=5%."
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Rows of each table; 0 shows all.",
)
@selection_options
@model_options
@format_option
@db_option
@click.pass_context
def audit(
    ctx: click.Context,
    checkpoint: str,
    scope: str,
    seed: int,
    forecast: bool,
    fail_over: str | None,
    limit: int,
    selection: str | None,
    run: str | None,
    model: str | None,
    device: str,
    format_: Format,
    db: Path,
) -> None:
    """Tell what a checkpoint did to the facts of the index, fact by fact and neuron by neuron."""
    with resumable(db):
        found = open_atlas(db).audit(
            checkpoint,
            scope=scope,
            seed=seed,
            forecast=forecast,
            fail_over=fail_over,
            limit=limit,
            lm=model,
            device=device,
            selection=selection,
            run=run,
            progress=not quiet(),
        )
    show(found, format_)
    if found.exceeded:
        note(f"Over the limit: {'; '.join(found.exceeded)}.")
        ctx.exit(OVER_THE_LIMIT)
