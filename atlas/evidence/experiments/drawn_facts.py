"""The facts that experiments ask the model about: known ones with knowledge neurons, drawn."""

from collections.abc import Callable
from typing import Any

import duckdb

from atlas.evidence.experiments.experiment import Item, Setting, digest
from atlas.specificity.plan import FactPlan
from atlas.specificity.planned import planned


def drawn_facts(connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[FactPlan]:
    """At most `setting.limit` known facts of each relation, with their neurons and partners.

    In a null they have the neurons of their false objects.

    Raises NotFound where there is none, or none to compare with, NoScores for published neurons.
    """
    return planned(
        connection, setting.selection, None, 1, setting.limit, setting.seed, setting.null
    )


def fact_items(
    connection: duckdb.DuckDBPyConnection,
    setting: Setting,
    *version: Any,
    wanted: Callable[[FactPlan], bool] = lambda plan: True,
) -> list[Item]:
    """The drawn facts as items, a plan each; version: what else decides the rows."""
    return [
        Item(plan.fact.fact_id, plan.fact.fact_id, plan, digest(*version, plan.asked))
        for plan in drawn_facts(connection, setting)
        if wanted(plan)
    ]
