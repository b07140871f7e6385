"""Overlap figures against every pair of facts enumerated and every pair of sets intersected."""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from revision_assets import asset
from store_of_neurons import (
    LAYERS,
    WIDTH,
    Known,
    Neuron,
    empty_atlas,
    fact_lists,
    mean_of_means,
    mean_shared,
    pairs,
    stored,
)
from synthetic import Synthetic, neurons_of

from atlas.atlas import open_atlas
from atlas.queries.group_overlap import group_overlap
from atlas.queries.overlap import (
    OverlapReport,
    PooledOverlap,
    layer_overlap,
    relation_overlap,
)
from atlas.selection.chosen import choose_selection
from atlas.selection.overlaps import refresh_overlaps

GROUPS: dict[str, Callable[[Known], str]] = {
    "relation": lambda fact: fact.relation_id,
    "object": lambda fact: fact.object,
    "subject": lambda fact: fact.subject,
}
# On a busy machine drawing lists of facts may take a while, which says nothing of the code.
quick = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def empty() -> Iterator[duckdb.DuckDBPyConnection]:
    """An atlas to which tests add facts and from which they take them away again."""
    with empty_atlas() as connection:
        yield connection


def reports(connection: duckdb.DuckDBPyConnection, facts: list[Known]) -> dict[str, OverlapReport]:
    """By relation, object and subject."""
    with stored(connection, facts):
        selection = choose_selection(connection)
        return {
            "relation": relation_overlap(connection, selection),
            "object": group_overlap(connection, selection, "object"),
            "subject": group_overlap(connection, selection, "subject"),
        }


def approx(value: float | None) -> object:
    return None if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)


@quick
@given(facts=fact_lists)
def test_pooled_figures_are_those_of_all_pairs_enumerated(
    empty: duckdb.DuckDBPyConnection, facts: list[Known]
) -> None:
    for by, found in reports(empty, facts).items():
        of = GROUPS[by]
        names = sorted({of(f) for f in facts})
        own = {n: [p for p in pairs(facts) if of(p[0]) == of(p[1]) == n] for n in names}
        apart = {
            (a, b): [p for p in pairs(facts) if {of(p[0]), of(p[1])} == {a, b}]
            for a, b in itertools.combinations(names, 2)
        }
        within = list(itertools.chain(*own.values()))
        across = list(itertools.chain(*apart.values()))
        assert found.within.fact_pairs == len(within)
        assert found.across.fact_pairs == len(across)
        assert found.within.mean_over_fact_pairs == approx(mean_shared(within))
        assert found.across.mean_over_fact_pairs == approx(mean_shared(across))
        assert found.within.mean_over_group_pairs == approx(
            mean_of_means([mean_shared(p) for p in own.values()])
        )
        assert found.across.mean_over_group_pairs == approx(
            mean_of_means([mean_shared(p) for p in apart.values()])
        )
        assert (found.facts, found.groups) == (len(facts), len(names))


@quick
@given(facts=fact_lists)
def test_pairs_with_the_same_object_are_told_from_pairs_with_another(
    empty: duckdb.DuckDBPyConnection, facts: list[Known]
) -> None:
    for found in reports(empty, facts).values():
        assert [(row.pairs, row.object) for row in found.by_object] == [
            ("within", "same"),
            ("within", "other"),
            ("across", "same"),
            ("across", "other"),
        ]
        for row in found.by_object:
            chosen = [
                (a, b)
                for a, b in pairs(facts)
                if (a.relation_id == b.relation_id) == (row.pairs == "within")
                and (a.object == b.object) == (row.object == "same")
            ]
            assert row.fact_pairs == len(chosen)
            assert row.shared_by_fact_pairs == sum(len(a.neurons & b.neurons) for a, b in chosen)
            assert row.mean_shared_neurons == approx(mean_shared(chosen))


@quick
@given(facts=fact_lists)
def test_every_pair_of_groups_has_the_mean_and_the_jaccard_of_its_sets(
    empty: duckdb.DuckDBPyConnection, facts: list[Known]
) -> None:
    for by, found in reports(empty, facts).items():
        of = GROUPS[by]
        shown = {group.group: group for group in found.shown}
        sizes = {name: sum(of(f) == name for f in facts) for name in {of(f) for f in facts}}
        assert shown.keys() == {n for n, size in sizes.items() if size > 1 or by == "relation"}
        assert len(found.pairs) == len(shown) * (len(shown) + 1) // 2
        for pair in found.pairs:
            a, b = pair.group_a, pair.group_b
            chosen = [p for p in pairs(facts) if sorted((of(p[0]), of(p[1]))) == sorted((a, b))]
            neurons = [
                frozenset[Neuron]().union(*(f.neurons for f in facts if of(f) == n)) for n in (a, b)
            ]
            either = len(neurons[0] | neurons[1])
            assert pair.fact_pairs == len(chosen)
            assert pair.mean_shared_neurons == approx(mean_shared(chosen))
            assert pair.neurons_both == len(neurons[0] & neurons[1])
            assert pair.jaccard == approx(pair.neurons_both / either if either else None)
            if a == b:
                assert shown[a].neurons == len(neurons[0])
                assert shown[a].facts == sizes[a]
                assert shown[a].mean_shared_neurons == pair.mean_shared_neurons


@quick
@given(facts=fact_lists)
def test_the_parts_of_the_layers_are_those_of_each_layer_and_add_up(
    empty: duckdb.DuckDBPyConnection, facts: list[Known]
) -> None:
    with stored(empty, facts):
        found = layer_overlap(empty, choose_selection(empty))
    within = [p for p in pairs(facts) if p[0].relation_id == p[1].relation_id]
    across = [p for p in pairs(facts) if p[0].relation_id != p[1].relation_id]
    assert [layer.layer for layer in found.layers] == list(range(LAYERS))
    for layer in found.layers:
        part = [
            replace(f, neurons=frozenset(n for n in f.neurons if n[0] == layer.layer))
            for f in facts
        ]
        own = [p for p in pairs(part) if p[0].relation_id == p[1].relation_id]
        others = [p for p in pairs(part) if p[0].relation_id != p[1].relation_id]
        assert layer.uses == sum(len(f.neurons) for f in part)
        assert layer.neurons == len(frozenset[Neuron]().union(*(f.neurons for f in part)))
        assert (layer.within, layer.across) == (
            approx(mean_shared(own)),
            approx(mean_shared(others)),
        )
        for cell in found.relations:
            if cell.layer == layer.layer:
                one = [p for p in own if p[0].relation_id == cell.relation_id]
                assert cell.mean_shared_neurons == approx(mean_shared(one))
    for pooled, chosen, parts in (
        (found.within, within, [layer.within for layer in found.layers]),
        (found.across, across, [layer.across for layer in found.layers]),
    ):
        assert pooled.mean_over_fact_pairs == approx(mean_shared(chosen))
        if chosen:
            assert sum(p for p in parts if p is not None) == approx(mean_shared(chosen))


@quick
@given(facts=fact_lists, order=st.randoms(use_true_random=False))
def test_renumbering_facts_or_neurons_changes_no_figure(
    empty: duckdb.DuckDBPyConnection, facts: list[Known], order: random.Random
) -> None:
    places = [(layer, neuron) for layer in range(LAYERS) for neuron in range(WIDTH)]
    new = dict(zip(places, order.sample(places, len(places)), strict=True))
    ids = [str(number) for number in order.sample(range(1000), len(facts))]
    other = [
        replace(f, fact_id=i, neurons=frozenset(new[n] for n in f.neurons))
        for f, i in zip(facts, ids, strict=True)
    ]
    order.shuffle(other)
    before, after = reports(empty, facts), reports(empty, other)
    for by in GROUPS:
        assert _rounded(before[by]) == _rounded(after[by])


def _rounded(found: OverlapReport) -> object:
    def pooled(row: PooledOverlap) -> object:
        means = (row.mean_over_fact_pairs, row.mean_over_group_pairs)
        return row.fact_pairs, row.shared_by_fact_pairs, [m and round(m, 9) for m in means]

    return pooled(found.within), pooled(found.across), found.shown, found.pairs


@quick
@given(facts=fact_lists)
def test_refreshing_one_relation_after_the_other_is_refreshing_all(
    empty: duckdb.DuckDBPyConnection, facts: list[Known]
) -> None:
    with stored(empty, facts):
        at_once = empty.execute("SELECT * FROM relation_overlaps ORDER BY ALL").fetchall()
        empty.execute("DELETE FROM relation_overlaps")
        for relation_id in sorted({f.relation_id for f in facts}, reverse=True):
            refresh_overlaps(empty, "selection", [relation_id])
        piecemeal = empty.execute("SELECT * FROM relation_overlaps ORDER BY ALL").fetchall()
    assert piecemeal == at_once


def test_the_synthetic_atlas_has_the_overlap_of_its_neurons(synthetic: Synthetic) -> None:
    known = [
        Known(
            f.fact_id,
            r.relation_id,
            f.subject,
            f.object,
            frozenset(neurons_of(synthetic.dataset, i, j)),
        )
        for i, r in enumerate(synthetic.dataset.relations)
        for j, f in enumerate(r.facts)
    ]
    with synthetic.atlas.reading() as connection:
        found = relation_overlap(connection, choose_selection(connection))
    for pair in found.pairs:
        chosen = [
            p
            for p in pairs(known)
            if sorted(f.relation_id for f in p) == [pair.group_a, pair.group_b]
        ]
        assert pair.mean_shared_neurons == mean_shared(chosen)
    assert found.within.mean_over_fact_pairs == 2  # the hub and the relation's own
    assert found.across.mean_over_fact_pairs == 1  # the hub


def test_a_selection_without_facts_has_no_figures(empty: duckdb.DuckDBPyConnection) -> None:
    for found in reports(empty, []).values():
        assert (found.facts, found.shown, found.pairs) == (0, (), ())
        assert found.within == PooledOverlap("within", 0, 0, None, 0, None)
        assert found.across == PooledOverlap("across", 0, 0, None, 0, None)


def test_facts_that_were_not_measured_do_not_count(empty: duckdb.DuckDBPyConnection) -> None:
    same = frozenset({(0, 0)})
    facts = [Known(str(i), "P1", "Ireland", "Dublin", same) for i in range(3)]
    with stored(empty, facts):
        empty.execute(
            """
            INSERT INTO facts (fact_id, relation_id, subject, object)
            VALUES ('unmeasured', 'P1', 'Ireland', 'Dublin')
            """
        )
        found = group_overlap(empty, choose_selection(empty), "subject")
    assert found.within == PooledOverlap("within", 3, 3, 1.0, 1, 1.0)


def test_an_upgraded_atlas_has_the_overlaps_that_selecting_writes(tmp_path: Path) -> None:
    path = tmp_path / "old.duckdb"
    copyfile(asset("0001"), path)
    with open_atlas(path).writing() as connection:
        upgraded = connection.execute("SELECT * FROM relation_overlaps ORDER BY ALL").fetchall()
        for (selection_id,) in connection.execute("SELECT selection_id FROM selections").fetchall():
            refresh_overlaps(connection, selection_id)
        again = connection.execute("SELECT * FROM relation_overlaps ORDER BY ALL").fetchall()
    assert upgraded == again
    assert upgraded
