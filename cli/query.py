"""`atlas query`: what a neuron, a fact or a relation is to the others."""

from pathlib import Path
from typing import Literal

import click

from .ask_fact import ask_fact
from .ask_hubs import ask_hubs
from .ask_neuron import ask_neuron
from .ask_relation import ask_relation
from .query_scope import Scope
from .render import db_option, format_option


@click.command(
    epilog="""\b
Examples:
  atlas query --neuron 3:117
  atlas query --fact Ireland
  atlas query --fact Ireland:P36 --format csv --show prompts
  atlas query --relation capital
  atlas query --hubs --by relations --format json

A table shows everything and JSON holds everything; CSV is one table, the
neurons unless --show says otherwise."""
)
@click.option("--neuron", metavar="LAYER:NEURON", help="The facts that a neuron serves.")
@click.option(
    "--fact",
    metavar="NAME",
    help="A fact's prompts and neurons, by subject, SUBJECT:RELATION or id.",
)
@click.option(
    "--relation", metavar="NAME", help="A relation's neurons and their layers, by id or label."
)
@click.option("--hubs", is_flag=True, help="The neurons that serve most.")
@click.option(
    "--by",
    type=click.Choice(["facts", "relations"]),
    default="facts",
    show_default=True,
    help="With --hubs: most of what.",
)
@click.option(
    "--show",
    type=click.Choice(["neurons", "prompts", "layers"]),
    help="Only this part: prompts or neurons of a fact, neurons or layers of a relation.",
)
@click.option("--selection", metavar="ID", help="The selection to ask. [default: the latest]")
@click.option("--run", metavar="ID", help="Ask the latest selection of this run.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help="Rows of a table at most; 0 for all. [default: 20 for --relation and --hubs, else all]",
)
@format_option
@db_option
def query(
    neuron: str | None,
    fact: str | None,
    relation: str | None,
    hubs: bool,
    by: Literal["facts", "relations"],
    show: str | None,
    selection: str | None,
    run: str | None,
    limit: int | None,
    format_: str,
    db: Path,
) -> None:
    """Ask about a neuron, a fact, a relation or the hubs."""
    if [neuron is not None, fact is not None, relation is not None, hubs].count(True) != 1:
        raise click.UsageError("Ask for one of --neuron, --fact, --relation and --hubs.")
    scope = Scope(db, selection, run, format_, limit)
    if neuron is not None:
        _only(show, ("neurons",), "--neuron")
        ask_neuron(scope, neuron)
    elif fact is not None:
        _only(show, ("neurons", "prompts"), "--fact")
        ask_fact(scope, fact, show)
    elif relation is not None:
        _only(show, ("neurons", "layers"), "--relation")
        ask_relation(scope, relation, show)
    else:
        _only(show, ("neurons",), "--hubs")
        ask_hubs(scope, by)


def _only(show: str | None, possible: tuple[str, ...], option: str) -> None:
    if show is not None and show not in possible:
        raise click.UsageError(f"{option} has {' and '.join(possible)} to show, not {show}.")
