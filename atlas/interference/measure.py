"""Measured interference: a fact's neurons suppressed in the live model, other facts asked.

Suppressing sets the activations of the fact's knowledge neurons to 0 at the run's position. It is
measured on the fact itself, on the `count` facts with the highest predicted interference, and on as
many controls: facts of which no stored score lies on those neurons. Each control is matched to one
of the predicted facts: of the same relation if there is one left, then with the nearest mean
P(answer), so that neither the relation nor how well a fact is known makes the difference.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from atlas.engine.probe import probe
from atlas.facts import FactColumns
from atlas.interference.predicted import interference_report, predicted_interference
from atlas.interference.stored import (
    InterferenceMeasurement,
    MeasuredFact,
    measured_facts,
    record_measurements,
)
from atlas.models.language_model import LanguageModel
from atlas.queries.facts import NamedFact
from atlas.queries.knowledge import no_neuron
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.statistics import separation, spearman
from atlas.store.atlas_file import AtlasFile


@dataclass(frozen=True)
class _InRole:
    role: str  # self | predicted | control


@dataclass(frozen=True)
class Measurement(FactColumns, _InRole):  # the role is the first column
    """What suppressing the source's neurons did to one fact."""

    predicted: float  # share of its score mass on the neurons
    prompts: int
    delta_log_p: float  # mean over prompts, nats
    flips: int  # prompts whose top answer changed
    right_to_wrong: int


@dataclass(frozen=True)
class MeasuredInterference(OfSelection, rows="measurements"):
    """What suppressing a fact's neurons did, and how well it was predicted."""

    fact: NamedFact
    neurons: tuple[tuple[int, int], ...]  # (layer, index), those suppressed
    measurements: tuple[Measurement, ...]  # itself, then predicted, then controls
    spearman: float | None  # of predicted with |Δ log P| over the other facts
    spearman_facts: int  # those
    auc: float | None  # P(|Δ log P| of a predicted fact > that of a control), ties count half
    auc_facts: tuple[int, int]  # predicted ones and controls
    prompts: int
    seconds: float  # in the model


@dataclass(frozen=True)
class _Chosen:
    role: str
    predicted: float
    fact: MeasuredFact


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
    hit = [facts[row.fact_id] for row in report.affected if row.fact_id in facts]
    untouched = [facts[f] for f, share in shares.items() if share == 0 and f in facts and f != own]
    chosen = [_Chosen("self", shares.get(own, 0.0), facts[own])] if own in facts else []
    chosen += [_Chosen("predicted", shares[fact.fact_id], fact) for fact in hit]
    chosen += [_Chosen("control", 0.0, fact) for fact in matched(hit, untouched)]
    started = time.monotonic()
    measured = _measured(lm, report.neurons, chosen)
    seconds = time.monotonic() - started
    with atlas.writing() as connection:
        record_measurements(connection, [_record(selection, own, row) for row in measured])
    others = [row for row in measured if row.role != "self"]
    sizes = {
        role: [abs(row.delta_log_p) for row in others if row.role == role]
        for role in ("predicted", "control")
    }
    return MeasuredInterference(
        fact=report.fact,
        neurons=report.neurons,
        measurements=tuple(measured),
        spearman=spearman(
            [row.predicted for row in others], [abs(row.delta_log_p) for row in others]
        ),
        spearman_facts=len(others),
        auc=separation(sizes["predicted"], sizes["control"]),
        auc_facts=(len(sizes["predicted"]), len(sizes["control"])),
        prompts=sum(row.prompts for row in measured),
        seconds=seconds,
    )


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


def _measured(
    lm: LanguageModel, neurons: Sequence[tuple[int, int]], chosen: Sequence[_Chosen]
) -> list[Measurement]:
    encoded = [
        lm.targets(text, choice.fact.object, end)
        for choice in chosen
        for text, end in zip(choice.fact.texts, choice.fact.subject_ends, strict=True)
    ]
    # Both ways in one pass: equal inputs stand side by side, and causal models share a prefix.
    factors = torch.ones(2, len(encoded), len(neurons))
    factors[1] = 0
    asked = probe(lm, [*encoded, *encoded], neurons=neurons, factors=factors.flatten(0, 1))
    rows, start = [], 0
    for choice in chosen:
        fact, count = choice.fact, len(choice.fact.texts)
        before = slice(start, start + count)
        after = slice(len(encoded) + start, len(encoded) + start + count)
        start += count
        lost = (asked.answer_rank[before] == 1) & (asked.answer_rank[after] > 1)
        pairs = zip(asked.predicted[before], asked.predicted[after], strict=True)
        rows.append(
            Measurement(
                role=choice.role,
                relation_id=fact.relation_id,
                relation=fact.relation,
                fact_id=fact.fact_id,
                subject=fact.subject,
                object=fact.object,
                predicted=choice.predicted,
                prompts=count,
                delta_log_p=float((asked.log_p[after] - asked.log_p[before]).mean()),
                flips=sum(a != b for a, b in pairs),
                right_to_wrong=int(lost.sum()),
            )
        )
    return rows


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
        prompts=row.prompts,
        delta_log_p=row.delta_log_p,
        flips=row.flips,
        right_to_wrong=row.right_to_wrong,
    )
