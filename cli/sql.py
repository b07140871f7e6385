"""`atlas sql`: one read-only query."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from atlas.answers import Listed
from atlas.atlas import open_atlas
from atlas.store.dictionary import DescribedColumn, DescribedTable

from .render import Format, db_option, emit, emit_json, emit_values, format_option
from .tables import draw_line


@click.command(
    epilog="""\b
Examples:
  atlas sql "SELECT layer, neuron, facts FROM neuron_degrees
             ORDER BY facts DESC LIMIT 5"
  atlas sql "SELECT relation, count(*) FROM neuron_facts GROUP BY ALL" --format csv
  echo "FROM fact_sharing LIMIT 5" | atlas sql -
  atlas sql --explain-views

\b
Views such as neuron_degrees speak of the default selection, all_neuron_degrees
and the tables of every one:
  ... FROM all_neuron_degrees JOIN selections USING (selection_id)
      WHERE name = 'paper'"""
)
@click.argument("statement", metavar="SQL", required=False)
@click.option(
    "--explain-views", is_flag=True, help="Describe every view, table and column instead."
)
@format_option
@db_option
def sql(statement: str | None, explain_views: bool, format_: Format, db: Path) -> None:
    """Run one read-only SQL query.

    SQL is the query, or - to read it from standard input.
    """
    if (statement is None) != explain_views:
        raise click.UsageError("Give one SQL query, or --explain-views.")
    if statement is None:
        _show_dictionary(open_atlas(db).dictionary(), format_)
        return
    if statement == "-":
        statement = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    result = open_atlas(db).sql(statement)
    if format_ == "json":
        emit_json(result)
    else:
        emit_values(result.columns, result.rows, format_)


def _show_dictionary(answer: Listed, format_: Format) -> None:
    tables: Sequence[DescribedTable] = answer.rows
    if format_ == "json":
        emit_json(answer)
    elif format_ == "csv":
        emit([c for table in tables for c in table.columns], "csv", kind=DescribedColumn)
    else:
        for i, table in enumerate(tables):
            if i:
                draw_line()
            emit(
                table.columns,
                "table",
                title=f"{table.kind} {table.name}: {table.description}",
                hide=("kind", "name"),
            )
