"""Relations erased by zeroing value vectors (Dai et al. 2022, section 5.2).

As in the paper, the value vectors of those neurons are zeroed that are knowledge neurons of most of
the relation's facts, and prompts of the relation are asked beside prompts of other relations, all
that were measured, whether they are answered rightly or not. Here they are of known facts, drawn:
as many of the relation as are asked for, and a prompt each of other relations. Perplexity is exp of
the mean over prompts of -log P(answer). Controls: as many random neurons of the same layers, and
the prompts of other relations. The facts asked are among those that chose the neurons, as in the
paper.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import duckdb
import numpy as np

from atlas.edits.applying import applied
from atlas.edits.edit import Edit
from atlas.edits.making.basis import value_vectors
from atlas.edits.making.neurons import most_frequent
from atlas.edits.making.sources import MeasuredPrompt, measured_prompts
from atlas.engine.probe import Probed, probe
from atlas.errors import NoScores, NotFound
from atlas.evidence.experiments.experiment import (
    Chart,
    Claim,
    Item,
    Measuring,
    Point,
    Row,
    Rows,
    Setting,
    digest,
)
from atlas.models.language_model import LanguageModel
from atlas.selection.chosen import labelled
from atlas.specificity.controls import Neurons, random_alike
from atlas.specificity.stored import known_facts

VERSION = 1
NEURONS = 20  # of a relation, as in the paper
DRAWS = 2  # of random neurons
FEWEST = 3  # known facts that a relation must have
PAPER = ("P19", "P27", "P106", "P937")  # relations that the paper erases
OWN, RANDOM = "its own prompts", "its own prompts, random neurons"
OTHER, OTHER_RANDOM = "other relations", "other relations, random neurons"


@dataclass(frozen=True)
class Erased:
    """A relation, the neurons to be zeroed, and the prompts that are asked."""

    relation_id: str
    neurons: Neurons
    own: tuple[MeasuredPrompt, ...]
    others: tuple[MeasuredPrompt, ...]
    seed: int

    @property
    def draws(self) -> random.Random:
        """What the random controls are drawn with, the same each time."""
        return random.Random(f"erase {self.seed} {self.relation_id}")


class Erase:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        erased = _erased(connection, setting)
        return [
            Item(one.relation_id, None, one, digest(VERSION, DRAWS, one.neurons, *_texts(one)))
            for one in erased
        ]

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        return [row for item in items for row in _rows(measuring.lm, item.task)]

    def claims(self, rows: Rows) -> list[Claim]:
        section = "Dai et al. 2022, section 5.2"
        rise = "rise of perplexity, relative"
        broken = "share of right prompts that become wrong"
        at_random = "as many random neurons of the same layers"
        return [
            Claim(
                "erased",
                "a relation's commonest knowledge neurons erased, its perplexity rises more than "
                "that of other relations (published: by 36 % at least and by 10 % at most)",
                section,
                rise,
                0.36,
                0.10,
                rows.contrast("perplexity", OWN, OTHER),
                "prompts of other relations",
                "higher",
            ),
            Claim(
                "erased, the paper's relations",
                f"the same of {', '.join(PAPER)}, which the paper erases",
                section,
                rise,
                0.36,
                0.10,
                rows.contrast("perplexity, the paper's relations", OWN, OTHER),
                "prompts of other relations",
                "higher",
            ),
            Claim(
                "erased, random",
                "the same beside random neurons erased",
                section,
                rise,
                0.36,
                None,
                rows.contrast("perplexity", OWN, RANDOM),
                at_random,
                "higher",
            ),
            Claim(
                "others are spared",
                "erasing a relation costs other relations no more than erasing random neurons",
                section,
                rise,
                0.10,
                None,
                rows.contrast("perplexity", OTHER, OTHER_RANDOM),
                at_random,
                "lower",
            ),
            Claim(
                "answers broken",
                "more of the relation's right answers become wrong than of other relations'",
                section,
                broken,
                None,
                None,
                rows.contrast("broken", OWN, OTHER),
                "prompts of other relations",
                "higher",
            ),
            Claim(
                "answers broken, random",
                "the same beside random neurons erased",
                section,
                broken,
                None,
                None,
                rows.contrast("broken", OWN, RANDOM),
                at_random,
                "higher",
            ),
            Claim(
                "few flips",
                "erasing a relation moves probabilities more than it changes answers",
                "Niu et al. 2024, section 4",
                broken,
                None,
                None,
                rows.contrast("harm", "flips", "share of P lost"),
                "share of P that these prompts lose",
                "lower",
            ),
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                name,
                title,
                f"Mean over relations of {about}, on the relation's own prompts and on those of "
                "other relations, for its commonest knowledge neurons and for random ones.",
                "prompts and neurons",
                y,
                tuple(
                    Point("relations", series, rows.mean(measure, series))
                    for series in (OWN, RANDOM, OTHER, OTHER_RANDOM)
                ),
            )
            for name, measure, title, about, y in (
                (
                    "perplexity",
                    "perplexity",
                    "Perplexity after a relation is erased",
                    "the relative rise of perplexity",
                    "rise of perplexity",
                ),
                (
                    "broken",
                    "broken",
                    "Right answers lost when a relation is erased",
                    "the share of right prompts that become wrong",
                    "share of right prompts",
                ),
            )
        ]


def _erased(connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Erased]:
    """What is erased of each relation; NotFound unless there are two of enough known facts."""
    selection = setting.selection
    if selection.preset == "published":
        raise NoScores(
            f"run {selection.run_id} is of published neurons, without prompts to ask: ask a run "
            "that measured a model",
            parameters=["run"],
        )
    by_relation: dict[str, list[str]] = defaultdict(list)
    for fact in known_facts(connection, selection.run_id):
        by_relation[fact.relation_id].append(fact.fact_id)
    enough = {
        relation: random.Random(f"asked {setting.seed} {relation}").sample(facts, len(facts))
        for relation, facts in sorted(by_relation.items(), key=lambda of: (len(of[0]), of[0]))
        if len(facts) >= FEWEST
    }
    if len(enough) < 2:
        raise NotFound(
            f"selection {labelled(selection)} has {len(enough)} of the 2 relations with {FEWEST} "
            "known facts that erasing one takes: index more"
        )
    wanted = [fact for drawn in enough.values() for fact in drawn[: setting.limit]]
    prompts: dict[str, list[MeasuredPrompt]] = defaultdict(list)
    for prompt in measured_prompts(connection, selection.run_id, wanted):
        prompts[prompt.fact_id].append(prompt)
    found = []
    for relation, drawn in enough.items():
        most = most_frequent(connection, setting.neurons_of.selection_id, relation, NEURONS)
        neurons = tuple(sorted((one.layer, one.neuron) for one in most))
        if neurons:
            own = [prompt for fact in drawn[: setting.limit] for prompt in prompts[fact]]
            draw = random.Random(f"others {setting.seed} {relation}")
            others = [
                draw.choice(prompts[facts[0]]) for of, facts in enough.items() if of != relation
            ]
            found.append(Erased(relation, neurons, tuple(own), tuple(others), setting.seed))
    if not found:
        raise NotFound(
            f"no relation of selection {labelled(selection)} has a knowledge neuron: there is "
            "nothing to erase",
            parameters=["selection"],
        )
    return found


def _texts(erased: Erased) -> list[list[tuple[str, str]]]:
    return [[(p.text, p.object) for p in some] for some in (erased.own, erased.others)]


def _rows(lm: LanguageModel, erased: Erased) -> Iterator[Row]:
    encoded = [lm.targets(p.text, p.object) for p in (*erased.own, *erased.others)]
    before = probe(lm, encoded)
    draw = erased.draws
    at_random = [random_alike(erased.neurons, lm.neurons_per_layer, draw) for _ in range(DRAWS)]
    own = slice(0, len(erased.own))
    others = slice(len(erased.own), len(encoded))
    sets = [(OWN, OTHER, erased.neurons)]
    sets += [(RANDOM, OTHER_RANDOM, neurons) for neurons in at_random]
    of_series: dict[tuple[str, str], list[float]] = defaultdict(list)
    for on_own, on_others, neurons in sets:
        with applied(lm, _zeroing(lm, erased.relation_id, neurons)):
            after = probe(lm, encoded)
        for series, part in ((on_own, own), (on_others, others)):
            rise, broken, lost = _harm(before, after, part)
            of_series["perplexity", series].append(rise)
            if broken is not None and lost is not None:
                of_series["broken", series].append(broken)
                if series == OWN:
                    of_series["harm", "flips"].append(broken)
                    of_series["harm", "share of P lost"].append(lost)
    item = erased.relation_id
    for (measure, series), values in of_series.items():
        mean = float(np.mean(values))
        yield Row(item, measure, series, None, mean)
        if measure == "perplexity" and item in PAPER:
            yield Row(item, "perplexity, the paper's relations", series, None, mean)


def _harm(before: Probed, after: Probed, part: slice) -> tuple[float, float | None, float | None]:
    """Rise of perplexity; of the right prompts the share broken and the share of P that they lose.

    None where none is right.
    """
    change = after.log_p[part] - before.log_p[part]
    right = before.answer_rank[part] == 1
    rise = float(np.expm1(-change.mean()))
    if not right.any():
        return rise, None, None
    broken = float((after.answer_rank[part][right] > 1).mean())
    return rise, broken, -float(np.expm1(change[right]).mean())


def _zeroing(lm: LanguageModel, relation_id: str, neurons: Neurons) -> Edit:
    """An edit that zeroes the neurons' value vectors; nobody stores it."""
    return Edit(
        kind="erase",
        method="zero",
        weights_sha256=lm.weights_sha256,
        model_identity=lm.identity,
        layers=np.array([layer for layer, _ in neurons]),
        neurons=np.array([neuron for _, neuron in neurons]),
        deltas=-value_vectors(lm, neurons).cpu().numpy(),
        relation_id=relation_id,
        atlas_version=version("knowledge-neuron-atlas"),
    )


EXPERIMENT = Erase()
