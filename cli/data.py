"""`atlas data`: checking files of facts and templates."""

from pathlib import Path

import click

from atlas.benchmarks.counts import BenchmarkCounts
from atlas.counted import counted
from atlas.data_check import check_data
from atlas.datasets.askable import Askable
from atlas.datasets.counts import DatasetCounts
from atlas.datasets.rows import Problem

from .asked import ACROSS, draw_asked
from .groups import SuggestingGroup
from .render import Format, emit, emit_json, format_option, note, quiet
from .tables import draw_line


@click.group(
    cls=SuggestingGroup,
    epilog="""\b
Example:
  atlas data check facts.jsonl""",
)
def data() -> None:
    """Check files of facts and templates."""


@data.command(
    epilog="""\b
Examples:
  atlas data check facts.jsonl
  atlas data check facts.csv --format json
  atlas data check facts.jsonl --model ./SmolLM2.gguf
  atlas data check pararel/
  atlas data check counterfact.json --model mini-bert --verbose"""
)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--model",
    metavar="PATH",
    help="Say which prompts this model can be asked, and with which tokens.",
)
@click.option("--verbose", is_flag=True, help="List what the model cannot be asked.")
@format_option
@click.pass_context
def check(
    ctx: click.Context, path: Path, model: str | None, verbose: bool, format_: Format
) -> None:
    """Report what is wrong with a dataset, by file and line, or count what is in it.

    FILE is a .jsonl, .csv or .tsv file of facts and templates, a relation file (P36.json), the
    paper's data_all_allbags.json, PopQA's file, or a directory: of such files, ParaRel's or LAMA's;
    or a benchmark of edits for `atlas evaluate`: CounterFact, zsRE, KnowEdit. Exits with 1 if there
    are problems.

    \b
    A .jsonl file has one object per line:
      {"relation": "P36", "template": "The capital of [X] is [Y].", "label": "capital"}
      {"relation": "P36", "subject": "Ireland", "object": "Dublin", "uuid": "..."}
    A .csv file has the columns relation,subject,object and, if wanted, uuid,
    label and template; without a template column, templates.csv beside it
    has them: relation,template,label.
    """
    found = check_data(path, model, progress=not quiet())
    if format_ == "json":
        emit_json(found)
    elif found.problems:
        emit(found.problems, format_, kind=Problem)
    elif found.benchmark:
        emit([found.benchmark], format_, kind=BenchmarkCounts)
        if verbose and found.inexpressible and format_ == "table":
            draw_line()
            emit(found.inexpressible, "table", headers={"whole_case": "case lost"})
    elif found.counts:
        emit([found.counts], format_, kind=DatasetCounts)
        if found.asked and format_ == "table":
            draw_line()
            draw_asked(found.asked.examples)
    if found.problems:
        note(f"{path}: {counted(len(found.problems), 'problem')}.")
        ctx.exit(1)
    if found.without_templates:
        left_out = ", ".join(found.without_templates)
        note(f"Left out, because they have facts but no template: {left_out}.")
    if found.asked:
        _note_asked(found.asked)
    if found.benchmark:
        _note_benchmark(found.benchmark, len(found.inexpressible), verbose)
    note(f"{path}: no problems.")


def _note_asked(asked: Askable) -> None:
    """How many prompts the model can be asked, and why not the others."""
    note(
        f"{asked.model} ({asked.objective}) can be asked {asked.askable:,} of "
        f"{counted(asked.prompts, 'prompt')}."
    )
    for skipped in asked.skipped:
        note(f"  {skipped.prompts:,} not: {skipped.reason}, as in {skipped.text!r}.")
    if asked.across:
        note(f"  {counted(asked.across, 'prompt')} with an answer that {ACROSS}.")


def _note_benchmark(benchmark: BenchmarkCounts, lost: int, verbose: bool) -> None:
    """What cannot be measured with the file, and what the model cannot be asked."""
    if benchmark.lacking:
        note(f"It has nothing for {', '.join(benchmark.lacking)}.")
    if benchmark.left_out:
        note(f"{counted(benchmark.left_out, 'entry', 'entries')} without a new object left out.")
    if benchmark.unusable is not None:
        more = "" if verbose or not lost else "; --verbose lists them"
        note(
            f"The model cannot be asked {benchmark.unusable:,} of "
            f"{counted(benchmark.cases, 'case')} and "
            f"{counted(lost - benchmark.unusable, 'question')} of others{more}."
        )
