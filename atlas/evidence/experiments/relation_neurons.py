"""Neurons of a relation: do they add up, and serve other relations? (Liu et al. 2025, 2502.17355)

A relation's neurons are those that its facts have more often than the facts of any other relation
do, the commonest first. Facts that they are tried on help neither to choose nor to count. So many
of them, or all if there are fewer, are suppressed on prompts of the relation, and on prompts of
some others. Control: as many random neurons of the same layers.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from atlas.errors import NotFound
from atlas.evidence.experiments.experiment import (
    Chart,
    Claim,
    Item,
    Measuring,
    Row,
    Rows,
    Setting,
    digest,
)
from atlas.evidence.experiments.losses import Asked, mean_losses
from atlas.models.language_model import LanguageModel
from atlas.selection.chosen import labelled
from atlas.specificity.controls import Neuron, Neurons, random_alike
from atlas.specificity.partners import HALVES, AskedPrompt, KnownFact
from atlas.specificity.stored import known_facts

BUDGETS = (1, 5, 20, 100)  # neurons, at most
COMPARED = 20  # the budget that claims are about
DRAWS = 2  # of random neurons
OTHERS = 8  # other relations
OTHER_FACTS = 2  # of each of them
OWN, RANDOM = "its neurons", "random"
ONE, MANY = "one neuron", f"up to {COMPARED} neurons"
LOSS, OF_OTHERS, GAIN = "loss", "loss of other relations", "largest gain of another relation"
SOURCE = "Liu et al. 2025, 2502.17355"


@dataclass(frozen=True)
class _Task:
    """neurons: the relation's, the commonest first. others: prompts of other relations, by id."""

    neurons: Neurons
    prompts: tuple[AskedPrompt, ...]
    others: Mapping[str, tuple[AskedPrompt, ...]]
    seed: str


class RelationNeurons:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        selection = setting.selection
        own = _neurons_of_facts(connection, setting.neurons_of.selection_id)
        relations: dict[str, list[KnownFact]] = defaultdict(list)
        for fact in known_facts(connection, selection.run_id):
            if fact.fact_id in own:
                relations[fact.relation_id].append(fact)
        tried = {
            relation: _tried(facts, setting, f"relation {setting.seed} {relation}")
            for relation, facts in sorted(relations.items())
        }
        left_out = {fact.fact_id for facts in tried.values() for fact in facts}
        shares = {
            relation: shares_of([own[f.fact_id] for f in facts if f.fact_id not in left_out])
            for relation, facts in relations.items()
        }
        items = []
        for relation, facts in tried.items():
            neurons = specific(relation, shares)[: max(BUDGETS)]
            if not neurons or not facts or len(tried) < 2:
                continue
            seed = f"relation neurons {setting.seed} {relation}"
            draw = random.Random(seed)
            rest = [other for other in tried if other != relation and tried[other]]
            others = {
                other: _prompts(tried[other][:OTHER_FACTS], draw)
                for other in draw.sample(rest, min(OTHERS, len(rest)))
            }
            task = _Task(neurons, _prompts(facts, draw), others, seed)
            items.append(Item(relation, None, task, digest(1, BUDGETS, DRAWS, task)))
        if not items:
            raise NotFound(
                f"selection {labelled(selection)} has fewer than two relations with two known "
                "facts and neurons of their own: index more"
            )
        return items

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        return [row for item in items for row in _rows(measuring.lm, item.name, item.task)]

    def claims(self, rows: Rows) -> list[Claim]:
        share = f"share of P that suppressing up to {COMPARED} neurons costs"
        alike = "as many random neurons of the same layers"
        return [
            Claim(
                "relation's neurons",
                "a relation has neurons: suppressed, facts that did not choose them lose",
                SOURCE,
                share,
                None,
                None,
                rows.contrast(LOSS, OWN, RANDOM, COMPARED),
                alike,
                "higher",
            ),
            Claim(
                "cumulativity",
                "the more of a relation's neurons are suppressed, the more its facts lose",
                SOURCE,
                "share of P lost",
                None,
                None,
                rows.contrast("cumulated", MANY, ONE),
                "the commonest neuron alone",
                "higher",
            ),
            Claim(
                "versatility",
                "a relation's neurons serve other relations, too: those lose as well",
                SOURCE,
                share,
                None,
                None,
                rows.contrast(OF_OTHERS, OWN, RANDOM, COMPARED),
                alike,
                "higher",
            ),
            Claim(
                "interference",
                "without a relation's neurons some other relation's facts gain",
                SOURCE,
                "share of P that the relation which gains most gains",
                None,
                None,
                rows.contrast(GAIN, OWN, RANDOM, COMPARED),
                f"{alike}, and the relation that gains most from that",
                "higher",
            ),
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                name,
                title,
                f"Mean over relations of the {what}, by the number of a relation's neurons that "
                "are suppressed, and for random neurons.",
                "neurons, at most",
                "share of P lost",
                rows.points(measure),
            )
            for name, title, what, measure in (
                (
                    "own",
                    "What a relation's neurons cost its facts",
                    "share of P(answer) that facts of the relation lose",
                    LOSS,
                ),
                (
                    "others",
                    "What a relation's neurons cost facts of others",
                    "share of P(answer) that facts of other relations lose",
                    OF_OTHERS,
                ),
            )
        ]


def shares_of(facts: Sequence[Neurons]) -> dict[Neuron, float]:
    """In which share of the facts each neuron is."""
    times = Counter(neuron for neurons in facts for neuron in neurons)
    return {neuron: count / len(facts) for neuron, count in times.items()}


def specific(relation: str, shares: Mapping[str, Mapping[Neuron, float]]) -> Neurons:
    """Neurons that are in more of the relation's facts than of any other's, most shares first."""
    own = shares[relation]
    elsewhere = [of for other, of in shares.items() if other != relation]
    found = [
        neuron
        for neuron, share in own.items()
        if all(share > of.get(neuron, 0.0) for of in elsewhere)
    ]
    return tuple(sorted(found, key=lambda neuron: (-own[neuron], neuron)))


def _neurons_of_facts(
    connection: duckdb.DuckDBPyConnection, selection_id: str
) -> dict[str, Neurons]:
    """By real fact; of a null those of the fact's false object."""
    rows = connection.execute(
        """
        SELECT coalesce(f.null_of, f.fact_id),
               list((k.layer::INTEGER, k.neuron) ORDER BY k.layer, k.neuron)
        FROM knowledge_neurons AS k
        JOIN facts AS f USING (fact_id)
        WHERE k.selection_id = $selection_id
        GROUP BY ALL
        """,
        {"selection_id": selection_id},
    ).fetchall()
    return {fact_id: tuple(neurons) for fact_id, neurons in rows}


def _tried(facts: Sequence[KnownFact], setting: Setting, seed: str) -> list[KnownFact]:
    """At most half of the facts, and no more than the setting's limit."""
    half = len(facts) // 2
    count = half if setting.limit is None else min(setting.limit, half)
    return random.Random(seed).sample(list(facts), count)


def _prompts(facts: Sequence[KnownFact], draw: random.Random) -> tuple[AskedPrompt, ...]:
    """A prompt of either half of each fact's templates, where it has one that is right."""
    halves = [
        [prompt for prompt in fact.prompts if prompt.half == half]
        for fact in facts
        for half in range(HALVES)
    ]
    return tuple(draw.choice(prompts) for prompts in halves if prompts)


def _rows(lm: LanguageModel, relation: str, task: _Task) -> list[Row]:
    draw = random.Random(task.seed)
    asked: dict[tuple[str | None, str, int, int], Asked] = {}
    for budget in BUDGETS:
        own = task.neurons[:budget]
        drawn = [random_alike(own, lm.neurons_per_layer, draw) for _ in range(DRAWS)]
        sets = [(OWN, 0, own), *((RANDOM, number, some) for number, some in enumerate(drawn))]
        for series, number, neurons in sets:
            asked[None, series, budget, number] = (task.prompts, neurons)
            for other, prompts in task.others.items():
                asked[other, series, budget, number] = (prompts, neurons)
    losses = mean_losses(lm, asked)
    rows = []
    of_others: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for (whose, series, budget, number), value in losses.items():
        if whose is None:
            rows.append(Row(relation, LOSS, series, budget, value))
        else:
            of_others[series, budget, number].append(value)
    for (series, budget, _), values in of_others.items():
        rows += [
            Row(relation, OF_OTHERS, series, budget, sum(values) / len(values)),
            Row(relation, GAIN, series, budget, -min(values)),
        ]
    for name, budget in ((ONE, 1), (MANY, COMPARED)):
        rows.append(Row(relation, "cumulated", name, None, losses[None, OWN, budget, 0]))
    return rows


EXPERIMENT = RelationNeurons()
