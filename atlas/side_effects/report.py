"""What an edit did to the prompts that it was checked on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from atlas.side_effects.scopes import CheckedBy, relate_facts
from atlas.statistics import spearman
from atlas.store.rows import fetch

SMALLEST_P = 1e-30  # what log P is taken of where P is smaller; float32 holds no log of 0

# The groups that a fact is in, by place in the report; none is NULL.
_GROUPS = """
    list_filter([
        CASE WHEN own THEN {'place': 0, 'kind': 'own'} END,
        CASE WHEN NOT own AND shares_neuron THEN {'place': 1, 'kind': 'neighbours'} END,
        CASE WHEN NOT own AND same_relation THEN {'place': 2, 'kind': 'same relation'} END,
        CASE WHEN NOT own AND NOT same_relation THEN {'place': 3, 'kind': 'other relations'} END,
        CASE WHEN NOT own AND kept THEN {'place': 4, 'kind': 'told to keep'} END,
        CASE WHEN NOT own THEN {'place': 5, 'kind': 'all but own'} END
    ], lambda member: member IS NOT NULL)
"""

# What a group is called of which a check has measured those of a scope alone, by kind and
# `checked`. A kind of which all were measured goes by its own name.
_NAMES = {
    ("neighbours", "same relation"): "neighbours, same relation",
    ("neighbours", "other relations"): "neighbours, other relations",
    ("same relation", "neighbours"): "neighbours, same relation",
    ("other relations", "neighbours"): "neighbours, other relations",
    ("told to keep", "neighbours"): "neighbours, told to keep",
    ("told to keep", "same relation"): "same relation, told to keep",
    ("told to keep", "other relations"): "other relations, told to keep",
    ("all but own", "neighbours"): "all neighbours",
    ("all but own", "same relation"): "all of the same relation",
    ("all but own", "other relations"): "all of other relations",
}


@dataclass(frozen=True)
class GroupEffect:
    """An edit's effect on a group of checked prompts. Groups overlap; only `own` has the own ones.

    A group is named after what was measured of it: a check of neighbours does not tell how a whole
    relation fared, and has "neighbours, same relation". `told to keep` are the facts that making
    the edit was to leave in place, so it knew them.

    Perplexity is the paper's: exp of the mean over prompts of −log P(answer).
    """

    group: str  # what was measured: the kind itself, the part of it in `checked`, or "…, in part"
    kind: str  # own | neighbours | same relation | other relations | told to keep | all but own
    checked: str  # of that kind: all | neighbours | same relation | other relations | part
    facts: int  # looked at
    of_facts: int  # that the kind has in the index
    prompts: int
    of_prompts: int
    mean_delta_log_p: float
    perplexity_before: float
    perplexity_after: float
    right_to_wrong: int  # prompts whose top answer was right and is not now
    wrong_to_right: int
    wrong_to_wrong: int  # to another wrong answer
    flips: int  # the three together: prompts whose top answer changed
    perplexity_change: float  # as a share of the perplexity before


@dataclass(frozen=True)
class FactEffect:
    """An edit's effect on a fact that it was not meant to change, over its checked prompts."""

    fact_id: str
    relation_id: str
    subject: str
    object: str
    interference: float  # predicted, see `interference_queries`
    prompts: int
    delta_log_p: float  # mean over prompts
    right_to_wrong: int
    flips: int
    predicted_after: str  # the commonest top answer


@dataclass(frozen=True)
class SideEffectReport:
    """What checks of an edit have found, on the prompts that the report is about."""

    edit_id: int
    run_id: str
    selection_id: str | None
    prompts: int  # looked at, its own too
    groups: tuple[GroupEffect, ...]  # those with a checked prompt
    worst: tuple[FactEffect, ...]  # largest loss of log P first; own facts are not among them
    facts: int  # not own, with a checked prompt: what the correlation is over
    correlation: float | None  # Spearman, of interference with |delta log P| per fact

    def group(self, kind: str) -> GroupEffect | None:
        """What was measured of a kind; None if no prompt of it was checked."""
        return next((group for group in self.groups if group.kind == kind), None)


def side_effect_report(
    connection: duckdb.DuckDBPyConnection,
    by: CheckedBy,
    worst: int = 10,
    prompts: Sequence[int] | None = None,
) -> SideEffectReport:
    """The report over the edit's stored side effects on these prompts.

    Without `prompts`, over all that are stored, whichever scope they were checked in.
    """
    relate_facts(connection, by)
    gather_effects(connection, by.edit_id, prompts)
    groups = group_effects(connection)
    facts = fact_effects(connection)
    return SideEffectReport(
        edit_id=by.edit_id,
        run_id=by.run_id,
        selection_id=by.selection_id,
        prompts=sum(g.prompts for g in groups if g.kind in ("own", "all but own")),
        groups=tuple(groups),
        worst=tuple(fact for fact in facts[:worst] if fact.delta_log_p < 0),
        facts=len(facts),
        correlation=spearman(
            [fact.interference for fact in facts], [abs(fact.delta_log_p) for fact in facts]
        ),
    )


def gather_effects(
    connection: duckdb.DuckDBPyConnection, edit_id: int, prompts: Sequence[int] | None = None
) -> None:
    """Make the table effects of this connection, a row a checked prompt, after `relate_facts`.

    It says how the prompt changed, and what its fact is to the edit; of these prompts, or of all.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE effects AS
        SELECT f.fact_id,
               f.relation_id,
               f.subject,
               f.object,
               f.own,
               f.shares_neuron,
               f.same_relation,
               f.kept,
               s.interference,
               ln(greatest(s.p_before, {SMALLEST_P})) AS log_before,
               ln(greatest(s.p_after, {SMALLEST_P})) AS log_after,
               s.rank_before = 1 AS right_before,
               s.rank_before = 1 AND s.rank_after > 1 AS right_to_wrong,
               s.rank_before > 1 AND s.rank_after = 1 AS wrong_to_right,
               s.rank_before > 1 AND s.rank_after > 1
                   AND s.predicted_before <> s.predicted_after AS wrong_to_wrong,
               s.predicted_after
        FROM side_effects AS s
        JOIN prompts AS p USING (prompt_id)
        JOIN facts_and_the_edit AS f USING (fact_id)
        WHERE s.edit_id = $edit_id
          AND ($prompts IS NULL OR s.prompt_id IN (SELECT unnest($prompts)))
        """,
        {"edit_id": edit_id, "prompts": None if prompts is None else list(prompts)},
    )


def checked_prompts(connection: duckdb.DuckDBPyConnection, edit_id: int) -> list[int]:
    """The prompts that the edit was checked on, in whichever scope."""
    rows = connection.execute(
        """
        SELECT prompt_id
        FROM side_effects
        WHERE edit_id = ?
        ORDER BY prompt_id
        """,
        [edit_id],
    ).fetchall()
    return [int(row[0]) for row in rows]


def group_name(kind: str, checked: str) -> str:
    """What a group is called; the arguments are those of GroupEffect."""
    if checked == "all":
        return kind
    return _NAMES.get((kind, checked), f"{kind}, in part")


def group_effects(connection: duckdb.DuckDBPyConnection) -> list[GroupEffect]:
    """What became of every group in the table effects."""
    rows = fetch(
        connection,
        GroupEffect,
        f"""
        WITH sizes AS (
            SELECT unnest({_GROUPS}) AS member,
                   *
            FROM facts_and_the_edit
        ),
        in_the_index AS (
            SELECT member.place AS place,
                   count(*) AS facts,
                   sum(prompts)::BIGINT AS prompts,
                   sum(prompts) FILTER (shares_neuron) AS of_neighbours,
                   sum(prompts) FILTER (same_relation) AS of_relation,
                   sum(prompts) FILTER (NOT same_relation) AS of_others
            FROM sizes
            GROUP BY member.place
        ),
        members AS (
            SELECT unnest({_GROUPS}) AS member,
                   *
            FROM effects
        )
        SELECT m.member.kind AS group,
               m.member.kind AS kind,
               -- Everything of a part and nothing else: such was the scope.
               CASE
                   WHEN count(*) = any_value(i.prompts) THEN 'all'
                   WHEN bool_and(m.shares_neuron) AND count(*) = any_value(i.of_neighbours)
                       THEN 'neighbours'
                   WHEN bool_and(m.same_relation) AND count(*) = any_value(i.of_relation)
                       THEN 'same relation'
                   WHEN bool_and(NOT m.same_relation) AND count(*) = any_value(i.of_others)
                       THEN 'other relations'
                   ELSE 'part'
               END AS checked,
               count(DISTINCT m.fact_id) AS facts,
               any_value(i.facts) AS of_facts,
               count(*) AS prompts,
               any_value(i.prompts) AS of_prompts,
               avg(m.log_after - m.log_before) AS mean_delta_log_p,
               exp(-avg(m.log_before)) AS perplexity_before,
               exp(-avg(m.log_after)) AS perplexity_after,
               count(*) FILTER (m.right_to_wrong) AS right_to_wrong,
               count(*) FILTER (m.wrong_to_right) AS wrong_to_right,
               count(*) FILTER (m.wrong_to_wrong) AS wrong_to_wrong,
               count(*) FILTER (m.right_to_wrong OR m.wrong_to_right OR m.wrong_to_wrong)
                   AS flips,
               exp(avg(m.log_before - m.log_after)) - 1 AS perplexity_change
        FROM members AS m
        JOIN in_the_index AS i ON i.place = m.member.place
        GROUP BY m.member.kind, m.member.place
        ORDER BY m.member.place
        """,
    )
    return [replace(row, group=group_name(row.kind, row.checked)) for row in rows]


def fact_effects(connection: duckdb.DuckDBPyConnection) -> list[FactEffect]:
    """What became of every fact in the table effects that is not own, most harmed first."""
    return fetch(
        connection,
        FactEffect,
        """
        WITH answers AS (
            SELECT fact_id,
                   predicted_after,
                   row_number() OVER (
                       PARTITION BY fact_id ORDER BY count(*) DESC, predicted_after
                   ) AS place
            FROM effects
            GROUP BY fact_id, predicted_after
        )
        SELECT e.fact_id,
               e.relation_id,
               e.subject,
               e.object,
               max(e.interference) AS interference,
               count(*) AS prompts,
               avg(e.log_after - e.log_before) AS delta_log_p,
               count(*) FILTER (e.right_to_wrong) AS right_to_wrong,
               count(*) FILTER (
                   e.right_to_wrong OR e.wrong_to_right OR e.wrong_to_wrong
               ) AS flips,
               any_value(a.predicted_after) AS predicted_after
        FROM effects AS e
        JOIN answers AS a ON a.fact_id = e.fact_id AND a.place = 1
        WHERE NOT e.own
        GROUP BY e.fact_id, e.relation_id, e.subject, e.object
        ORDER BY delta_log_p, e.fact_id
        """,
    )
