"""Shared neurons, neighbours and predicted interference, against sets and sums in Python."""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_of_neurons import (
    LAYERS,
    RUN,
    WIDTH,
    Known,
    empty_atlas,
    fact_lists,
    mass,
    predicted,
    stored,
)
from synthetic import HUB, LAST, Synthetic, build

from atlas.errors import AmbiguousFact, NoScores, NotFound
from atlas.interference.predicted import interference_report, predicted_interference
from atlas.queries.sharing import neighbours_report, shared_report
from atlas.selection.chosen import choose_selection

Connection = duckdb.DuckDBPyConnection
quick = settings(max_examples=12, deadline=None)
sets_of_neurons = st.frozensets(
    st.tuples(st.integers(0, LAYERS - 1), st.integers(0, WIDTH - 1)), max_size=6
)


@pytest.fixture(scope="module")
def empty() -> Iterator[Connection]:
    """An atlas to which tests add facts and from which they take them away again."""
    with empty_atlas() as connection:
        yield connection


@quick
@given(facts=fact_lists)
def test_two_facts_share_the_intersection_of_their_neurons_in_either_order(
    empty: Connection, facts: list[Known]
) -> None:
    a, b = facts[0], facts[-1]
    with stored(empty, facts):
        selection = choose_selection(empty)
        there = shared_report(empty, selection, a.fact_id, b.fact_id)
        back = shared_report(empty, selection, b.fact_id, a.fact_id)
    assert {(n.layer, n.neuron) for n in there.shared} == a.neurons & b.neurons
    assert (there.neurons_a, there.neurons_b) == (len(a.neurons), len(b.neurons))
    either = len(a.neurons | b.neurons)
    assert there.both == len(a.neurons & b.neurons)
    assert there.jaccard == (there.both / either if either else None)
    assert (back.fact_a, back.fact_b) == (there.fact_b, there.fact_a)
    assert [
        replace(
            n,
            score_a=n.score_b,
            score_b=n.score_a,
            prompt_share_a=n.prompt_share_b,
            prompt_share_b=n.prompt_share_a,
        )
        for n in back.shared
    ] == list(there.shared)
    for neuron in there.shared:
        served = [f for f in facts if (neuron.layer, neuron.neuron) in f.neurons]
        assert neuron.facts == len(served)
        assert neuron.relations == len({f.relation_id for f in served})


@quick
@given(facts=fact_lists)
def test_neighbours_are_all_facts_that_share_a_neuron_ranked_by_how_many(
    empty: Connection, facts: list[Known]
) -> None:
    fact = facts[0]
    with stored(empty, facts):
        selection = choose_selection(empty)
        found = neighbours_report(empty, selection, fact.fact_id)
        first = neighbours_report(empty, selection, fact.fact_id, limit=2)
    shared = {f.fact_id: fact.neurons & f.neurons for f in facts[1:] if fact.neurons & f.neurons}
    assert {n.fact_id: n.shared_neurons for n in found.neighbours} == {
        i: len(neurons) for i, neurons in shared.items()
    }
    degree = {n: sum(n in f.neurons for f in facts) for n in fact.neurons}
    by_id = {f.fact_id: f for f in facts}
    for neighbour in found.neighbours:
        other = by_id[neighbour.fact_id]
        assert neighbour.jaccard == pytest.approx(
            len(fact.neurons & other.neurons) / len(fact.neurons | other.neurons)
        )
        rarity = sum(math.log2(len(facts) / degree[n]) for n in fact.neurons & other.neurons)
        assert neighbour.rarity == pytest.approx(rarity, abs=1e-8)
    keys = [(-n.shared_neurons, -n.rarity, n.relation_id, n.subject) for n in found.neighbours]
    assert keys == sorted(keys)
    assert (found.neurons, found.facts) == (len(fact.neurons), len(shared))
    assert (first.facts, first.neighbours) == (found.facts, found.neighbours[:2])


@quick
@given(facts=fact_lists, neurons=sets_of_neurons)
def test_interference_is_the_share_of_positive_scores_on_the_neurons(
    empty: Connection, facts: list[Known], neurons: frozenset[tuple[int, int]]
) -> None:
    with_mass = [f for f in facts if mass(f)]
    with stored(empty, facts):
        if not with_mass:
            with pytest.raises(NoScores):
                predicted_interference(empty, RUN, list(neurons))
            return
        found = predicted_interference(empty, RUN, list(neurons))
        all_of_them = predicted_interference(empty, RUN, list(neurons), zeros=True)
        first = predicted_interference(empty, RUN, list(neurons) * 2, limit=1)
    wanted = {f.fact_id: predicted(neurons, f) for f in with_mass}
    assert {row.fact_id: row.predicted for row in all_of_them} == pytest.approx(wanted, rel=1e-6)
    assert found == [row for row in all_of_them if row.neurons]
    assert first == found[:1]
    assert {row.fact_id for row in found} == {i for i, share in wanted.items() if share}
    for row in all_of_them:
        fact = next(f for f in facts if f.fact_id == row.fact_id)
        assert row.neurons == sum(n in neurons and v > 0 for n, v in fact.scores.items())
    assert [row.predicted for row in found] == sorted((r.predicted for r in found), reverse=True)


@quick
@given(facts=fact_lists, order=st.randoms(use_true_random=False))
def test_a_fact_interferes_with_itself_by_the_mass_its_neurons_hold_however_numbered(
    empty: Connection, facts: list[Known], order: random.Random
) -> None:
    if not any(mass(f) for f in facts):
        return
    places = [(layer, neuron) for layer in range(LAYERS) for neuron in range(WIDTH)]
    new = dict(zip(places, order.sample(places, len(places)), strict=True))
    renumbered = [
        replace(
            f,
            neurons=frozenset(new[n] for n in f.neurons),
            scores={new[n]: v for n, v in f.scores.items()},
        )
        for f in facts
    ]
    fact = facts[0]
    found = []
    for listed in (facts, renumbered):
        with stored(empty, listed):
            found.append(interference_report(empty, choose_selection(empty), fact.fact_id))
    before, after = found
    own = pytest.approx(predicted(fact.neurons, fact), rel=1e-6) if mass(fact) else None
    assert before.on_itself == own
    assert after.on_itself == own
    others = [f for f in facts[1:] if mass(f) and predicted(fact.neurons, f)]
    assert before.facts == len(others) == len(before.affected)
    assert set(before.neurons) == fact.neurons
    predictions = {row.fact_id: row.predicted for row in before.affected}
    assert {row.fact_id: row.predicted for row in after.affected} == pytest.approx(predictions)


def test_sharing_is_symmetric_and_interference_is_not(empty: Connection) -> None:
    few = Known("few", "P1", "A", "B", frozenset({(0, 0)}), {(0, 0): 1.0})
    many = Known("many", "P1", "C", "D", frozenset({(0, 0), (1, 1)}), {(0, 0): 1.0, (1, 1): 3.0})
    with stored(empty, [few, many]):
        selection = choose_selection(empty)
        there = shared_report(empty, selection, "few", "many")
        back = shared_report(empty, selection, "many", "few")
        of_few = interference_report(empty, selection, "few")
        of_many = interference_report(empty, selection, "many")
    assert there.shared[0].neuron == back.shared[0].neuron == 0
    assert (there.jaccard, back.jaccard) == (0.5, 0.5)
    assert [row.predicted for row in of_few.affected] == [0.25]
    assert [row.predicted for row in of_many.affected] == [1.0]
    assert (of_few.on_itself, of_many.on_itself) == (1.0, 1.0)


def test_negative_scores_are_no_mass(empty: Connection) -> None:
    fact = Known("f", "P1", "A", "B", frozenset({(0, 0)}), {(0, 0): 1.0, (0, 1): 1.0, (2, 2): -9.0})
    with stored(empty, [fact]):
        (row,) = predicted_interference(empty, RUN, [(0, 0), (2, 2)])
    assert (row.predicted, row.neurons) == (0.5, 1)


def test_shares_of_the_stored_mass_alone_are_said_to_be_so(tmp_path: Path) -> None:
    atlas, fact = build(tmp_path / "a.duckdb").atlas, "Land 0"
    assert not atlas.interference(fact).of_stored_mass
    with atlas.writing() as connection:
        connection.execute("UPDATE prompt_results SET positive_mass = NULL")
    assert atlas.interference(fact).of_stored_mass


def test_neurons_without_scores_are_shared_and_have_neighbours_but_no_interference(
    empty: Connection,
) -> None:
    facts = [Known(name, "P1", name, "B", frozenset({(0, 0)})) for name in ("f", "g")]
    with stored(empty, facts, scored=False):
        selection = choose_selection(empty)
        (neuron,) = shared_report(empty, selection, "f", "g").shared
        (neighbour,) = neighbours_report(empty, selection, "f").neighbours
        with pytest.raises(NoScores, match="has no scores, so interference cannot") as e:
            interference_report(empty, selection, "f")
    assert (neuron.score_a, neuron.score_b, neuron.prompt_share_a, neuron.facts) == (
        None,
        None,
        None,
        2,
    )
    assert neighbour.fact_id == "g"
    assert "\n" not in str(e.value)


def test_the_synthetic_atlas_shares_its_hub_across_relations(
    connection: Connection, synthetic: Synthetic
) -> None:
    selection = choose_selection(connection)
    (hub,) = shared_report(connection, selection, "Land 0", "Realm 0").shared
    assert ((hub.layer, hub.neuron), hub.facts, hub.relations) == (HUB, 12, 2)
    within = shared_report(connection, selection, "Land 0", "Land 1")
    assert [(n.layer, n.neuron) for n in within.shared] == [HUB, (LAST, 1)]  # by score
    neighbours = neighbours_report(connection, selection, "Land 0", limit=6)
    assert [n.shared_neurons for n in neighbours.neighbours] == [2, 2, 2, 2, 2, 1]
    assert neighbours.facts == 11
    report = interference_report(connection, selection, "Land 0")
    assert report.on_itself == pytest.approx(0.75 / 0.77)  # of 0.3 + 0.25 + 0.2 and a 0.02
    assert {round(r.predicted, 5) for r in report.affected} == {
        round(0.55 / 0.77, 5),
        round(0.30 / 0.77, 5),
    }


def test_a_name_must_lead_to_one_fact(connection: Connection, empty: Connection) -> None:
    selection = choose_selection(connection)
    with pytest.raises(NotFound, match="near: Realm 3"):
        shared_report(connection, selection, "Land 0", "Raelm 3")
    facts = [Known(f"f{r}", r, "Ireland", "x") for r in ("P1", "P2")]
    with stored(empty, facts), pytest.raises(AmbiguousFact, match=r"in P1 \(label of P1\), P2"):
        neighbours_report(empty, choose_selection(empty), "Ireland")
