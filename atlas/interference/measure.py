"""Measured interference: a fact's neurons suppressed in the live model, other facts asked.

Suppressing sets the activations of the fact's knowledge neurons to 0 at the run's position. It is
measured on the fact itself and on two groups of other facts, which are judged apart:

- extremes: the `count` facts with the highest predicted interference, and as many controls, facts
  of which no stored score lies on those neurons. Each control is matched to one of the predicted
  facts: of the same relation if there is one left, then with the nearest mean P(answer), so that
  neither the relation nor how well a fact is known makes the difference.
- random: twice `count` facts drawn from all others, seeded by the fact. Predicting is easy between
  extremes; how well it goes for any fact is told by these.

A fact may be in both groups; it is measured once.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from atlas.engine.probe import probe
from atlas.facts import FactColumns
from atlas.interference.changes import predicted_changes
from atlas.interference.predicted import interference_report, predicted_interference
from atlas.interference.stored import (
    InterferenceMeasurement,
    MeasuredFact,
    measured_facts,
    record_measurements,
)
from atlas.models.language_model import LanguageModel
from atlas.queries.knowledge import no_neuron
from atlas.queries.named_facts import NamedFact
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.statistics import separation, spearman
from atlas.store.atlas_file import AtlasFile


@dataclass(frozen=True)
class _InRole:
    role: str  # self | predicted | control | random


@dataclass(frozen=True)
class Measurement(FactColumns, _InRole):  # the role is the first column
    """What suppressing the source's neurons did to one fact."""

    predicted: float  # share of its score mass on the neurons
    predicted_change: float  # of delta_log_p, from the signed scores
    prompts: int
    delta_log_p: float  # mean over prompts, nats
    flips: int  # prompts whose top answer changed
    right_to_wrong: int


@dataclass(frozen=True)
class Validation:
    """How well the measured effect on some facts was predicted; None where that is undefined."""

    facts: int
    touched: int  # of those, with score mass on the neurons
    spearman: float | None  # of the predicted share of mass with |Δ log P|
    spearman_change: float | None  # of the predicted with the measured Δ log P, signs and all
    auc: float | None  # P(|Δ log P| of a touched fact > that of another), ties count half


@dataclass(frozen=True)
class MeasuredInterference(OfSelection, rows="measurements"):
    """What suppressing a fact's neurons did, and how well it was predicted."""

    fact: NamedFact
    neurons: tuple[tuple[int, int], ...]  # (layer, index), those suppressed
    measurements: tuple[Measurement, ...]  # itself, then predicted, controls and random ones
    extremes: Validation  # over the predicted ones and their controls
    random: Validation  # over a random sample of all other facts
    prompts: int
    seconds: float  # in the model


@dataclass(frozen=True)
class _Chosen:
    role: str
    predicted: float
    predicted_change: float
    fact: MeasuredFact


@dataclass(frozen=True)
class _Effect:
    """On one fact: what Measurement says of it."""

    prompts: int
    delta_log_p: float
    flips: int
    right_to_wrong: int


def measure_interference(
    atlas: AtlasFile, lm: LanguageModel, selection: ChosenSelection, wanted: str, count: int = 20
) -> MeasuredInterference:
    """Suppress a fact's knowledge neurons, ask the chosen facts, and store what came out.

    Raises NotFound for a fact without knowledge neurons, and what `interference_report` raises.
    """
    with atlas.reading() as connection:
        report = interference_report(connection, selection, wanted, count)
        if not report.neurons:
            raise no_neuron(connection, selection, report.fact)
        everything = predicted_interference(
            connection, selection.run_id, report.neurons, zeros=True
        )
        facts = {fact.fact_id: fact for fact in measured_facts(connection, selection.run_id)}
        shares = {row.fact_id: row.predicted for row in everything}
        own = report.fact.fact_id
        others = [facts[f] for f in shares if f in facts and f != own]
        hit = [facts[row.fact_id] for row in report.affected if row.fact_id in facts]
        controls = matched(hit, [fact for fact in others if shares[fact.fact_id] == 0])
        asked = [("self", facts[own])] if own in facts else []
        asked += [("predicted", fact) for fact in hit]
        asked += [("control", fact) for fact in controls]
        asked += [("random", fact) for fact in drawn(own, others, 2 * count)]
        changes = predicted_changes(
            connection, selection.run_id, report.neurons, [fact.fact_id for _, fact in asked]
        )
    chosen = [
        _Chosen(role, shares.get(fact.fact_id, 0.0), changes[fact.fact_id], fact)
        for role, fact in asked
    ]
    started = time.monotonic()
    effects = _effects(lm, report.neurons, {choice.fact.fact_id: choice.fact for choice in chosen})
    seconds = time.monotonic() - started
    measured = [_measurement(choice, effects[choice.fact.fact_id]) for choice in chosen]
    with atlas.writing() as connection:
        record_measurements(connection, [_record(selection, own, row) for row in measured])
    return MeasuredInterference(
        fact=report.fact,
        neurons=report.neurons,
        measurements=tuple(measured),
        extremes=validation([row for row in measured if row.role in ("predicted", "control")]),
        random=validation([row for row in measured if row.role == "random"]),
        prompts=sum(effect.prompts for effect in effects.values()),
        seconds=seconds,
    )


def validation(rows: Sequence[Measurement]) -> Validation:
    """How well these measurements were predicted."""
    sizes = [abs(row.delta_log_p) for row in rows]
    touched = [size for row, size in zip(rows, sizes, strict=True) if row.predicted > 0]
    others = [size for row, size in zip(rows, sizes, strict=True) if row.predicted == 0]
    return Validation(
        facts=len(rows),
        touched=len(touched),
        spearman=spearman([row.predicted for row in rows], sizes),
        spearman_change=spearman(
            [row.predicted_change for row in rows], [row.delta_log_p for row in rows]
        ),
        auc=separation(touched, others),
    )


def drawn(source_fact: str, pool: Sequence[MeasuredFact], count: int) -> list[MeasuredFact]:
    """A random sample that depends on the source and on what is in the pool, not on its order.

    A larger one begins with the smaller one.
    """

    def place(fact: MeasuredFact) -> str:
        return hashlib.md5(f"{source_fact}:{fact.fact_id}".encode()).hexdigest()

    return sorted(pool, key=place)[:count]


def matched(facts: Sequence[MeasuredFact], pool: Sequence[MeasuredFact]) -> list[MeasuredFact]:
    """For each of the facts one of the pool, none twice; fewer if the pool is smaller."""
    left = list(pool)
    found = []
    for fact in facts[: len(pool)]:
        best = min(
            left,
            key=lambda other: (
                other.relation_id != fact.relation_id,
                abs(other.mean_p_answer - fact.mean_p_answer),
                other.fact_id,
            ),
        )
        left.remove(best)
        found.append(best)
    return found


def _effects(
    lm: LanguageModel, neurons: Sequence[tuple[int, int]], facts: Mapping[str, MeasuredFact]
) -> dict[str, _Effect]:
    """By fact id, what suppressing the neurons does."""
    encoded = [
        lm.targets(text, fact.object, end)
        for fact in facts.values()
        for text, end in zip(fact.texts, fact.subject_ends, strict=True)
    ]
    # Both ways in one pass: equal inputs stand side by side, and causal models share a prefix.
    factors = torch.ones(2, len(encoded), len(neurons))
    factors[1] = 0
    asked = probe(lm, [*encoded, *encoded], neurons=neurons, factors=factors.flatten(0, 1))
    effects, start = {}, 0
    for fact_id, fact in facts.items():
        count = len(fact.texts)
        before = slice(start, start + count)
        after = slice(len(encoded) + start, len(encoded) + start + count)
        start += count
        lost = (asked.answer_rank[before] == 1) & (asked.answer_rank[after] > 1)
        pairs = zip(asked.predicted[before], asked.predicted[after], strict=True)
        effects[fact_id] = _Effect(
            prompts=count,
            delta_log_p=float((asked.log_p[after] - asked.log_p[before]).mean()),
            flips=sum(a != b for a, b in pairs),
            right_to_wrong=int(lost.sum()),
        )
    return effects


def _measurement(choice: _Chosen, effect: _Effect) -> Measurement:
    fact = choice.fact
    return Measurement(
        role=choice.role,
        relation_id=fact.relation_id,
        relation=fact.relation,
        fact_id=fact.fact_id,
        subject=fact.subject,
        object=fact.object,
        predicted=choice.predicted,
        predicted_change=choice.predicted_change,
        prompts=effect.prompts,
        delta_log_p=effect.delta_log_p,
        flips=effect.flips,
        right_to_wrong=effect.right_to_wrong,
    )


def _record(
    selection: ChosenSelection, source_fact: str, row: Measurement
) -> InterferenceMeasurement:
    return InterferenceMeasurement(
        run_id=selection.run_id,
        selection_id=selection.selection_id,
        source_fact=source_fact,
        fact_id=row.fact_id,
        role=row.role,
        predicted=row.predicted,
        predicted_change=row.predicted_change,
        prompts=row.prompts,
        delta_log_p=row.delta_log_p,
        flips=row.flips,
        right_to_wrong=row.right_to_wrong,
    )
