"""The page on a relation."""

from dataclasses import dataclass

import duckdb

from atlas.queries.relation_facts import (
    FactOrder,
    RelationFactsReport,
    Standing,
    relation_facts,
)
from atlas.queries.relation_sharing import SharingRelation, sharing_relations
from atlas.queries.relations import RelationReport, relation_report
from atlas.selection.chosen import ChosenSelection, OfSelection

NEURONS = 20


@dataclass(frozen=True)
class RelationPage(OfSelection, rows="sharing"):
    """A relation: its facts, its neurons and layers, and what it shares with other relations."""

    relation: RelationReport
    facts: RelationFactsReport
    sharing: tuple[SharingRelation, ...]  # the relations that share most with it first


def relation_page(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    wanted: str,
    *,
    by: FactOrder = "subject",
    standing: Standing = "all",
    containing: str = "",
    limit: int | None = None,
    offset: int = 0,
) -> RelationPage:
    """Everything that is told of a relation; the rest says which of its facts, as `relation_facts`.

    Raises what that and `one_relation` raise.
    """
    report = relation_report(connection, selection, wanted, NEURONS)
    return RelationPage(
        relation=report,
        facts=relation_facts(
            connection,
            selection,
            report.relation_id,
            by=by,
            standing=standing,
            containing=containing,
            limit=limit,
            offset=offset,
        ),
        sharing=tuple(sharing_relations(connection, selection, report.relation_id)),
    )
