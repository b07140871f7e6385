"""What suppression did over many facts: tables with intervals, and what neurons are neurons of."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import duckdb

from atlas.selection.chosen import OfSelection
from atlas.specificity.controls import CHOSEN, CONTROLS, KINDS
from atlas.specificity.labels import LABELS, wants_partner
from atlas.specificity.partners import GROUPS, OTHERS, OWN
from atlas.specificity.stored import neuron_specificity
from atlas.statistics import Interval, mean_interval, ratio_interval
from atlas.store.rows import fetch, fetch_one


@dataclass(frozen=True)
class GroupEffect:
    """What suppressing neurons did to a group's prompts: means over facts, with 95 % intervals.

    None where nobody was asked; no interval for a single fact. of_own: relative ΔP as a share of
    that on the own prompts of the same facts.
    """

    relation_id: str | None  # None: all that were asked for
    relation: str | None
    neurons: str  # own | random | matched | strongest | commonest
    partners: str  # own | same_relation_and_object | same_relation | same_object | …
    facts: int
    prompts: int
    relative_dp: float | None  # (P after - P before) / P before
    relative_dp_low: float | None
    relative_dp_high: float | None
    delta_log_p: float | None  # nats
    delta_log_p_low: float | None
    delta_log_p_high: float | None
    right_before: int
    right_to_wrong: int
    of_own: float | None
    of_own_low: float | None
    of_own_high: float | None


@dataclass(frozen=True)
class OwnAgainstControl:
    """Own neurons minus a control on the same prompts' facts, paired by fact."""

    relation_id: str | None  # None: all that were asked for
    relation: str | None
    control: str
    partners: str
    facts: int
    relative_dp: float | None
    relative_dp_low: float | None
    relative_dp_high: float | None
    delta_log_p: float | None
    delta_log_p_low: float | None
    delta_log_p_high: float | None


@dataclass(frozen=True)
class LayerLabels:
    """A layer's knowledge neurons of facts, each counted once a fact, by label."""

    layer: int
    neurons: int
    fact: float  # share of them
    subject: float
    answer: float
    relation: float
    unclear: float
    no_partner: float  # unclear for want of a partner: share of them, within unclear


@dataclass(frozen=True)
class SpecificityReport(OfSelection, rows="effects"):
    """What suppressing facts' neurons does to their own prompts and to those of others."""

    position: str  # answer | subject: where activations were set to 0
    facts: int  # measured: known ones with knowledge neurons
    without_half: int  # of those, whose halves of templates chose no neurons to be measured
    neurons: float | None  # suppressed at a time, mean over facts
    controls: int  # random draws
    seed: int
    empty: tuple[str, ...]  # groups that no fact has a partner in
    effects: tuple[GroupEffect, ...]  # over all, then by relation
    against_controls: tuple[OwnAgainstControl, ...]  # over all, then by relation
    labels: tuple[LayerLabels, ...]


@dataclass(frozen=True)
class _OfFact:
    """A fact's effect, the draws of a control averaged."""

    fact_id: str
    relation_id: str
    relation: str
    neurons: str
    partners: str
    prompts: int
    relative_dp: float
    delta_log_p: float
    right_before: int
    right_to_wrong: int


def specificity_report(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    fact_ids: Sequence[str],
    controls: int,
    seed: int,
) -> SpecificityReport:
    """What is stored of these facts, every one of which has been measured."""
    rows = _of_facts(connection, selection_id, fact_ids)
    relations = {(row.relation_id, row.relation): None for row in rows}
    effects, differences = [], []
    for relation_id, relation in [(None, None), *relations]:
        some = [row for row in rows if relation_id in (None, row.relation_id)]
        table = _Table(some, seed)
        effects += [
            table.effect(relation_id, relation, kind, group) for kind in KINDS for group in GROUPS
        ]
        differences += [
            table.difference(relation_id, relation, control, group)
            for control in CONTROLS
            for group in GROUPS
        ]
    position, neurons, without = fetch_one(
        connection,
        """
        SELECT (
                   SELECT position
                   FROM runs
                   JOIN selections USING (run_id)
                   WHERE selection_id = $selection_id
               ),
               avg(neurons) FILTER (prompts > 0),
               count(*) FILTER (prompts = 0)
        FROM specificity_facts
        WHERE selection_id = $selection_id
          AND fact_id IN $facts
        """,
        {"selection_id": selection_id, "facts": list(fact_ids)},
    )
    return SpecificityReport(
        position=position,
        facts=len(fact_ids),
        without_half=without,
        neurons=neurons,
        controls=controls,
        seed=seed,
        empty=tuple(
            group
            for group in OTHERS
            if not any(row.partners == group and row.neurons == CHOSEN for row in rows)
        ),
        effects=tuple(effects),
        against_controls=tuple(differences),
        labels=tuple(_layer_labels(connection, selection_id, fact_ids)),
    )


def _of_facts(
    connection: duckdb.DuckDBPyConnection, selection_id: str, fact_ids: Sequence[str]
) -> list[_OfFact]:
    return fetch(
        connection,
        _OfFact,
        """
        SELECT e.fact_id,
               f.relation_id,
               r.label AS relation,
               e.neurons,
               e.partners,
               sum(e.prompts)::BIGINT AS prompts,
               avg(e.relative_dp::DOUBLE) AS relative_dp,
               avg(e.delta_log_p::DOUBLE) AS delta_log_p,
               sum(e.right_before)::BIGINT AS right_before,
               sum(e.right_to_wrong)::BIGINT AS right_to_wrong
        FROM specificity_effects AS e
        JOIN facts AS f USING (fact_id)
        JOIN relations AS r USING (relation_id)
        WHERE e.selection_id = $selection_id
          AND e.fact_id IN $facts
        GROUP BY e.fact_id, f.relation_id, r.label, e.neurons, e.partners
        ORDER BY length(f.relation_id), f.relation_id, e.fact_id, e.neurons, e.partners
        """,
        {"selection_id": selection_id, "facts": list(fact_ids)},
    )


class _Table:
    """Effects by whose neurons and whose prompts, then by fact."""

    def __init__(self, rows: Sequence[_OfFact], seed: int) -> None:
        self.seed = seed
        self.rows: dict[tuple[str, str], dict[str, _OfFact]] = defaultdict(dict)
        for row in rows:
            self.rows[row.neurons, row.partners][row.fact_id] = row

    def effect(
        self, relation_id: str | None, relation: str | None, kind: str, group: str
    ) -> GroupEffect:
        rows, own = self.rows[kind, group], self.rows[kind, OWN]
        relative = [row.relative_dp for row in rows.values()]
        delta = [row.delta_log_p for row in rows.values()]
        both = rows.keys() & own.keys()
        above = [row.relative_dp for fact_id, row in rows.items() if fact_id in both]
        below = [own[fact_id].relative_dp for fact_id in rows if fact_id in both]
        of_own = fmean(above) / fmean(below) if below and fmean(below) else None
        return GroupEffect(
            relation_id,
            relation,
            kind,
            group,
            len(rows),
            sum(row.prompts for row in rows.values()),
            *_mean(relative, self.seed),
            *_mean(delta, self.seed),
            sum(row.right_before for row in rows.values()),
            sum(row.right_to_wrong for row in rows.values()),
            of_own,
            *_ends(None if of_own is None else ratio_interval(above, below, self.seed)),
        )

    def difference(
        self, relation_id: str | None, relation: str | None, control: str, group: str
    ) -> OwnAgainstControl:
        own, other = self.rows[CHOSEN, group], self.rows[control, group]
        both = [(own[fact_id], other[fact_id]) for fact_id in own if fact_id in other]
        return OwnAgainstControl(
            relation_id,
            relation,
            control,
            group,
            len(both),
            *_mean([a.relative_dp - b.relative_dp for a, b in both], self.seed),
            *_mean([a.delta_log_p - b.delta_log_p for a, b in both], self.seed),
        )


def _mean(values: Sequence[float], seed: int) -> tuple[float | None, float | None, float | None]:
    """The mean and its interval; None where there is none."""
    return (fmean(values) if values else None, *_ends(mean_interval(values, seed)))


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else interval


def _layer_labels(
    connection: duckdb.DuckDBPyConnection, selection_id: str, fact_ids: Sequence[str]
) -> list[LayerLabels]:
    labels: dict[int, list[str]] = defaultdict(list)
    for row in neuron_specificity(connection, selection_id, fact_ids):
        effects: dict[str, float | None] = {group: getattr(row, group) for group in GROUPS}
        labels[row.layer] += [row.label, "no_partner"] if wants_partner(effects) else [row.label]
    found = []
    for layer, some in sorted(labels.items()):
        count = len(some) - some.count("no_partner")
        shares = {name: some.count(name) / count for name in (*LABELS, "no_partner")}
        found.append(LayerLabels(layer, count, **shares))
    return found
