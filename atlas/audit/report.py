"""What a checkpoint did to a run's facts: what differs, who is forecast to suffer, who did."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from atlas.audit.changed import ChangedTensor
from atlas.audit.stored import Noise, stored_noise
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.side_effects.by_relation import RelationDamage, relation_damage
from atlas.side_effects.forecast import ForecastFact, PromptForecasts, forecast_facts
from atlas.side_effects.limits import Limits
from atlas.side_effects.report import (
    FactEffect,
    GroupEffect,
    group_effects,
    most_harmed,
    sum_effects,
)
from atlas.statistics import separation
from atlas.store.rows import fetch

_KINDS = {"all but own": "all", "neighbours": "with a changed neuron"}


@dataclass(frozen=True)
class AuditedNeuron:
    """A changed neuron and the facts that it is a knowledge neuron of."""

    layer: int
    neuron: int
    facts: int
    norm: float  # of the value vector's change
    relative: float  # the same to the value vector's own length


@dataclass(frozen=True)
class Audited:
    """What there is of an audit, before anything is read back."""

    audit_id: str
    checkpoint: str
    run_id: str
    model: str
    identical: bool
    scope: str


@dataclass(frozen=True)
class AuditReport(OfSelection, rows="relations"):
    """A checkpoint beside the run's model.

    groups: prompts asked, all of them and those of facts with a changed knowledge neuron; empty,
    like `relations` and `worst`, where nothing was asked. foretold: the share of pairs of a prompt
    whose answer was lost and one whose was not in which the first was forecast higher (the AUC);
    None where there is no forecast or no such pair.
    """

    audit_id: str
    checkpoint: str
    run_id: str
    model: str  # the run's
    identical: bool  # the weights are the run's own
    scope: str  # all | known | sample:N
    changed_neurons: int
    neurons: tuple[AuditedNeuron, ...]  # those that serve most facts first; at most the limit
    changed_tensors: int
    tensors: tuple[ChangedTensor, ...]  # largest relative change first; at most the limit
    groups: tuple[GroupEffect, ...]
    relations: tuple[RelationDamage, ...]  # most lost answers first
    worst: tuple[FactEffect, ...]  # largest loss of log P first
    noise: Noise | None
    forecast: tuple[ForecastFact, ...]  # highest first; at most the limit
    forecast_facts: int  # that have a forecast
    foretold: float | None
    exceeded: tuple[str, ...] = ()


def relate_changed(
    connection: duckdb.DuckDBPyConnection, audit_id: str, selection: ChosenSelection
) -> None:
    """Make the table facts_and_the_edit of `side_effects`: which facts have changed neurons."""
    connection.execute(
        """
        CREATE OR REPLACE TEMPORARY TABLE facts_and_the_edit AS
        WITH sharing AS (
            SELECT DISTINCT k.fact_id
            FROM knowledge_neurons AS k
            SEMI JOIN (
                FROM audit_neurons
                WHERE audit_id = $audit_id
            ) AS a USING (layer, neuron)
            WHERE k.selection_id = $selection_id
        )
        SELECT f.fact_id,
               f.relation_id,
               f.subject,
               f.object,
               count(*) AS prompts,
               FALSE AS own,
               any_value(s.fact_id) IS NOT NULL AS shares_neuron,
               FALSE AS same_relation,
               FALSE AS kept
        FROM prompt_results AS r
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f USING (fact_id)
        LEFT JOIN sharing AS s USING (fact_id)
        WHERE r.run_id = $run_id
          AND r.skipped_because IS NULL
        GROUP BY f.fact_id, f.relation_id, f.subject, f.object
        """,
        {
            "audit_id": audit_id,
            "run_id": selection.run_id,
            "selection_id": selection.selection_id,
        },
    )


def audit_report(
    connection: duckdb.DuckDBPyConnection,
    about: Audited,
    selection: ChosenSelection,
    prompts: Sequence[int],
    forecasts: PromptForecasts | None,
    limit: int | None,
    limits: Limits | None,
) -> AuditReport:
    """The report on these prompts, after `relate_changed`; none: of what differs alone."""
    _gather(connection, about.audit_id, prompts)
    groups = [
        replace(group, group=_KINDS[group.kind])
        for group in group_effects(connection)
        if group.kind in _KINDS
    ]
    everybody = next((group for group in groups if group.kind == "all but own"), None)
    facts, affected = (0, []) if forecasts is None else forecast_facts(connection, forecasts, limit)
    neurons, changed = _neurons(connection, about.audit_id, selection.selection_id, limit)
    tensors = _tensors(connection, about.audit_id)
    return AuditReport(
        **vars(about),
        changed_neurons=changed,
        neurons=tuple(neurons),
        changed_tensors=len(tensors),
        tensors=tuple(tensors[:limit]),
        groups=tuple(groups),
        relations=tuple(relation_damage(connection)),
        worst=tuple(most_harmed(connection, limit)),
        noise=stored_noise(connection, about.audit_id),
        forecast=tuple(affected),
        forecast_facts=facts,
        foretold=None if forecasts is None else _foretold(connection, about.audit_id, forecasts),
        exceeded=() if limits is None else tuple(limits.exceeded(everybody)),
        selection=selection,
    )


def _gather(connection: duckdb.DuckDBPyConnection, audit_id: str, prompts: Sequence[int]) -> None:
    """Make the table effects of `side_effects`, of these prompts."""
    sum_effects(
        connection,
        """
        SELECT prompt_id,
               0.0 AS interference,
               p_before,
               p_after,
               rank_before,
               rank_after,
               predicted_before,
               predicted_after
        FROM audit_effects
        WHERE audit_id = $audit_id
          AND prompt_id IN (SELECT unnest($prompts::BIGINT[]))
        """,
        {"audit_id": audit_id, "prompts": list(prompts)},
    )


def _neurons(
    connection: duckdb.DuckDBPyConnection, audit_id: str, selection_id: str, limit: int | None
) -> tuple[list[AuditedNeuron], int]:
    """The changed neurons that serve most facts, and how many there are."""
    found = fetch(
        connection,
        AuditedNeuron,
        """
        WITH serving AS (
            SELECT layer,
                   neuron,
                   count(*) AS facts
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
            GROUP BY layer, neuron
        )
        SELECT a.layer::INTEGER AS layer,
               a.neuron,
               coalesce(s.facts, 0) AS facts,
               a.norm,
               a.relative
        FROM audit_neurons AS a
        LEFT JOIN serving AS s USING (layer, neuron)
        WHERE a.audit_id = $audit_id
        ORDER BY facts DESC, a.norm DESC, a.layer, a.neuron
        """,
        {"audit_id": audit_id, "selection_id": selection_id},
    )
    return found[:limit], len(found)


def _tensors(connection: duckdb.DuckDBPyConnection, audit_id: str) -> list[ChangedTensor]:
    return fetch(
        connection,
        ChangedTensor,
        """
        SELECT tensor, parameters, changed, relative
        FROM audit_tensors
        WHERE audit_id = $audit_id
        ORDER BY relative DESC, tensor
        """,
        {"audit_id": audit_id},
    )


def _foretold(
    connection: duckdb.DuckDBPyConnection, audit_id: str, forecasts: PromptForecasts
) -> float | None:
    lost = {
        int(prompt_id): bool(lost)
        for prompt_id, lost in connection.execute(
            """
            SELECT prompt_id, rank_after > 1
            FROM audit_effects
            WHERE audit_id = $audit_id
              AND rank_before = 1
            """,
            {"audit_id": audit_id},
        ).fetchall()
    }
    by_prompt = dict(zip(forecasts.prompt_ids.tolist(), forecasts.forecast.tolist(), strict=True))
    asked = [(by_prompt[prompt], lost[prompt]) for prompt in by_prompt if prompt in lost]
    return separation(
        [forecast for forecast, broken in asked if broken],
        [forecast for forecast, broken in asked if not broken],
    )
