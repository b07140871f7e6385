from collections import defaultdict
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, cast

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import (
    MODEL,
    attributions,
    synthetic_dataset,
    synthetic_run,
)

from atlas.atlas import Atlas, open_atlas
from atlas.indexing import records
from atlas.selection.select import Thresholds, select
from atlas.store import connection as connections

DATASET = synthetic_dataset(relations=2, facts=3, templates=8)


RUN = synthetic_run(DATASET)


Neuron = tuple[str, int, int]  # fact, layer, neuron


@dataclass(frozen=True)
class Measured:
    """A prompt's result: its positive maximum and its stored rows; skipped if there are none."""

    fact_id: str
    template_id: str
    scores: dict[tuple[int, int], float] | None

    @property
    def prompt_id(self) -> int:
        return records.prompt_id(self.fact_id, self.template_id)

    @property
    def max_score(self) -> float:
        return max((self.scores or {}).values(), default=0.0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """An atlas with a dataset and a run without results; tests roll back what they add."""
    atlas = open_atlas(tmp_path_factory.mktemp("atlas") / "a.duckdb", create=True)
    with atlas.writing() as connection:
        records.record_dataset(connection, DATASET)
        records.record_model(connection, MODEL)
        records.record_run(connection, RUN)
    return atlas


def record(connection: duckdb.DuckDBPyConnection, prompts: list[Measured]) -> None:
    rows = [
        (p.prompt_id, layer, neuron, score, 1.0)
        for p in prompts
        for (layer, neuron), score in (p.scores or {}).items()
    ]
    results = [
        records.PromptResult(p.prompt_id, skipped_because="skipped")
        if p.scores is None
        else records.PromptResult(p.prompt_id, max_score=p.max_score)
        for p in prompts
    ]
    records.record_results(
        connection, RUN.run_id, records.PromptResults(results, attributions(rows))
    )


def selected(
    shared: Atlas, prompts: list[Measured], *thresholds: Thresholds
) -> list[dict[Neuron, tuple[float, float]]]:
    """For each of the thresholds: neurons with their share and mean score."""
    with connections.exclusive(shared.path) as connection:
        connection.execute("BEGIN TRANSACTION")
        record(connection, prompts)
        found = []
        for asked in thresholds:
            selection_id = select(connection, RUN.run_id, asked)
            rows = connection.execute(
                """
                SELECT fact_id, layer, neuron, prompt_share, mean_score
                FROM knowledge_neurons
                WHERE selection_id = $selection_id
                """,
                {"selection_id": selection_id},
            ).fetchall()
            assert len({row[:3] for row in rows}) == len(rows)
            found.append({row[:3]: row[3:] for row in rows})
        connection.execute("ROLLBACK")
    return found


def expected(prompts: list[Measured], asked: Thresholds) -> dict[Neuron, tuple[float, float]]:
    """The rule again, fact by fact, with exact shares; preset "fixed" only."""
    by_fact: dict[str, list[Measured]] = defaultdict(list)
    for prompt in prompts:
        if prompt.scores is not None:
            by_fact[prompt.fact_id].append(prompt)
    kept: dict[Neuron, tuple[float, float]] = {}
    for fact_id, measured in by_fact.items():
        passed: dict[tuple[int, int], list[float]] = defaultdict(list)
        for prompt in measured:
            limit = asked.ratio * float(np.float32(prompt.max_score))
            for place, score in (prompt.scores or {}).items():
                value = float(np.float32(score))
                passes = value >= limit if asked.comparison == ">=" else value > limit
                if value > 0 and passes:
                    passed[place].append(value)
        for (layer, neuron), values in passed.items():
            share = Fraction(len(values), len(measured))
            if share >= Fraction(str(asked.sharing)) and len(values) >= asked.min_prompts:
                kept[fact_id, layer, neuron] = (float(share), sum(values) / len(values))
    return kept


FACTS = [f for r in DATASET.relations for f in r.facts]


TEMPLATES = {r.relation_id: r.templates for r in DATASET.relations}


neurons = st.tuples(st.integers(0, 1), st.integers(0, 3))


# Scores on the steps that thresholds use, so that equality happens; 0.3 is no binary fraction.
scores = st.dictionaries(
    neurons,
    st.builds(lambda step, top: top * step / 20, st.integers(-10, 20), st.sampled_from([1.0, 0.3])),
    max_size=6,
)


measured_prompts = st.lists(
    st.builds(
        lambda fact, template, found: Measured(
            fact.fact_id, TEMPLATES[fact.relation_id][template].template_id, found
        ),
        st.sampled_from(FACTS),
        st.integers(0, 7),
        st.none() | scores,
    ),
    max_size=40,
    unique_by=lambda p: p.prompt_id,
)


steps = st.integers(1, 20).map(lambda n: n / 20)


fixed = st.builds(
    Thresholds,
    preset=st.just("fixed"),
    ratio=steps,
    sharing=steps | st.sampled_from([0.333333, 0.7000000001]),
    comparison=st.sampled_from([">=", ">"]),
    min_prompts=st.integers(1, 4),
    known_only=st.just(False),
)
PAPER = Thresholds(known_only=False)


@settings(max_examples=25, deadline=None)
@given(prompts=measured_prompts, asked=fixed)
def test_selection_agrees_with_the_rule_spelled_out(
    shared: Atlas, prompts: list[Measured], asked: Thresholds
) -> None:
    (found,) = selected(shared, prompts, asked)
    wanted = expected(prompts, asked)
    assert found.keys() == wanted.keys()
    for neuron, numbers in wanted.items():
        assert found[neuron] == pytest.approx(numbers, rel=1e-6)  # share and mean score


@settings(max_examples=15, deadline=None)
@given(prompts=measured_prompts, asked=fixed, other=fixed)
def test_raising_a_threshold_never_adds_a_neuron(
    shared: Atlas, prompts: list[Measured], asked: Thresholds, other: Thresholds
) -> None:
    stricter = replace(
        asked,
        ratio=max(asked.ratio, other.ratio),
        sharing=max(asked.sharing, other.sharing),
        min_prompts=max(asked.min_prompts, other.min_prompts),
    )
    loose, *strict = selected(
        shared,
        prompts,
        asked,
        replace(asked, ratio=stricter.ratio),
        replace(asked, sharing=stricter.sharing),
        replace(asked, min_prompts=stricter.min_prompts),
        replace(asked, comparison=">"),
        stricter,
    )
    for found in strict:
        assert found.keys() <= loose.keys()


@settings(max_examples=12, deadline=None)
@given(
    prompts=measured_prompts,
    asked=fixed | st.just(PAPER) | st.just(replace(PAPER, min_prompts=1)),
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_prompts_does_not_matter(
    shared: Atlas, prompts: list[Measured], asked: Thresholds, random: Random
) -> None:
    shuffled = list(prompts)
    random.shuffle(shuffled)
    assert selected(shared, prompts, asked) == selected(shared, shuffled, asked)


@settings(max_examples=12, deadline=None)
@given(prompts=measured_prompts)
def test_the_preset_paper_is_the_fixed_rule_at_the_sharing_it_settled_on(
    shared: Atlas, prompts: list[Measured]
) -> None:
    with connections.exclusive(shared.path) as connection:
        connection.execute("BEGIN TRANSACTION")
        record(connection, prompts)
        select(connection, RUN.run_id, PAPER)
        used = connection.execute(
            """
            SELECT relation_id, sharing, moves, facts, mean_neurons, target_met
            FROM selection_relations
            """
        ).fetchall()
        found = connection.execute(
            "SELECT fact_id, layer, neuron FROM knowledge_neurons"
        ).fetchall()
        connection.execute("ROLLBACK")
    of_relation = {f.fact_id: f.relation_id for f in FACTS}
    measured_facts = {p.fact_id for p in prompts if p.scores is not None}
    assert {row[0] for row in used} == {of_relation[f] for f in measured_facts}

    def at(sharing: float) -> set[Neuron]:
        found = expected(prompts, Thresholds(preset="fixed", sharing=sharing))
        return {neuron for neuron in found if of_relation[neuron[0]] == relation_id}

    for relation_id, sharing, moves, facts, mean, target_met in used:
        wanted = at(sharing)
        assert {neuron for neuron in found if of_relation[neuron[0]] == relation_id} == wanted
        assert facts == sum(of_relation[f] == relation_id for f in measured_facts)
        assert mean == pytest.approx(len(wanted) / facts)
        assert target_met == (2 <= mean <= 5)
        if not target_met and moves < 6:  # one step further lies too far on the other side
            beyond = len(at(sharing - 0.05 if mean < 2 else sharing + 0.05)) / facts
            below, above = sorted((mean, beyond))
            assert below < 2
            assert above > 5
            assert (mean == below) == (2 - below <= above - 5)


def test_a_run_without_measured_prompts_gives_an_empty_selection(shared: Atlas) -> None:
    skipped = Measured(FACTS[0].fact_id, TEMPLATES["P36"][0].template_id, None)
    assert selected(shared, [], Thresholds()) == [{}]
    assert selected(shared, [skipped], Thresholds(), PAPER) == [{}, {}]


class Counting:
    """A connection that counts its statements."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.statements = 0

    def execute(self, *arguments: Any) -> duckdb.DuckDBPyConnection:
        self.statements += 1
        return self.connection.execute(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


def test_a_full_atlas_is_selected_by_few_statements(tmp_path: Path) -> None:
    atlas = open_atlas(tmp_path / "a.duckdb", create=True)
    run = synthetic_run(DATASET)
    with atlas.writing() as connection:
        records.record_run(connection, run)
        connection.execute(
            """
            INSERT INTO facts (fact_id, relation_id, subject, object)
            SELECT 'F' || range, 'P' || range // 63, 'subject', 'object'
            FROM range(2500)
            """
        )
        connection.execute(
            """
            INSERT INTO prompts (prompt_id, fact_id, template_id, text)
            SELECT range, 'F' || range // 8, 'T' || range % 8, 'text'
            FROM range(20000)
            """
        )
        connection.execute(
            """
            INSERT INTO prompt_results (run_id, prompt_id, max_score)
            SELECT $run_id, prompt_id, 1
            FROM prompts
            """,
            {"run_id": run.run_id},
        )
        connection.execute(
            """
            INSERT INTO attributions
            SELECT $run_id, p.prompt_id, n.range % 6, (p.prompt_id // 8 * 7919 + n.range) % 1024,
                   (hash(p.prompt_id, n.range) % 1000 + 1) / 1000, 1
            FROM prompts AS p, range(60) AS n
            """,
            {"run_id": run.run_id},
        )
    with atlas.writing() as connection:
        counting = Counting(connection)
        asked = replace(PAPER, min_prompts=1)
        select(cast(duckdb.DuckDBPyConnection, counting), run.run_id, asked)
    assert counting.statements < 100  # for 40 relations, 2,500 facts and 20,000 prompts
    with atlas.reading() as connection:
        rows = connection.execute("SELECT facts, prompts FROM selection_relations").fetchall()
    assert len(rows) == 40
    assert tuple(map(sum, zip(*rows, strict=True))) == (2500, 20_000)


def test_by_equal_numbers_of_templates_a_fact_is_as_if_it_had_no_others(shared: Atlas) -> None:
    fact = FACTS[0]
    chosen = sorted(TEMPLATES[fact.relation_id], key=lambda t: t.template_id)
    few = [Measured(fact.fact_id, t.template_id, {(0, 1): 0.5}) for t in chosen[:3]]
    more = [Measured(fact.fact_id, t.template_id, {(0, 2): 0.5}) for t in chosen[3:]]
    by_three = replace(PAPER, templates=3)
    (alone,) = selected(shared, few, PAPER)
    everything, three = selected(shared, few + more, replace(PAPER, preset="fixed"), by_three)
    assert alone == three == {(fact.fact_id, 0, 1): (1.0, 0.5)}
    assert everything == {}
