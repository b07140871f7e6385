"""`atlas sql`: one read-only query."""

import sys
from pathlib import Path

import click

from atlas.store.atlas_file import open_atlas
from atlas.store.user_sql import run_sql

from .render import db_option, emit_values, format_option


@click.command(
    epilog="""\b
Examples:
  atlas sql "SELECT layer, neuron, facts FROM neuron_degrees
             ORDER BY facts DESC LIMIT 5"
  atlas sql "SELECT relation, count(*) FROM neuron_facts GROUP BY ALL" --format csv
  echo "FROM fact_sharing LIMIT 5" | atlas sql -

\b
Views: neuron_facts, neuron_degrees, fact_sharing, relation_sharing and
latest_selection. They cover every selection; to ask only the latest:
  ... JOIN latest_selection USING (selection_id)"""
)
@click.argument("statement", metavar="SQL")
@format_option
@db_option
def sql(statement: str, format_: str, db: Path) -> None:
    """Run one read-only SQL query.

    SQL is the query, or - to read it from standard input.
    """
    text = sys.stdin.read() if statement == "-" else statement
    result = run_sql(open_atlas(db).path, text)
    emit_values(result.columns, result.rows, format_)
