"""The null: facts whose objects are shuffled within their relation, so that none of them is true.

What is measured on them beside the real run shows what a headline would be of facts that the model
cannot know: same subjects, same templates, same objects, as often.
"""

import json
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

from atlas.facts import Dataset, Fact, Relation, as_name

_NULL_NAMESPACE = uuid.UUID("b7c2f0de-6f0b-5d0e-9b54-0f0a3d3c5a11")


@dataclass(frozen=True)
class Shuffled:
    """A dataset of null facts; `null_of` of each is the fact whose object was replaced."""

    dataset: Dataset
    left_out: tuple[str, ...]  # relations in which no shuffling makes every fact false
    seed: int


def shuffled(dataset: Dataset, seed: int) -> Shuffled:
    """The dataset with the objects of each relation permuted over its facts.

    A relation's permutation depends on the seed and its facts alone, not on their order.
    """
    relations, left_out = [], []
    for relation in dataset.relations:
        objects = shuffled_objects(relation.facts, seed)
        if objects is None:
            left_out.append(relation.relation_id)
        else:
            relations.append(_with_objects(relation, objects))
    null = Dataset(f"{dataset.name}, objects shuffled", tuple(relations))
    return Shuffled(null, tuple(left_out), seed)


def shuffled_objects(facts: Sequence[Fact], seed: int) -> list[str] | None:
    """An object for each fact of a relation: a permutation of theirs that makes every one false.

    False is what no fact of the same subject says, names being compared as `as_name` reads them.
    None where there is no such permutation: an object that more than half of the facts have
    leaves too few others.
    """
    if not facts:
        return []
    order = sorted(range(len(facts)), key=lambda i: facts[i].fact_id)
    right: dict[str, set[str]] = {}
    for fact in facts:
        right.setdefault(as_name(fact.subject), set()).add(as_name(fact.object))
    avoided = [right[as_name(facts[i].subject)] for i in order]
    random = Random(f"{seed} {facts[0].relation_id}")
    drawn = [facts[i].object for i in order]
    random.shuffle(drawn)
    names = [as_name(name) for name in drawn]
    for place in range(len(drawn)):
        if names[place] in avoided[place]:
            ring = _ring(place, names, avoided, random)
            if ring is None:
                return None
            for values in (drawn, names):
                first = values[ring[0]]
                for here, there in pairwise(ring):
                    values[here] = values[there]
                values[ring[-1]] = first
    objects = [""] * len(facts)
    for place, name in zip(order, drawn, strict=True):
        objects[place] = name
    return objects


def _ring(
    start: int, names: Sequence[str], avoided: Sequence[set[str]], random: Random
) -> list[int] | None:
    """Places of which each may have the next one's name, from `start`; the last has start's.

    The last may have it, or had one that it must not have anyway: an augmenting path (Berge 1957),
    so that there is one wherever all places can be served at once.
    """
    unseen = [place for place in range(len(names)) if place != start]
    random.shuffle(unseen)
    came_from, waiting = {start: start}, deque([start])
    while waiting:
        here = waiting.popleft()
        left = []
        for there in unseen:
            if names[there] in avoided[here]:
                left.append(there)
                continue
            came_from[there] = here
            if names[there] in avoided[there] or names[start] not in avoided[there]:
                return _path(came_from, there)
            waiting.append(there)
        unseen = left
    return None


def _path(came_from: dict[int, int], end: int) -> list[int]:
    path = [end]
    while came_from[path[-1]] != path[-1]:
        path.append(came_from[path[-1]])
    return path[::-1]


def _with_objects(relation: Relation, objects: Sequence[str]) -> Relation:
    facts = tuple(
        replace(
            fact, fact_id=_null_fact_id(fact, new_object), object=new_object, null_of=fact.fact_id
        )
        for fact, new_object in zip(relation.facts, objects, strict=True)
    )
    return replace(relation, facts=facts)


def _null_fact_id(fact: Fact, new_object: str) -> str:
    """Its own, for elsewhere the triple may be a fact; changing this changes every id."""
    return str(uuid.uuid5(_NULL_NAMESPACE, json.dumps([fact.fact_id, new_object])))
