"""Whose prompts are asked beside a fact's own, and which of the known facts are drawn for that.

Names are compared in composed characters, whatever their case. A fact with the same subject and
relation, or the same subject and object, is in no group: it is nearly the fact itself.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atlas.facts import FactColumns, as_name

OWN = "own"
# Group, and how it is called in words; every group but the first is of other facts.
GROUPS = {
    OWN: "own prompts",
    "same_relation_and_object": "same relation and object",
    "same_relation": "same relation, other object",
    "same_object": "other relation, same object",
    "same_subject": "same subject, other relation",
    "unrelated": "unrelated",
}
OTHERS = tuple(GROUPS)[1:]

HALVES = 2


@dataclass(frozen=True)
class AskedPrompt:
    """A prompt whose top answer is its object; `text` still has [Y].

    half: that of its template among its relation's, 0 or 1. subject_end: as `lm.targets` takes it;
    None where the run measured at the answer position.
    """

    fact_id: str
    text: str
    object: str
    subject_end: int | None
    half: int


@dataclass(frozen=True)
class KnownFact(FactColumns):
    """A known fact with those of its measured prompts whose top answer it is."""

    prompts: tuple[AskedPrompt, ...]


Names = tuple[str, str, str]  # relation, subject, object


class Pool:
    """The known facts of a run, to draw partners from."""

    def __init__(self, facts: Sequence[KnownFact]) -> None:
        self.names: dict[str, Names] = {fact.fact_id: _names(fact) for fact in facts}
        self.alike: dict[str, dict[tuple[str, ...], list[KnownFact]]] = {
            group: defaultdict(list) for group in OTHERS
        }
        for fact in facts:
            for group, key in _keys(*self.names[fact.fact_id]).items():
                self.alike[group][key].append(fact)

    def partners(
        self, fact: KnownFact, count: int, draw: random.Random
    ) -> dict[str, tuple[KnownFact, ...]]:
        """At most `count` facts of every group of others, in an order that `draw` decides."""
        own = _names(fact)
        found = {}
        for group, key in _keys(*own).items():
            some: list[KnownFact] = []
            for other in _shuffled(self.alike[group][key], draw):
                if len(some) == count:
                    break
                if group_of(own, self.names[other.fact_id]) == group:
                    some.append(other)
            found[group] = tuple(some)
        return found


def group_of(own: Names, other: Names) -> str | None:
    """Which group the other fact is in, both as (relation, subject, object)."""
    relation, subject, object_ = (a == b for a, b in zip(own, other, strict=True))
    if subject:
        return None if relation or object_ else "same_subject"
    if relation:
        return "same_relation_and_object" if object_ else "same_relation"
    return "same_object" if object_ else "unrelated"


def _names(fact: FactColumns) -> Names:
    return fact.relation_id, as_name(fact.subject), as_name(fact.object)


def _keys(relation: str, subject: str, object_: str) -> dict[str, tuple[str, ...]]:
    """What the members of each group have in common with a fact."""
    return {
        "same_relation_and_object": (relation, object_),
        "same_relation": (relation,),
        "same_object": (object_,),
        "same_subject": (subject,),
        "unrelated": (),
    }


def _shuffled(facts: Sequence[KnownFact], draw: random.Random) -> Iterator[KnownFact]:
    """The facts in random order, without going through more of them than are wanted."""
    moved: dict[int, int] = {}
    for last in range(len(facts) - 1, -1, -1):
        chosen = draw.randint(0, last)
        yield facts[moved.get(chosen, chosen)]
        moved[chosen] = moved.get(last, last)
