"""Neurons that serve the same answer elsewhere, against sets; and selections without them."""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invocation import run
from store_of_neurons import RUN, Known, empty_atlas, fact_lists, stored
from synthetic import Synthetic, build

from atlas.errors import SettingsError
from atlas.selection.against import leave_out
from atlas.selection.select import Thresholds
from atlas.selection.thresholds import AGAINST


def others(fact: Known, facts: list[Known], against: str) -> list[Known]:
    """The facts by which a fact's neurons are judged."""
    if against == "answer":
        return [f for f in facts if f.object == fact.object and f.subject != fact.subject]
    return [
        f
        for f in facts
        if f.relation_id == fact.relation_id
        and f.subject != fact.subject
        and f.object != fact.object
    ]


def left_by_sets(facts: list[Known], against: str) -> tuple[set[tuple[object, ...]], int, int]:
    """Neurons that stay, and how many are left out and unjudged."""
    stay, out, unjudged = set(), 0, 0
    for fact in facts:
        judges = others(fact, facts, against)
        for neuron in fact.neurons:
            serving = [f for f in judges if neuron in f.neurons]
            if against == "answer":  # facts of one subject and object count once
                share = Fraction(
                    len({f.subject for f in serving}), len({f.subject for f in judges}) or 1
                )
            else:
                share = Fraction(len(serving), len(judges) or 1)
            if judges and share >= Fraction(1, 2):
                out += 1
            else:
                stay.add((fact.fact_id, *neuron))
                unjudged += not judges
    return stay, out, unjudged


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with empty_atlas() as connection:
        yield connection


@settings(max_examples=40, deadline=None)
@given(facts=fact_lists, against=st.sampled_from(sorted(AGAINST)))
def test_what_half_of_the_others_have_is_left_out(
    connection: duckdb.DuckDBPyConnection, facts: list[Known], against: str
) -> None:
    with stored(connection, facts):
        connection.execute(
            """
            CREATE TEMPORARY TABLE chosen AS
            SELECT fact_id, layer, neuron
            FROM knowledge_neurons
            """
        )
        found = leave_out(connection, RUN, False, against)
        left = set(connection.execute("SELECT fact_id, layer, neuron FROM chosen").fetchall())
        connection.execute("DROP TABLE chosen")
    stay, out, unjudged = left_by_sets(facts, against)
    assert left == stay
    assert sum(row.left_out for row in found) == out
    assert sum(row.unjudged for row in found) == unjudged


@pytest.fixture
def own(tmp_path: Path) -> Synthetic:
    return build(tmp_path / "atlas.duckdb")


def test_a_selection_against_the_answer_says_what_it_left_out(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        # the first two facts of the first relation have one object, and the hub is of both
        connection.execute("UPDATE facts SET object = 'Town 0' WHERE fact_id = 'P36-1'")
    before = own.atlas.select(known_only=False).selection
    made = own.atlas.select(against="answer", known_only=False).selection
    assert made.selection_id != before.selection_id
    assert made.name.endswith("against-answer-all-facts")
    (first, second) = made.relations
    assert (first.left_out, second.left_out) == (4, 0)  # the hub and the relation's, of both
    assert (first.unjudged, second.unjudged) == (12, 18)
    assert first.mean_neurons == pytest.approx((3 * 6 - 4) / 6)
    assert before.relations[0].left_out is None
    rows = own.atlas.sql(
        f"SELECT settings FROM selections WHERE selection_id = '{made.selection_id}'"
    ).rows
    assert json.loads(rows[0][0])["against"] == "answer"
    assert own.atlas.select(against="answer", known_only=False).selection.relations == (
        made.relations
    )


def test_negatives_leave_out_what_serves_other_answers_to_the_same_templates(
    own: Synthetic,
) -> None:
    usual = own.atlas.select(known_only=False).selection
    done = run("select", "--negatives", "--all-facts", "--name", "own", "--db", str(own.atlas.path))
    assert done.exit_code == 0, done.stderr
    with own.atlas.reading() as connection:
        left = connection.execute(
            "SELECT DISTINCT layer, neuron FROM knowledge_neurons JOIN selections USING "
            "(selection_id) WHERE name = 'own' ORDER BY ALL"
        ).fetchall()
    # the hub and the relation's neuron serve every fact, whatever its answer
    assert left == [(0, number) for number in range(12)]
    assert usual.mean_neurons == 3
    both = run("select", "--negatives", "--against", "answer", "--db", str(own.atlas.path))
    assert both.exit_code == 2
    assert "name one of them" in both.stderr


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(SettingsError, match="use answer or template"):
        Thresholds(against="relation")  # type: ignore[arg-type]
    assert "against" not in Thresholds().settings()
