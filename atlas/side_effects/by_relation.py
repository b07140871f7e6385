"""What an edit did to other facts, relation by relation."""

from dataclasses import dataclass

import duckdb

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


def relation_damage(connection: duckdb.DuckDBPyConnection) -> list[RelationDamage]:
    """One row a relation in `gather_effects`, the largest share of lost answers first."""
    return fetch(
        connection,
        RelationDamage,
        """
        SELECT e.relation_id,
               r.label AS relation,
               count(*) AS facts,
               sum(e.prompts)::BIGINT AS prompts,
               sum(e.right_before)::BIGINT AS right_before,
               sum(e.right_to_wrong)::BIGINT AS right_to_wrong,
               sum(e.wrong_to_right)::BIGINT AS wrong_to_right,
               coalesce(sum(e.right_to_wrong) / nullif(sum(e.right_before), 0), 0) AS share_lost,
               sum(e.log_after - e.log_before) / sum(e.prompts) AS mean_delta_log_p
        FROM effects AS e
        JOIN relations AS r USING (relation_id)
        WHERE NOT e.own
        GROUP BY e.relation_id, r.label
        ORDER BY share_lost DESC, right_to_wrong DESC, length(e.relation_id), e.relation_id
        """,
    )
