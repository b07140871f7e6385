"""Examining facts on the live model: which neurons interact, and what removes the answer."""

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from atlas.distributed.tables import rows_as_table, table_as_rows
from atlas.distributed.workers import Tables, Workers, lone
from atlas.engine.suppression import Suppressed, ask_suppressed
from atlas.given_up import NotMeasured
from atlas.interactions.plan import Examined, Question, Reply, examine, examine_together
from atlas.interactions.stored import (
    FactInteractions,
    Interaction,
    UnexaminedFact,
    record_interactions,
)
from atlas.models.language_model import LanguageModel
from atlas.progress import Advance
from atlas.prompts import Target
from atlas.store.atlas_file import AtlasFile

FACTS, QUESTIONS = 64, 100_000  # examined side by side; questions that they may ask at once


@dataclass(frozen=True)
class ExaminedFacts:
    """Rows to be recorded."""

    facts: tuple[FactInteractions, ...]
    pairs: tuple[Interaction, ...]


def side_by_side(facts: Sequence[UnexaminedFact]) -> Iterator[list[UnexaminedFact]]:
    """The facts in batches that fit into memory, whatever the number of their neurons."""
    batch: list[UnexaminedFact] = []
    questions = 0
    for fact in facts:
        own = len(fact.texts) * (2 + len(fact.neurons) * (len(fact.neurons) + 1) // 2)
        if batch and (len(batch) == FACTS or questions + own > QUESTIONS):
            yield batch
            batch, questions = [], 0
        batch.append(fact)
        questions += own
    if batch:
        yield batch


def examine_and_record(
    atlas: AtlasFile,
    lm: LanguageModel,
    selection_id: str,
    facts: Sequence[UnexaminedFact],
    wait: float = 60.0,
    workers: Workers | None = None,
) -> Generator[Advance, None, None]:
    """Examine the facts some at a time and store what comes out; yields where that stands.

    workers: who asks the model; None: this process.
    """
    started = time.monotonic()
    at = Advance("interactions", 0, len(facts), unit="facts")
    yield at
    crew = lone(lm, workers)
    steps = ((len(batch), batch) for batch in side_by_side(facts))
    with contextlib.closing(crew.outcomes(Examining(selection_id), steps)) as outcomes:
        for size, outcome in outcomes:
            at = replace(at, done=at.done + size, workers=crew.count)
            if outcome.result is not None:
                with atlas.writing(wait) as connection:
                    record_interactions(connection, outcome.result.facts, outcome.result.pairs)
                at = replace(at, computed=at.computed + size)
            if outcome.given_up is not None:
                lost = NotMeasured.task(at.what, size, "fact", outcome.given_up)
                at = replace(at, given_up=(*at.given_up, lost))
            yield replace(at, seconds=time.monotonic() - started)


@dataclass(frozen=True)
class Examining:
    """Examine facts side by side; `Work` of the interactions."""

    selection_id: str

    def measure(self, lm: LanguageModel, task: Sequence[UnexaminedFact]) -> ExaminedFacts:
        return examine_facts(lm, self.selection_id, task)

    def to_tables(self, result: ExaminedFacts) -> Tables:
        return {
            "facts": rows_as_table(FactInteractions, result.facts),
            "pairs": rows_as_table(Interaction, result.pairs),
        }

    def from_tables(self, tables: Tables) -> ExaminedFacts:
        return ExaminedFacts(
            tuple(table_as_rows(FactInteractions, tables["facts"])),
            tuple(table_as_rows(Interaction, tables["pairs"])),
        )


def examine_facts(
    lm: LanguageModel, selection_id: str, facts: Sequence[UnexaminedFact]
) -> ExaminedFacts:
    """Examine the facts side by side, rows = sets of suppressed neurons × prompts.

    Prompts whose answer is not on top when the model is asked here play no part. Raises ModelError
    if the model returns NaN, UnusablePrompt if a prompt cannot be asked of this model.
    """
    encoded = {fact.fact_id: _encoded(lm, fact) for fact in facts}
    together = examine_together(
        {fact.fact_id: examine(len(fact.neurons), len(fact.texts)) for fact in facts}
    )
    own = {fact.fact_id: fact.named_neurons for fact in facts}
    try:
        questions = next(together)
        while True:
            asked = [
                (fact_id, question) for fact_id, some in questions.items() for question in some
            ]
            replies: dict[str, list[Reply]] = {fact_id: [] for fact_id in questions}
            answers = ask_suppressed(
                lm, [_suppressed(encoded[f], own[f], question) for f, question in asked]
            )
            for (fact_id, _), log_p, on_top in zip(
                asked, answers.log_p.tolist(), answers.on_top.tolist(), strict=True
            ):
                replies[fact_id].append(Reply(log_p, on_top))
            questions = together.send(replies)
    except StopIteration as end:
        examined: dict[str, Examined] = end.value
    return ExaminedFacts(
        tuple(_fact_row(selection_id, fact, examined[fact.fact_id]) for fact in facts),
        tuple(
            row for fact in facts for row in _pair_rows(selection_id, fact, examined[fact.fact_id])
        ),
    )


def _encoded(lm: LanguageModel, fact: UnexaminedFact) -> list[list[Target]]:
    return [
        lm.targets(text, fact.object, end)
        for text, end in zip(fact.texts, fact.subject_ends, strict=True)
    ]


def _suppressed(
    prompts: Sequence[Sequence[Target]], neurons: Sequence[tuple[int, int]], question: Question
) -> Suppressed:
    return Suppressed(
        prompts[question.prompt], tuple(neurons[number] for number in question.suppressed)
    )


def _fact_row(selection_id: str, fact: UnexaminedFact, found: Examined) -> FactInteractions:
    smallest = found.exact[0] if found.exact else found.greedy
    named = fact.named_neurons
    return FactInteractions(
        selection_id=selection_id,
        fact_id=fact.fact_id,
        neurons=len(named),
        prompts=found.prompts,
        log_p=found.log_p,
        effect_all=found.effect_all,
        kept_all=found.kept_all,
        removing_greedy=None if found.greedy is None else len(found.greedy),
        removing_exact=len(found.exact[0]) if found.exact else None,
        removing_sets=None if found.exact is None else len(found.exact),
        removing_neurons=None
        if smallest is None
        else " ".join(f"{layer}:{neuron}" for layer, neuron in (named[i] for i in smallest)),
        asked=fact.asked,
    )


def _pair_rows(selection_id: str, fact: UnexaminedFact, found: Examined) -> list[Interaction]:
    named = fact.named_neurons
    return [
        Interaction(
            selection_id,
            fact.fact_id,
            *named[pair.a],
            *named[pair.b],
            pair.effect_a,
            pair.effect_b,
            pair.effect_ab,
            pair.interaction,
            pair.kept_a,
            pair.kept_b,
            pair.kept_ab,
        )
        for pair in found.pairs
    ]
