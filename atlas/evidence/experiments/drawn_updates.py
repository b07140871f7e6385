"""Facts that are to get other objects by the paper's rule, and the rule on other neurons.

As in the paper, the new object is that of another fact of the relation, drawn; neurons of more than
a tenth of the relation's facts are not edited, and a fact that has no others is left out.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version

import duckdb
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from atlas.edits.edit import Edit
from atlas.edits.making.basis import value_vectors
from atlas.edits.making.directions import paper_deltas
from atlas.edits.making.neurons import common_neurons
from atlas.edits.making.paper import paper_directions
from atlas.edits.making.settings import COMMON, EditSettings
from atlas.errors import NotFound
from atlas.evidence.experiments.experiment import Setting, digest
from atlas.facts import as_name
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target, UnusablePrompt
from atlas.selection.chosen import labelled
from atlas.specificity.activations import site_activations
from atlas.specificity.controls import Neurons
from atlas.specificity.partners import AskedPrompt
from atlas.specificity.plan import FactPlan

RULES = {
    "as published": EditSettings(method="paper"),
    "through the head": EditSettings(method="paper", pull_back=True),
}
"""The rule with the rows of the output embedding, and with what the head makes of them."""


@dataclass(frozen=True, eq=False)
class DrawnUpdate:
    """A fact that is to get a new object, and the neurons that an edit changes.

    neurons: the fact's, without those that are common in its relation; by_half: the same of those
    that the prompts of either half choose alone.
    """

    plan: FactPlan
    new_object: str
    neurons: Neurons
    by_half: tuple[Neurons, ...]

    @property
    def asked(self) -> str:
        """Digest of everything that decides the deltas and the answers, but for the model."""
        rules = [(rule.lambda1, rule.lambda2, rule.pull_back) for rule in RULES.values()]
        return digest(
            self.plan.asked, _texts(self.plan), self.new_object, self.neurons, self.by_half, rules
        )


class Asked:
    """A fact's prompts with the old object as the answer and with the new one.

    Left out are prompts that the model cannot be asked for the new object.
    """

    def __init__(self, lm: LanguageModel, update: DrawnUpdate) -> None:
        self.lm, self.update = lm, update
        self.prompts: list[AskedPrompt] = []
        self.old: list[list[Target]] = []
        self.new: list[list[Target]] = []
        self._directions: dict[tuple[tuple[int, ...], bool], tuple[Tensor, Tensor]] = {}
        for prompt in update.plan.fact.prompts:
            try:
                new = lm.targets(prompt.text, update.new_object, prompt.subject_end)
            except UnusablePrompt:
                continue
            self.prompts.append(prompt)
            self.old.append(lm.targets(prompt.text, prompt.object, prompt.subject_end))
            self.new.append(new)

    def of_half(self, half: int) -> list[int]:
        """The places of the prompts of this half of the templates."""
        return [place for place, prompt in enumerate(self.prompts) if prompt.half == half]

    @cached_property
    def _activations(self) -> list[NDArray[np.float32]]:
        """By prompt the mean activation over the old object's tokens, [layer, neuron]."""
        every = site_activations(self.lm, [one for targets in self.old for one in targets])
        ends = np.cumsum([len(targets) for targets in self.old])
        return [part.mean(0) for part in np.split(every, ends[:-1])]

    def _towards(self, prompts: tuple[int, ...], pull_back: bool) -> tuple[Tensor, Tensor]:
        """The rule's directions, which are the same for all neurons."""
        if (prompts, pull_back) not in self._directions:
            old, new = ([of[place] for place in prompts] for of in (self.old, self.new))
            found = paper_directions(self.lm, old, new, pull_back=pull_back)
            self._directions[prompts, pull_back] = found
        return self._directions[prompts, pull_back]

    def edit(self, neurons: Neurons, prompts: Sequence[int], rule: EditSettings) -> Edit:
        """The update by the rule on these neurons, made from these prompts; nobody stores it."""
        lm, fact = self.lm, self.update.plan.fact
        mean = np.mean([self._activations[place] for place in prompts], axis=0)
        signs = np.array([[-1.0] if mean[neuron] < 0 else [1.0] for neuron in neurons])
        vectors = value_vectors(lm, neurons)
        e_old, e_new = self._towards(tuple(prompts), rule.pull_back)
        deltas = paper_deltas(vectors, e_old, e_new, rule.lambda1, rule.lambda2)
        return Edit(
            kind="update",
            method="paper",
            weights_sha256=lm.weights_sha256,
            model_identity=lm.identity,
            layers=np.array([layer for layer, _ in neurons]),
            neurons=np.array([neuron for _, neuron in neurons]),
            deltas=signs * deltas.cpu().numpy(),
            relation_id=fact.relation_id,
            fact_id=fact.fact_id,
            subject=fact.subject,
            old_object=fact.object,
            new_object=self.update.new_object,
            atlas_version=version("knowledge-neuron-atlas"),
        )


def drawn_updates(
    connection: duckdb.DuckDBPyConnection, setting: Setting, plans: Iterable[FactPlan]
) -> list[DrawnUpdate]:
    """An update of each fact that has neurons to edit and another object to get.

    Raises NotFound where no fact has.
    """
    selection, whose = setting.selection, setting.neurons_of
    objects = _objects(connection, selection.run_id)
    common: dict[str, set[tuple[int, int]]] = {}
    found = []
    for plan in plans:
        fact, relation = plan.fact, plan.fact.relation_id
        if relation not in common:
            common[relation] = common_neurons(connection, whose.selection_id, relation, COMMON)
        neurons, *by_half = (
            tuple(neuron for neuron in some if neuron not in common[relation])
            for some in (plan.chosen.neurons, *plan.chosen.by_half)
        )
        others = _others(objects[relation], fact.subject)
        if neurons and others:
            new_object = random.Random(f"update {setting.seed} {fact.fact_id}").choice(others)
            found.append(DrawnUpdate(plan, new_object, neurons, tuple(by_half)))
    if not found:
        raise NotFound(
            f"no known fact of selection {labelled(selection)} has both a neuron that few others "
            "of its relation have and another object to get: index more facts"
        )
    return found


def _texts(plan: FactPlan) -> list[tuple[str, str, int | None, int]]:
    return [(p.text, p.object, p.subject_end, p.half) for p in plan.fact.prompts]


def _others(objects: Sequence[tuple[str, str]], subject: str) -> list[str]:
    """The objects of a relation's facts, one a fact, but for those that the subject has."""
    own = {as_name(object_) for name, object_ in objects if name == as_name(subject)}
    return [object_ for _, object_ in objects if as_name(object_) not in own]


def _objects(
    connection: duckdb.DuckDBPyConnection, run_id: str
) -> Mapping[str, list[tuple[str, str]]]:
    """By relation subject (as a name) and object of every real fact that the run measured."""
    rows = connection.execute(
        """
        WITH measured AS (
            SELECT DISTINCT p.fact_id
            FROM prompt_results AS m
            JOIN prompts AS p USING (prompt_id)
            WHERE m.run_id = $run_id
              AND m.skipped_because IS NULL
        )
        SELECT f.relation_id,
               f.subject,
               f.object
        FROM facts AS f
        SEMI JOIN measured USING (fact_id)
        WHERE f.null_of IS NULL
        ORDER BY f.relation_id, f.fact_id
        """,
        {"run_id": run_id},
    ).fetchall()
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for relation_id, subject, object_ in rows:
        found[relation_id].append((as_name(subject), object_))
    return found
