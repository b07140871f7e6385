"""Stability of selections: by hand, and against bootstraps and halves that are really drawn."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from math import ceil
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invocation import run
from scipy.stats import binom
from store_of_neurons import empty_atlas
from synthetic import MODEL, Synthetic, attributions, build, synthetic_dataset, synthetic_run

from atlas.errors import SettingsError
from atlas.indexing import records
from atlas.selection.frequency import chance_of_choice, selection_frequency
from atlas.selection.passing_counts import SPLITS
from atlas.selection.select import select
from atlas.selection.selections import delete_selection
from atlas.selection.stability import FREQUENT, refresh_stability
from atlas.selection.stored_ratios import GRID
from atlas.selection.thresholds import Thresholds

DATASET = synthetic_dataset(relations=2, facts=2, templates=6)
RUN = synthetic_run(DATASET)
FACTS = [fact for relation in DATASET.relations for fact in relation.facts]
TEMPLATES = {relation.relation_id: relation.templates for relation in DATASET.relations}
LOOSE = Thresholds(preset="fixed", ratio=0.2, sharing=0.5, min_prompts=1, known_only=False)

Neuron = tuple[int, int]
Prompts = dict[int, dict[Neuron, float]]  # of a fact: scores by prompt id
Measured = dict[str, Prompts]  # by fact id


def measured(scores: dict[str, list[dict[Neuron, float]]]) -> Measured:
    """Facts whose n-th prompt is of the relation's n-th template."""
    relation = {fact.fact_id: fact.relation_id for fact in FACTS}
    return {
        fact_id: {
            records.prompt_id(fact_id, TEMPLATES[relation[fact_id]][i].template_id): found
            for i, found in enumerate(prompts)
        }
        for fact_id, prompts in scores.items()
    }


@pytest.fixture(scope="module")
def shared() -> Iterator[duckdb.DuckDBPyConnection]:
    with empty_atlas() as connection:
        records.record_dataset(connection, DATASET)
        records.record_model(connection, MODEL)
        records.record_run(connection, RUN)
        yield connection


@pytest.fixture
def connection(shared: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    shared.execute("BEGIN TRANSACTION")
    yield shared
    shared.execute("ROLLBACK")


def record(connection: duckdb.DuckDBPyConnection, facts: Measured) -> None:
    prompts = {prompt: scores for fact in facts.values() for prompt, scores in fact.items()}
    results = [
        records.PromptResult(prompt, max_score=max(scores.values(), default=0.0))
        for prompt, scores in prompts.items()
    ]
    rows = [
        (prompt, *neuron, score, 1.0)
        for prompt, scores in prompts.items()
        for neuron, score in scores.items()
    ]
    records.record_results(
        connection, RUN.run_id, records.PromptResults(results, attributions(rows))
    )


def frequencies(
    connection: duckdb.DuckDBPyConnection, selection_id: str
) -> dict[tuple[str, int, int], float]:
    rows = connection.execute(
        """
        SELECT fact_id, layer, neuron, selection_frequency
        FROM neuron_stability
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    ).fetchall()
    assert len({row[:3] for row in rows}) == len(rows)
    return {row[:3]: row[3] for row in rows}


def agreements(
    connection: duckdb.DuckDBPyConnection, selection_id: str
) -> dict[str, tuple[float | None, int]]:
    rows = connection.execute(
        """
        SELECT fact_id, split_half_jaccard, splits
        FROM fact_stability
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    ).fetchall()
    return {fact_id: (jaccard, splits) for fact_id, jaccard, splits in rows}


def knowledge_neurons(
    connection: duckdb.DuckDBPyConnection, selection_id: str
) -> set[tuple[str, int, int]]:
    return set(
        connection.execute(
            """
            SELECT fact_id, layer, neuron
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
            """,
            {"selection_id": selection_id},
        ).fetchall()
    )


def lower_half(prompts: list[int], split: int) -> list[int]:
    def key(prompt: int) -> tuple[str, int]:
        return hashlib.md5(f"{split} {prompt}".encode()).hexdigest(), prompt

    return sorted(prompts, key=key)[: len(prompts) // 2]


def test_a_frequency_and_the_agreement_of_halves_by_hand(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    # Beside the strongest, one neuron passes in 4, 3, 3, 2, 2 of 4 prompts at the five ratios and
    # must pass in 2; the other in the first two prompts alone.
    facts = measured(
        {
            "P36-0": [
                {(0, 0): 1.0, (0, 1): 0.4, (0, 2): 0.5},
                {(0, 0): 1.0, (0, 1): 0.4, (0, 2): 0.5},
                {(0, 0): 1.0, (0, 1): 0.22},
                {(0, 0): 1.0, (0, 1): 0.12},
            ]
        }
    )
    record(connection, facts)
    selection_id = select(connection, RUN.run_id, LOOSE)
    half = 11 / 16  # of 16 equally likely draws, 1 has none and 4 have one
    three_quarters = 243 / 256  # of 256, 1 has none and 12 have one
    assert frequencies(connection, selection_id) == {
        ("P36-0", 0, 0): 1.0,
        ("P36-0", 0, 1): pytest.approx((1 + 2 * three_quarters + 2 * half) / 5, rel=1e-15),
        ("P36-0", 0, 2): pytest.approx(half, rel=1e-15),
    }
    # Any half has a prompt in which the first two pass; the third is in both if a split parts its.
    prompts = list(facts["P36-0"])
    parted = sum(
        len({*prompts[:2]} & {*lower_half(prompts, split)}) == 1 for split in range(SPLITS)
    )
    assert 0 < parted < SPLITS
    expected = (parted * 1 + (SPLITS - parted) * 2 / 3) / SPLITS
    assert agreements(connection, selection_id) == {"P36-0": (pytest.approx(expected), SPLITS)}


@settings(deadline=None)
@given(st.integers(1, 30), st.data())
def test_the_chance_of_a_bootstrap_is_the_binomial_tail(prompts: int, data: st.DataObject) -> None:
    passed = data.draw(st.integers(0, prompts))
    needed = data.draw(st.integers(1, prompts + 2))
    chance = chance_of_choice(prompts, passed, needed)
    assert 0 <= chance <= 1
    assert chance == pytest.approx(binom.sf(needed - 1, prompts, passed / prompts), abs=1e-12)
    assert chance <= chance_of_choice(prompts, min(passed + 1, prompts), needed)
    assert chance >= chance_of_choice(prompts, passed, needed + 1)
    assert (chance >= FREQUENT) == (passed >= needed)  # what is stored is found by counts alone


def test_a_chance_far_out_keeps_its_digits_with_many_prompts() -> None:
    assert chance_of_choice(1500, 100, 750) == pytest.approx(
        binom.sf(749, 1500, 100 / 1500), rel=1e-6
    )


def test_frequencies_agree_with_bootstraps_that_are_drawn() -> None:
    draw = np.random.default_rng(0)
    prompts, needed, draws = 11, 8, 20_000
    passes = draw.random((6, len(GRID), prompts)) < np.array([0.9, 0.8, 0.7, 0.6, 0.5])[:, None]
    samples = draw.integers(0, prompts, (draws, prompts))
    counted = passes[:, :, samples].sum(axis=3)  # [neuron, ratio, draw]
    drawn = (counted >= needed).mean(axis=(1, 2))
    exact = selection_frequency(
        np.full(6, prompts), passes.sum(axis=2).astype(np.int64), np.full(6, needed)
    )
    assert exact == pytest.approx(drawn, abs=4 * 0.5 / draws**0.5)
    assert len(set(exact)) > 3


@cache
def tail(prompts: int, passed: int, needed: int) -> float:
    return float(binom.sf(needed - 1, prompts, passed / prompts)) if prompts else 0.0


def naive(
    prompts: Prompts, asked: Thresholds
) -> tuple[dict[Neuron, float], set[Neuron], tuple[float | None, int]]:
    """A fact's frequencies, chosen neurons, and agreement of halves, spelled out."""

    def passing(of: list[int], ratio: float) -> dict[Neuron, int]:
        counts: dict[Neuron, int] = defaultdict(int)
        for prompt in of:
            strongest = float(np.float32(max(prompts[prompt].values(), default=0.0)))
            for neuron, score in prompts[prompt].items():
                counts[neuron] += float(np.float32(score)) >= ratio * strongest > 0
        return counts

    def needed(of: list[int]) -> int:
        share = ceil(round(asked.sharing * 1_000_000) * len(of) / 1_000_000)
        return max(share, ceil(asked.min_prompts * len(of) / len(prompts)), 1)

    def frequency(of: list[int], neuron: Neuron) -> float:
        passed = [passing(of, ratio)[neuron] for ratio in GRID]
        return float(np.mean([tail(len(of), k, needed(of)) for k in passed]))

    def chosen(of: list[int]) -> set[Neuron]:
        return {
            neuron
            for neuron, passed in passing(of, asked.ratio).items()
            if passed >= needed(of) and frequency(of, neuron) >= (asked.frequency or 0) - 1e-7
        }

    jaccards = []
    for split in range(SPLITS if len(prompts) > 1 else 0):
        lower = lower_half(list(prompts), split)
        one, other = chosen(lower), chosen([prompt for prompt in prompts if prompt not in lower])
        if one | other:
            jaccards.append(len(one & other) / len(one | other))
    everything = list(prompts)
    return (
        {n: frequency(everything, n) for found in prompts.values() for n in found},
        chosen(everything),
        (float(np.mean(jaccards)) if jaccards else None, len(jaccards)),
    )


scores = st.dictionaries(
    st.tuples(st.integers(0, 1), st.integers(0, 2)),
    st.integers(1, 20).map(lambda step: step / 20),
    max_size=5,
)
few_facts = st.dictionaries(
    st.sampled_from([fact.fact_id for fact in FACTS]),
    st.lists(scores, min_size=1, max_size=6),
    min_size=1,
).map(measured)


@settings(max_examples=10, deadline=None)
@given(
    facts=few_facts,
    sharing=st.sampled_from([0.3, 0.5, 0.7, 1.0]),
    ratio=st.sampled_from([0.05, 0.2, 0.3, 0.4]),
    min_prompts=st.integers(1, 3),
    frequency=st.none() | st.sampled_from([0.2, 0.6, 0.8, 1.0]),
)
def test_what_is_stored_agrees_with_the_rule_spelled_out(
    shared: duckdb.DuckDBPyConnection,
    facts: Measured,
    sharing: float,
    ratio: float,
    min_prompts: int,
    frequency: float | None,
) -> None:
    asked = replace(
        LOOSE, ratio=ratio, sharing=sharing, min_prompts=min_prompts, frequency=frequency
    )
    shared.execute("BEGIN TRANSACTION")
    try:
        record(shared, facts)
        selection_id = select(shared, RUN.run_id, asked)
        stored = frequencies(shared, selection_id)
        agreed = agreements(shared, selection_id)
        chosen = knowledge_neurons(shared, selection_id)
    finally:
        shared.execute("ROLLBACK")
    assert agreed.keys() == facts.keys()
    assert chosen <= stored.keys()
    for fact_id, prompts in facts.items():
        expected, selected, (jaccard, splits) = naive(prompts, asked)
        assert {neuron[1:] for neuron in chosen if neuron[0] == fact_id} == selected
        assert agreed[fact_id] == (pytest.approx(jaccard), splits)
        for neuron, often in expected.items():
            assert (often >= FREQUENT or neuron in selected) == ((fact_id, *neuron) in stored)
            if (fact_id, *neuron) in stored:
                assert stored[fact_id, *neuron] == pytest.approx(often, abs=1e-12)


def test_the_sharing_that_the_preset_paper_moved_to_is_the_one_that_counts(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    # One neuron passes in all 4 prompts, others in 2: the target of 2 is met at a sharing of 0.5.
    strong = {(0, 0): 1.0}
    record(
        connection,
        measured({"P36-0": [strong | {(0, 1): 0.5}] * 2 + [strong | {(0, 2): 0.5}] * 2}),
    )
    asked = Thresholds(min_prompts=2, known_only=False)
    selection_id = select(connection, RUN.run_id, asked)
    ((sharing,),) = connection.execute("SELECT sharing FROM selection_relations").fetchall()
    assert sharing == 0.5
    assert frequencies(connection, selection_id)["P36-0", 0, 1] == 11 / 16
    often = replace(asked, frequency=0.8)
    selection_id = select(connection, RUN.run_id, often)
    assert knowledge_neurons(connection, selection_id) == {("P36-0", 0, 0)}
    rows = connection.execute(
        """
        SELECT sharing, mean_neurons, target_met
        FROM selection_relations
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    ).fetchall()
    assert rows == [(0.5, 1.0, False)]


def test_ratios_below_the_stored_scores_are_left_out_and_said(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    record(connection, measured({"P36-0": [{(0, 0): 1.0, (0, 1): 0.28}] * 3}))
    found = []
    for floor, ratio in ((0.2, 0.2), (0.5, 0.6)):
        connection.execute("UPDATE runs SET score_floor = $floor", {"floor": floor})
        selection_id = select(connection, RUN.run_id, replace(LOOSE, ratio=ratio))
        found += connection.execute(
            """
            SELECT lowest_ratio, highest_ratio, list(selection_frequency ORDER BY neuron)
            FROM fact_stability
            JOIN neuron_stability USING (selection_id, fact_id)
            WHERE selection_id = $selection_id
            GROUP BY ALL
            """,
            {"selection_id": selection_id},
        ).fetchall()
    assert found == [(0.2, 0.3, [1.0, pytest.approx(2 / 3)]), (0.6, 0.6, [1.0])]


def test_stability_follows_new_prompts_of_a_relation_and_goes_with_the_selection(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    both = [{(0, 0): 1.0, (0, 1): 0.28}] * 4
    record(connection, measured({"P36-0": both[:2], "P37-0": both[:2]}))
    selection_id = select(connection, RUN.run_id, LOOSE)
    connection.execute("UPDATE neuron_stability SET selection_frequency = 0.123")
    more = measured({"P36-0": both})["P36-0"]
    record(connection, {"P36-0": dict(list(more.items())[2:])})
    select(connection, RUN.run_id, LOOSE)
    assert frequencies(connection, selection_id) == {
        ("P36-0", 0, 0): 1.0,
        ("P36-0", 0, 1): pytest.approx(0.8),
        ("P37-0", 0, 0): 0.123,
        ("P37-0", 0, 1): 0.123,
    }
    select(connection, RUN.run_id, replace(LOOSE, ratio=0.25))
    delete_selection(connection, selection_id)
    assert frequencies(connection, selection_id) == agreements(connection, selection_id) == {}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """Three prompts a fact; its neurons have 1, 0.83 and 0.67 of the strongest score in each."""
    return build(tmp_path_factory.mktemp("stable") / "a.duckdb", thresholds=LOOSE)


def test_a_selection_of_an_earlier_version_is_looked_at_without_a_write(tmp_path: Path) -> None:
    old = build(tmp_path / "a.duckdb", thresholds=LOOSE)
    stored = old.atlas.facts("P36-0")
    with old.atlas.writing() as connection:
        connection.execute("DELETE FROM fact_stability")
        connection.execute("DELETE FROM neuron_stability")
    assert stored.facts[0].split_half_jaccard == 1
    assert old.atlas.facts("P36-0") == stored
    with old.atlas.reading() as connection:
        assert not agreements(connection, old.selection_id)
    with old.atlas.writing() as connection:
        refresh_stability(connection, old.selection_id)
        assert len(agreements(connection, old.selection_id)) == 12


def test_a_fact_shows_how_stable_its_neurons_are(made: Synthetic) -> None:
    shown = run("query", "--fact", "P36-0", on=made).stdout
    assert "halves of its prompts choose the same neurons to 1.00 (Jaccard, mean of 10 splits)" in (
        " ".join(shown.split())
    )
    (header,) = (line for line in shown.splitlines() if "mean score" in line)
    assert "frequency" in header
    (fact,) = json.loads(run("query", "--fact", "P36-0", "--format", "json", on=made).stdout)[
        "rows"
    ]
    assert (fact["split_half_jaccard"], fact["splits"]) == (1.0, SPLITS)
    assert [neuron["selection_frequency"] for neuron in fact["neurons"]] == [1.0] * 3


def test_select_takes_a_frequency(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    done = run("select", "--all-facts", "--frequency", "0.8", on=made)
    assert done.exit_code == 0
    assert "Selection paper-frequency-0.8-all-facts (paper: ratio 0.2," in done.stderr
    assert "at least 3 prompts, frequency 0.8, all facts): 3.00 knowledge neurons" in done.stderr
    listed = run("selections", "list", "--format", "json", on=made).stdout
    assert [row["frequency"] for row in json.loads(listed)["rows"]] == [0.8, None]
    wrong = run("select", "--frequency", "1.5", on=made)
    assert wrong.exit_code == 1
    assert "frequency is 1.5: use more than 0 and at most 1 (--frequency SHARE)" in wrong.stderr


def test_without_a_frequency_settings_are_those_of_before() -> None:
    plain, often = Thresholds(), Thresholds(frequency=0.8)
    assert "frequency" not in plain.settings()
    assert often.settings() == plain.settings() | {"frequency": 0.8}
    assert often.name == "paper-frequency-0.8"
    for thresholds in (plain, often, LOOSE, Thresholds(templates=3, stops="last")):
        kept = Thresholds.from_settings(json.dumps(thresholds.settings()))
        assert kept.settings() == thresholds.settings()
    with pytest.raises(SettingsError, match="frequency is 0"):
        Thresholds(frequency=0)
