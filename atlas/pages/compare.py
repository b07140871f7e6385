"""The page that holds two facts against each other."""

from dataclasses import dataclass

import duckdb

from atlas.queries.facts import FactReport, fact_reports
from atlas.queries.named_facts import one_fact
from atlas.queries.sharing import SharedReport, shared_report
from atlas.selection.chosen import ChosenSelection, OfSelection


@dataclass(frozen=True)
class FactsCompared(OfSelection, rows="facts"):
    """Two facts with their neurons, and those that they share."""

    facts: tuple[FactReport, FactReport]
    shared: SharedReport


def facts_compared(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, a: str, b: str
) -> FactsCompared:
    """Two facts, named as for `one_fact`, side by side; raises what that raises."""
    first, second = (one_fact(connection, name).fact_id for name in (a, b))
    return FactsCompared(
        (_report(connection, selection, first), _report(connection, selection, second)),
        shared_report(connection, selection, first, second),
    )


def _report(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, fact_id: str
) -> FactReport:
    reports = fact_reports(connection, selection, fact_id)
    return next(report for report in reports if report.fact_id == fact_id)
