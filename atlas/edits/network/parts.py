"""Which facts and objects the network may learn from, by hash, and the edits that they make."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random

from atlas.edits.making.sources import MeasuredPrompt
from atlas.facts import as_name

PARTS = ("learning", "choosing", "unseen")
"""Learnt from; which of the networks on the way is kept; neither, for the report alone."""
_UP_TO = (0.6, 0.8, 1.0)  # of the hashes

Objects = Mapping[str, Sequence[str]]  # names by the relation that has them


@dataclass(frozen=True)
class WantedEdit:
    """A fact that is to get another object."""

    fact_id: str
    old_object: str
    new_object: str
    prompts: tuple[MeasuredPrompt, ...]


def part_of(name: str) -> str:
    """The part in which a fact's id, or an object by its name, belongs."""
    place = int(sha256(as_name(name).encode()).hexdigest()[:8], 16) / 16**8
    return next(part for part, end in zip(PARTS, _UP_TO, strict=True) if place < end)


def wanted_edits(
    facts: Mapping[str, Sequence[MeasuredPrompt]],
    relations: Mapping[str, str],
    objects: Objects,
    part: str,
    seed: int,
    askable: Callable[[Sequence[MeasuredPrompt], str], bool],
) -> Iterator[WantedEdit]:
    """Edits of a part's facts to objects of the part, without end, drawn by the seed.

    facts: measured prompts by fact; relations: by fact. A fact that is learnt from has an old
    object of its part, too. Every other edit has an object of the fact's relation, where the part
    has another one, the rest of any. Yields nothing if nothing can be asked.
    """
    draw = Random(f"{seed} {part}")
    names = {
        relation: [name for name in own if part_of(name) == part]
        for relation, own in objects.items()
    }
    every = sorted({name for own in names.values() for name in own})
    ours = [
        fact_id
        for fact_id, prompts in sorted(facts.items())
        if part_of(fact_id) == part and (part == "unseen" or part_of(prompts[0].object) == part)
    ]
    found = True
    while found and every:
        found = False
        draw.shuffle(ours)
        for number, fact_id in enumerate(ours):
            prompts = tuple(facts[fact_id])
            old = prompts[0].object
            related = [n for n in names.get(relations[fact_id], ()) if as_name(n) != as_name(old)]
            new = draw.choice(related if related and number % 2 == 0 else every)
            if as_name(new) != as_name(old) and askable(prompts, new):
                found = True
                yield WantedEdit(fact_id, old, new, prompts)
