"""Shuffled objects: permuted within their relation, and every fact false."""

from collections import Counter
from itertools import permutations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.facts import Dataset, Fact, Relation, Template
from atlas.indexing.null_facts import shuffled, shuffled_objects


def facts_of(pairs: list[tuple[str, str]]) -> tuple[Fact, ...]:
    return tuple(Fact(f"f{i}", "P36", subject, object) for i, (subject, object) in enumerate(pairs))


def is_null(facts: tuple[Fact, ...], objects: tuple[str, ...] | list[str]) -> bool:
    right = {(f.subject.casefold(), f.object.casefold()) for f in facts}
    return all(
        (f.subject.casefold(), o.casefold()) not in right
        for f, o in zip(facts, objects, strict=True)
    )


triples = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "D", "d"]), st.sampled_from(["x", "y", "Z", "z"])),
    min_size=1,
    max_size=7,
).map(facts_of)


@settings(max_examples=150, deadline=None)
@given(triples, st.integers(0, 3))
def test_objects_are_permuted_so_that_every_fact_is_false_wherever_that_can_be(
    facts: tuple[Fact, ...], seed: int
) -> None:
    objects = shuffled_objects(facts, seed)
    can = any(is_null(facts, way) for way in permutations(f.object for f in facts))
    assert (objects is not None) == can
    if objects is not None:
        assert Counter(objects) == Counter(f.object for f in facts)
        assert is_null(facts, objects)


def test_equal_seeds_give_equal_objects_whatever_the_order_of_facts() -> None:
    facts = facts_of([(f"s{i}", f"o{i % 17}") for i in range(60)])
    mixed = list(facts)
    Random(1).shuffle(mixed)
    first = dict(zip(facts, shuffled_objects(facts, 0) or (), strict=True))
    assert dict(zip(mixed, shuffled_objects(mixed, 0) or (), strict=True)) == first
    assert list(first.values()) != shuffled_objects(facts, 1)


def test_an_object_of_just_half_of_the_facts_goes_to_all_the_others() -> None:
    facts = facts_of([(f"s{i}", "French" if i < 20 else f"o{i}") for i in range(40)])
    objects = shuffled_objects(facts, 5)
    assert objects is not None
    assert all(
        (o == "French") == (f.object != "French") for f, o in zip(facts, objects, strict=True)
    )


def test_relations_that_cannot_be_made_false_are_left_out_by_name() -> None:
    def relation(relation_id: str, *objects: str) -> Relation:
        return Relation(
            relation_id,
            "label",
            (Template(relation_id, "[X] is [Y]."),),
            tuple(
                Fact(f"{relation_id}{o}{i}", relation_id, f"s{i}", o) for i, o in enumerate(objects)
            ),
        )

    dataset = Dataset(
        "d", (relation("P1", "a", "a"), relation("P2", "a", "b"), relation("P3", "a", "a", "b"))
    )
    null = shuffled(dataset, 0)
    assert null.left_out == ("P1", "P3")
    (kept,) = null.dataset.relations
    assert [(f.object, f.null_of) for f in kept.facts] == [("b", "P2a0"), ("a", "P2b1")]
    assert kept.templates == dataset.relations[1].templates
    assert null.dataset.digest != dataset.digest
    # its own, though elsewhere the triple may be a fact
    assert not {f.fact_id for f in kept.facts} & {"P2a0", "P2b1"}
