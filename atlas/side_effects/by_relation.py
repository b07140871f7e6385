"""What an edit did to other facts, relation by relation."""

from dataclasses import dataclass

import duckdb

from atlas.side_effects.report import SMALLEST_P
from atlas.side_effects.scopes import FACTS_AND_THE_EDIT, CheckedBy
from atlas.store.rows import fetch


@dataclass(frozen=True)
class RelationDamage:
    """What an edit did to the checked prompts of a relation's facts that it is not about."""

    relation_id: str | None  # None: all further relations together
    relation: str
    facts: int
    prompts: int
    right_before: int  # prompts whose top answer was right
    right_to_wrong: int
    wrong_to_right: int
    share_lost: float  # of right_before
    mean_delta_log_p: float


def relation_damage(connection: duckdb.DuckDBPyConnection, by: CheckedBy) -> list[RelationDamage]:
    """One row a relation that was checked, the largest share of lost answers first."""
    return fetch(
        connection,
        RelationDamage,
        f"""
        WITH {FACTS_AND_THE_EDIT},
        checked AS (
            SELECT f.fact_id,
                   f.relation_id,
                   s.rank_before = 1 AS right_before,
                   s.rank_after = 1 AS right_after,
                   ln(greatest(s.p_after, {SMALLEST_P})) - ln(greatest(s.p_before, {SMALLEST_P}))
                       AS delta_log_p
            FROM side_effects AS s
            JOIN prompts AS p USING (prompt_id)
            JOIN facts_and_the_edit AS f USING (fact_id)
            WHERE s.edit_id = $edit_id
              AND NOT f.own
        )
        SELECT c.relation_id,
               r.label AS relation,
               count(DISTINCT c.fact_id) AS facts,
               count(*) AS prompts,
               count(*) FILTER (right_before) AS right_before,
               count(*) FILTER (right_before AND NOT right_after) AS right_to_wrong,
               count(*) FILTER (NOT right_before AND right_after) AS wrong_to_right,
               coalesce(count(*) FILTER (right_before AND NOT right_after)
                        / nullif(count(*) FILTER (right_before), 0), 0) AS share_lost,
               avg(delta_log_p) AS mean_delta_log_p
        FROM checked AS c
        JOIN relations AS r USING (relation_id)
        GROUP BY c.relation_id, r.label
        ORDER BY share_lost DESC, right_to_wrong DESC, length(c.relation_id), c.relation_id
        """,
        {"edit_id": by.edit_id, "run_id": by.run_id, "selection_id": by.selection_id},
    )
