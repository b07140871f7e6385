"""The page that holds two facts against each other."""

from dataclasses import dataclass

import duckdb

from atlas.queries.facts import FactReport, reports_of
from atlas.queries.named_facts import one_fact
from atlas.queries.sharing import SharedReport, shared_of
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
    first, second = one_fact(connection, a), one_fact(connection, b)
    one, other = reports_of(connection, selection, [first, second])
    return FactsCompared((one, other), shared_of(connection, selection, first, second))
