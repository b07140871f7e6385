"""What an edit did to the prompts that it was checked on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
    interference, lost = _felt(connection)
    return SideEffectReport(
        edit_id=by.edit_id,
        run_id=by.run_id,
        selection_id=by.selection_id,
        prompts=sum(g.prompts for g in groups if g.kind in ("own", "all but own")),
        groups=tuple(groups),
        worst=tuple(most_harmed(connection, worst)),
        facts=len(lost),
        correlation=spearman(interference, lost),
    )


def gather_effects(
    connection: duckdb.DuckDBPyConnection, edit_id: int, prompts: Sequence[int] | None = None
) -> None:
    """`sum_effects` of what the edit did to these prompts, or to all that it was checked on."""
    sum_effects(
        connection,
        """
        SELECT *
        FROM side_effects
        WHERE edit_id = $edit_id
          AND ($prompts IS NULL OR prompt_id IN (SELECT unnest($prompts)))
        """,
        {"edit_id": edit_id, "prompts": None if prompts is None else list(prompts)},
    )


def sum_effects(
    connection: duckdb.DuckDBPyConnection, asked: str, parameters: Mapping[str, Any]
) -> None:
    """Make the table effects of this connection, a row a fact that was asked, after `relate_facts`.

    asked: a query for prompts before and after, with the columns of `side_effects`. The table says
    how a fact's prompts changed, and what the fact is to the edit. Prompts are summed up once: they
    are ten times as many as facts, and several reports read the table.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE effects AS
        WITH by_answer AS (
            SELECT p.fact_id,
                   s.predicted_after,
                   count(*) AS prompts,
                   max(s.interference) AS interference,
                   sum(ln(greatest(s.p_before, {SMALLEST_P}))) AS log_before,
                   sum(ln(greatest(s.p_after, {SMALLEST_P}))) AS log_after,
                   count(*) FILTER (s.rank_before = 1) AS right_before,
                   count(*) FILTER (s.rank_before = 1 AND s.rank_after > 1) AS right_to_wrong,
                   count(*) FILTER (s.rank_before > 1 AND s.rank_after = 1) AS wrong_to_right,
                   count(*) FILTER (
                       s.rank_before > 1
                       AND s.rank_after > 1
                       AND s.predicted_before <> s.predicted_after
                   ) AS wrong_to_wrong
            FROM (
                {asked}
            ) AS s
            JOIN prompts AS p USING (prompt_id)
            GROUP BY p.fact_id, s.predicted_after
        ),
        by_fact AS (
            SELECT fact_id,
                   sum(prompts)::BIGINT AS prompts,
                   max(interference) AS interference,
                   sum(log_before) AS log_before,
                   sum(log_after) AS log_after,
                   sum(right_before)::BIGINT AS right_before,
                   sum(right_to_wrong)::BIGINT AS right_to_wrong,
                   sum(wrong_to_right)::BIGINT AS wrong_to_right,
                   sum(wrong_to_wrong)::BIGINT AS wrong_to_wrong,
                   arg_min(predicted_after, (-prompts, predicted_after)) AS predicted_after
            FROM by_answer
            GROUP BY fact_id
        )
        SELECT f.relation_id,
               f.subject,
               f.object,
               f.own,
               f.shares_neuron,
               f.same_relation,
               f.kept,
               e.*
        FROM by_fact AS e
        JOIN facts_and_the_edit AS f USING (fact_id)
        """,
        dict(parameters),
    )


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
                   WHEN sum(m.prompts) = any_value(i.prompts) THEN 'all'
                   WHEN bool_and(m.shares_neuron) AND sum(m.prompts) = any_value(i.of_neighbours)
                       THEN 'neighbours'
                   WHEN bool_and(m.same_relation) AND sum(m.prompts) = any_value(i.of_relation)
                       THEN 'same relation'
                   WHEN bool_and(NOT m.same_relation) AND sum(m.prompts) = any_value(i.of_others)
                       THEN 'other relations'
                   ELSE 'part'
               END AS checked,
               count(*) AS facts,
               any_value(i.facts) AS of_facts,
               sum(m.prompts)::BIGINT AS prompts,
               any_value(i.prompts) AS of_prompts,
               sum(m.log_after - m.log_before) / sum(m.prompts) AS mean_delta_log_p,
               exp(-sum(m.log_before) / sum(m.prompts)) AS perplexity_before,
               exp(-sum(m.log_after) / sum(m.prompts)) AS perplexity_after,
               sum(m.right_to_wrong)::BIGINT AS right_to_wrong,
               sum(m.wrong_to_right)::BIGINT AS wrong_to_right,
               sum(m.wrong_to_wrong)::BIGINT AS wrong_to_wrong,
               sum(m.right_to_wrong + m.wrong_to_right + m.wrong_to_wrong)::BIGINT AS flips,
               exp(sum(m.log_before - m.log_after) / sum(m.prompts)) - 1 AS perplexity_change
        FROM members AS m
        JOIN in_the_index AS i ON i.place = m.member.place
        GROUP BY m.member.kind, m.member.place
        ORDER BY m.member.place
        """,
    )
    return [replace(row, group=group_name(row.kind, row.checked)) for row in rows]


def _felt(connection: duckdb.DuckDBPyConnection) -> tuple[list[float], list[float]]:
    """Predicted interference and mean |delta log P| of the facts that are not own, in one order."""
    found: dict[str, Any] = connection.execute(
        """
        SELECT interference::DOUBLE AS interference,
               abs(log_after - log_before) / prompts AS lost
        FROM effects
        WHERE NOT own
        """
    ).fetchnumpy()
    return found["interference"].tolist(), found["lost"].tolist()


def most_harmed(connection: duckdb.DuckDBPyConnection, limit: int | None) -> list[FactEffect]:
    """Of the facts in the table effects that are not own and lost, those that lost most."""
    return fetch(
        connection,
        FactEffect,
        """
        SELECT fact_id,
               relation_id,
               subject,
               object,
               interference,
               prompts,
               (log_after - log_before) / prompts AS delta_log_p,
               right_to_wrong,
               right_to_wrong + wrong_to_right + wrong_to_wrong AS flips,
               predicted_after
        FROM effects
        WHERE NOT own
          AND log_after < log_before
        ORDER BY delta_log_p, fact_id
        LIMIT $limit
        """,
        {"limit": limit},
    )
