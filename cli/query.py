"""`atlas query`: what a neuron, a fact or a relation is to the others."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import duckdb

from atlas.store.atlas_file import open_atlas
from atlas.store.fact_queries import fact_reports
from atlas.store.neuron_queries import hubs_report, neuron_report, parse_neuron
from atlas.store.relation_queries import relation_report
from atlas.store.selection_queries import ChosenSelection, choose_selection

from .query_tables import show_facts, show_hubs, show_neuron, show_relation
from .render import db_option, format_option, note


@dataclass(frozen=True)
class _Scope:
    """The atlas and the selection that a question is about."""

    db: Path
    selection: str | None
    run: str | None

    @contextmanager
    def opened(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, ChosenSelection]]:
        with open_atlas(self.db).reading() as con:
            selection = choose_selection(con, self.selection, self.run)
            yield con, selection
        if selection.run_status != "finished":
            note(f"Run {selection.run_id} has not finished; this is what it has measured so far.")


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
    scope = _Scope(db, selection, run)
    if neuron is not None:
        _only(show, ("neurons",), "--neuron")
        _query_neuron(scope, neuron, limit, format_)
    elif fact is not None:
        _only(show, ("neurons", "prompts"), "--fact")
        _query_fact(scope, fact, show, limit, format_)
    elif relation is not None:
        _only(show, ("neurons", "layers"), "--relation")
        _query_relation(scope, relation, show, limit, format_)
    else:
        _only(show, ("neurons",), "--hubs")
        _query_hubs(scope, by, limit, format_)


def _query_neuron(scope: _Scope, neuron: str, limit: int | None, format_: str) -> None:
    where = parse_neuron(neuron)
    with scope.opened() as (con, selection):
        report = neuron_report(con, selection, *where, limit or None)
    show_neuron(report, selection, format_)


def _query_fact(
    scope: _Scope, fact: str, show: str | None, limit: int | None, format_: str
) -> None:
    with scope.opened() as (con, selection):
        reports = fact_reports(con, selection, fact, limit or None)
    show_facts(reports, selection, show, format_)


def _query_relation(
    scope: _Scope, relation: str, show: str | None, limit: int | None, format_: str
) -> None:
    with scope.opened() as (con, selection):
        report = relation_report(con, selection, relation, _default_20(limit))
    show_relation(report, selection, show, format_)


def _query_hubs(
    scope: _Scope, by: Literal["facts", "relations"], limit: int | None, format_: str
) -> None:
    with scope.opened() as (con, selection):
        report = hubs_report(con, selection, _default_20(limit), by)
    show_hubs(report, selection, by, format_)


def _default_20(limit: int | None) -> int | None:
    return 20 if limit is None else limit or None


def _only(show: str | None, possible: tuple[str, ...], option: str) -> None:
    if show is not None and show not in possible:
        raise click.UsageError(f"{option} has {' and '.join(possible)} to show, not {show}.")
