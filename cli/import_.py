"""`atlas import`: neurons that others published, or a run that was exported, as a run."""

from pathlib import Path

import click

from atlas.counted import counted
from atlas.indexing.published import import_published
from atlas.merging.merge import import_run

from .dataset_option import dataset_option
from .groups import SuggestingGroup
from .merge import note_runs
from .render import db_option, note, note_next, quiet
from .selections import note_default

_PUBLISHED = "published"


class _ImportGroup(SuggestingGroup):
    """`atlas import FILE...` is `atlas import published FILE...`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named or not args else [_PUBLISHED, *args])


@click.group(
    name="import",
    cls=_ImportGroup,
    epilog="""\b
Examples:
  atlas import published_neurons/*.json --model bert-base-uncased --pararel pararel/
  atlas import run run-parquet

FILE... without a command before it are published neurons.""",
)
def import_() -> None:
    """Import published neurons, or an exported run."""


@import_.command(
    epilog="""\b
Example:
  atlas import run run-parquet --db atlas.duckdb

Exporting a run and importing it brings back every row. Importing the same again
changes nothing; a run that the atlas has is joined with what the directory has of it,
as in `atlas merge`, which takes several.""",
)
@click.argument("run_directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@db_option
def run(run_directory: Path, db: Path) -> None:
    """Import a run that `atlas export run` wrote."""
    found = import_run(db, run_directory, progress=not quiet())
    note_runs(found, db)
    note_next(db, "atlas query --hubs", "atlas info")


@import_.command(
    name=_PUBLISHED,
    epilog="""\b
Examples:
  atlas import published_neurons/*.json --model bert-base-uncased --pararel pararel/
  atlas import kn_bag-P36.json --model bert-base-cased --pararel data_all_allbags.json

Read are JSON objects ParaRel uuid -> [[layer, neuron], ...] and the kn_bag-P*.json
of the paper's code, whose facts are told by their position in
data_all_allbags.json. Scores and prompts are not in such files: queries say
what is not available. Importing the same again changes nothing.""",
)
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--model", required=True, help="The model that the neurons are of: a name or its directory."
)
@dataset_option(
    "The facts that they are of: ParaRel's directory, or data_all_allbags.json.", required=True
)
@click.option("--layers", type=click.IntRange(min=1), help="Of a model not known by its name.")
@click.option(
    "--neurons-per-layer", type=click.IntRange(min=1), help="Of a model not known by its name."
)
@click.option("--verbose", is_flag=True, help="List the uuids that the dataset lacks.")
@db_option
def published(
    files: tuple[Path, ...],
    model: str,
    data: Path,
    layers: int | None,
    neurons_per_layer: int | None,
    verbose: bool,
    db: Path,
) -> None:
    """Import published neurons as a run."""
    found = import_published(
        db, files, model, data, layers=layers, neurons_per_layer=neurons_per_layer
    )
    note(
        f"Run {found.run_id} of {found.model} in {db}: "
        f"{counted(found.fact_neurons, 'knowledge neuron')} of {counted(found.facts, 'fact')} in "
        f"{counted(found.relations, 'relation')}, {found.distinct_neurons:,} "
        "distinct; scores are not available"
    )
    if found.without_neurons:
        note(f"  {found.without_neurons:,} of these facts have none")
    if found.unknown:
        note(
            f"  {counted(len(found.unknown), 'uuid')} "
            f"{'is' if len(found.unknown) == 1 else 'are'} not in {data} and "
            f"{'was' if len(found.unknown) == 1 else 'were'} left out"
            + ("" if verbose else "; --verbose lists them")
        )
    if verbose:
        for fact_id in found.unknown:
            click.echo(fact_id)
    note_default(found.default, db)
    note_next(db, "atlas query --hubs", "atlas info")
