"""Over-represented values: against sums of exact fractions."""

from fractions import Fraction
from itertools import combinations, pairwise, product
from math import comb
from pathlib import Path

import numpy as np
import pytest
from atlas_content import content
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import run_without_privileges
from synthetic import build

from atlas.meaning import stored_associations
from atlas.meaning.associations import (
    Drawn,
    Held,
    Strata,
    false_discovery_rates,
    over_represented,
    over_represented_within,
)
from atlas.meaning.report import neuron_meaning
from atlas.meaning.stored_associations import (
    associations_of,
    has_associations,
    record_associations,
    remember_associations,
)
from atlas.selection.chosen import choose_selection


def exactly(total: int, marked: int, drawn: int, found: int) -> Fraction:
    ways = sum(
        comb(marked, j) * comb(total - marked, drawn - j)
        for j in range(found, min(marked, drawn) + 1)
    )
    return Fraction(ways, comb(total, drawn))


@st.composite
def draws(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, int]]]:
    total = draw(st.integers(1, 300))
    tests = []
    for _ in range(draw(st.integers(1, 6))):
        marked, drawn = draw(st.integers(0, total)), draw(st.integers(0, total))
        least, most = max(0, marked + drawn - total), min(marked, drawn)
        tests.append((marked, drawn, draw(st.integers(least, most))))
    return total, tests


@settings(deadline=None)  # the first example imports scipy
@given(draws())
def test_p_values_are_the_exact_tails(case: tuple[int, list[tuple[int, int, int]]]) -> None:
    total, tests = case
    columns = [np.array(column, np.int64) for column in zip(*tests, strict=True)]
    found = over_represented(Drawn(total, *columns))
    for p, test in zip(found, tests, strict=True):
        assert p == pytest.approx(float(exactly(total, *test)), rel=1e-9, abs=1e-300)


def test_a_tail_far_out_keeps_its_digits() -> None:
    p = over_represented(Drawn(2333, np.array([60]), np.array([200]), np.array([58])))[0]
    assert p == pytest.approx(float(exactly(2333, 60, 200, 58)), rel=1e-9)
    assert 0 < p < 1e-50


@given(st.lists(st.floats(1e-12, 1.0), min_size=1, max_size=30), st.integers(0, 20))
def test_adjusted_values_are_benjamini_and_hochbergs(ps: list[float], more: int) -> None:
    tests = len(ps) + more
    q = false_discovery_rates(np.array(ps), tests)
    for level in (0.001, 0.01, 0.05, 0.2):
        # the step-up procedure itself: reject the k smallest, k the last with p(k) <= level k / m
        ordered = sorted(ps)
        passing = [k for k, p in enumerate(ordered, 1) if p * tests / k <= level]
        rejected = set(ordered[: passing[-1]]) if passing else set()
        assert {p for p, adjusted in zip(ps, q, strict=True) if adjusted <= level} == rejected
    by_p = [adjusted for _, adjusted in sorted(zip(ps, q, strict=True))]
    assert all(a <= b for a, b in pairwise(by_p))


def within(rows: list[tuple[int, int, int, int]], found: list[int]) -> Held:
    """Of rows (test, total, marked, drawn)."""
    columns = zip(*rows, strict=True)
    strata = Strata(*(np.array(column, np.int64) for column in columns))
    return over_represented_within(strata, np.array(found, np.int64))


def test_with_the_object_held_fixed_strata_are_summed_by_hand() -> None:
    # Of 4 facts 2 are of the relation, the neuron serves 2: 0, 1, 2 of it in 1, 4, 1 of 6 ways.
    # Of 3 facts 1 is of the relation, the neuron serves 1: 0, 1 of it in 2, 1 of 3 ways.
    rows = [(0, 4, 2, 2), (0, 3, 1, 1), (1, 4, 2, 2), (1, 3, 1, 1), (2, 4, 2, 2), (2, 3, 1, 1)]
    held = within(rows, [3, 2, 0])
    assert held.expected == pytest.approx([4 / 3] * 3)
    assert held.p == pytest.approx([1 / 18, (2 + 4 + 1) / 18, 1])


def test_where_the_object_tells_the_relation_nothing_is_left_to_chance() -> None:
    held = within([(0, 5, 5, 3), (0, 4, 2, 4)], [5])
    assert (held.expected[0], held.p[0]) == (5, 1)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5), st.integers(0, 5)), max_size=3))
def test_with_one_stratum_or_several_p_is_that_of_all_ways_to_draw(
    strata: list[tuple[int, int, int]],
) -> None:
    strata = [(total, min(total, marked), min(total, drawn)) for total, marked, drawn in strata]
    ways = [
        sum(counts)
        for counts in product(
            *(
                [sum(fact < marked for fact in chosen) for chosen in combinations(range(n), drawn)]
                for n, marked, drawn in strata
            )
        )
    ]
    for found in range(max(ways) + 1):
        rows = [(0, *stratum) for stratum in strata] or [(0, 1, 0, 0)]
        p = within(rows, [found]).p[0]
        assert p == pytest.approx(sum(way >= found for way in ways) / len(ways))


def test_a_relations_own_neuron_is_found_to_be_its_own(tmp_path: Path) -> None:
    made = build(tmp_path / "atlas.duckdb", relations=3, facts=8)
    with made.atlas.writing() as connection:
        assert not has_associations(connection, made.selection_id)
        for _ in range(2):
            record_associations(connection, made.selection_id)
        assert has_associations(connection, made.selection_id)
        found = associations_of(connection, made.selection_id, 3, 1)
        assert [(a.aspect, a.value, a.facts, a.expected) for a in found] == [
            ("relation", "P36", 8, pytest.approx(8 * 8 / 24))
        ]
        assert found[0].p_value == pytest.approx(float(exactly(24, 8, 8, 8)))
        # 28 neurons (hub, 3 of relations, 24 of facts), each against 3 relations
        assert found[0].q_value == pytest.approx(float(exactly(24, 8, 8, 8)) * 28 * 3 / 3)
        assert (
            associations_of(connection, made.selection_id, 3, 0) == []
        )  # the hub has no favourite


def test_a_relation_whose_objects_are_no_others_is_not_left_with_the_object_held_fixed(
    tmp_path: Path,
) -> None:
    made = build(tmp_path / "atlas.duckdb", relations=3, facts=8)
    with made.atlas.writing() as connection:
        # Each object is of one fact: who knows the object knows the relation.
        record_associations(connection, made.selection_id)
        (own,) = associations_of(connection, made.selection_id, 3, 1)
        assert (own.expected_within_objects, own.p_within_objects, own.q_within_objects) == (
            8,
            1,
            1,
        )
        connection.execute("UPDATE facts SET object = 'Rome'")
        record_associations(connection, made.selection_id)
        (own,) = [
            a
            for a in associations_of(connection, made.selection_id, 3, 1)
            if a.aspect == "relation"
        ]
        assert own.expected_within_objects == pytest.approx(own.expected)
        assert own.p_within_objects == pytest.approx(own.p_value)
        assert own.q_within_objects == pytest.approx(own.q_value)


def test_associations_stored_before_the_object_was_held_fixed_are_computed_anew(
    tmp_path: Path,
) -> None:
    made = build(tmp_path / "atlas.duckdb", relations=3, facts=8)
    with made.atlas.writing() as connection:
        record_associations(connection, made.selection_id)
        connection.execute("UPDATE neuron_associations SET p_within_objects = NULL")
        assert not has_associations(connection, made.selection_id)
        assert associations_of(connection, made.selection_id, 3, 1)[0].p_within_objects == 1


def test_that_nothing_is_significant_is_remembered(tmp_path: Path) -> None:
    made = build(tmp_path / "atlas.duckdb", relations=1, facts=2)
    remember_associations(made.atlas, made.selection_id)
    assert content(made.atlas.path)["neuron_associations"] == []
    with made.atlas.reading() as connection:
        assert has_associations(connection, made.selection_id)
    before = made.atlas.path.stat()
    remember_associations(made.atlas, made.selection_id)
    assert made.atlas.path.stat() == before


def test_associations_that_are_not_stored_are_computed_at_a_look(tmp_path: Path) -> None:
    made = build(tmp_path / "atlas.duckdb", relations=3, facts=8)
    with made.atlas.reading() as connection:
        computed = associations_of(connection, made.selection_id, 3, 1)
    remember_associations(made.atlas, made.selection_id)
    with made.atlas.reading() as connection:
        assert associations_of(connection, made.selection_id, 3, 1) == computed != []


def test_an_atlas_that_cannot_be_written_is_looked_at_all_the_same(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    made = build(shelf / "atlas.duckdb", relations=3, facts=8)
    made.atlas.path.chmod(0o444)
    shelf.chmod(0o555)
    done = run_without_privileges(
        """
        import sys
        from atlas.meaning.report import neuron_meaning
        from atlas.meaning.stored_associations import remember_associations
        from atlas.selection.chosen import choose_selection
        from atlas.store.atlas_file import open_file
        atlas = open_file(sys.argv[1])
        with atlas.reading() as connection:
            selection = choose_selection(connection)
        remember_associations(atlas, selection.selection_id)
        with atlas.reading() as connection:
            print([a.value for a in neuron_meaning(connection, selection, 3, 1).associations])
        """,
        made.atlas.path,
    )
    shelf.chmod(0o755)
    assert done.stdout == "['P36']\n", done.stderr


def test_so_many_facts_are_not_tested_while_somebody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build(tmp_path / "atlas.duckdb", relations=3, facts=8)
    monkeypatch.setattr(stored_associations, "AT_A_LOOK", 3)
    with made.atlas.reading() as connection:
        selection = choose_selection(connection)
        assert associations_of(connection, selection.selection_id, 3, 1) is None
        untested = neuron_meaning(connection, selection, 3, 1)
    assert (untested.tested, untested.associations) == (False, ())
    assert "Not tested yet" in made.atlas.page("neuron", "3:1").html
    remember_associations(made.atlas, made.selection_id)
    assert "Not tested yet" not in made.atlas.page("neuron", "3:1").html
    with made.atlas.reading() as connection:
        assert neuron_meaning(connection, selection, 3, 1).tested
