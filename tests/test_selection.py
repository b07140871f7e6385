import time
from collections import defaultdict
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import (
    MODEL,
    attributions,
    build,
    neurons_of,
    synthetic_dataset,
    synthetic_results,
    synthetic_run,
)

from atlas.errors import NotFound, SettingsError
from atlas.selection import Thresholds, select
from atlas.store import connection as connections
from atlas.store import records
from atlas.store.atlas_file import Atlas, open_atlas
from atlas.thresholds import settle

DATASET = synthetic_dataset(relations=2, facts=3, templates=8)
RUN = synthetic_run(DATASET)
TABLES = ("selections", "selection_relations", "knowledge_neurons")

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
)


@settings(max_examples=60, deadline=None)
@given(prompts=measured_prompts, asked=fixed)
def test_selection_agrees_with_the_rule_spelled_out(
    shared: Atlas, prompts: list[Measured], asked: Thresholds
) -> None:
    (found,) = selected(shared, prompts, asked)
    wanted = expected(prompts, asked)
    assert found.keys() == wanted.keys()
    for neuron, numbers in wanted.items():
        assert found[neuron] == pytest.approx(numbers, rel=1e-6)  # share and mean score


@settings(max_examples=40, deadline=None)
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


@settings(max_examples=30, deadline=None)
@given(
    prompts=measured_prompts,
    asked=fixed | st.just(Thresholds()) | st.just(Thresholds(min_prompts=1)),
    random=st.randoms(use_true_random=False),
)
def test_the_order_of_prompts_does_not_matter(
    shared: Atlas, prompts: list[Measured], asked: Thresholds, random: Random
) -> None:
    shuffled = list(prompts)
    random.shuffle(shuffled)
    assert selected(shared, prompts, asked) == selected(shared, shuffled, asked)


@settings(max_examples=30, deadline=None)
@given(prompts=measured_prompts)
def test_the_preset_paper_is_the_fixed_rule_at_the_sharing_it_settled_on(
    shared: Atlas, prompts: list[Measured]
) -> None:
    with connections.exclusive(shared.path) as connection:
        connection.execute("BEGIN TRANSACTION")
        record(connection, prompts)
        select(connection, RUN.run_id, Thresholds())
        used = connection.execute(
            "SELECT relation_id, sharing, moves, facts, mean_neurons FROM selection_relations"
        ).fetchall()
        found = connection.execute(
            "SELECT fact_id, layer, neuron FROM knowledge_neurons"
        ).fetchall()
        connection.execute("ROLLBACK")
    of_relation = {f.fact_id: f.relation_id for f in FACTS}
    measured_facts = {p.fact_id for p in prompts if p.scores is not None}
    assert {row[0] for row in used} == {of_relation[f] for f in measured_facts}
    for relation_id, sharing, moves, facts, mean in used:
        wanted = {
            neuron
            for neuron in expected(prompts, Thresholds(preset="fixed", sharing=sharing))
            if of_relation[neuron[0]] == relation_id
        }
        assert {neuron for neuron in found if of_relation[neuron[0]] == relation_id} == wanted
        assert facts == sum(of_relation[f] == relation_id for f in measured_facts)
        assert mean == pytest.approx(len(wanted) / facts)
        assert moves == 6 or 2 <= mean <= 5


def test_a_share_of_seven_in_ten_is_at_least_0_7() -> None:
    at_7_of_10 = {700_000: 30}
    assert settle(at_7_of_10, 10, Thresholds(preset="fixed", sharing=0.7)).mean_neurons == 3
    assert (
        settle(at_7_of_10, 10, Thresholds(preset="fixed", sharing=0.7000000001)).sharing == 700_000
    )
    assert settle(at_7_of_10, 10, Thresholds(preset="fixed", sharing=0.700001)).mean_neurons == 0


@pytest.mark.parametrize(
    ("neurons_by_share", "sharing", "moves"),
    [
        ({1_000_000: 30}, 700_000, 0),  # 3 neurons per fact: within the target
        ({1_000_000: 20}, 700_000, 0),  # exactly 2
        ({1_000_000: 50}, 700_000, 0),  # exactly 5
        ({1_000_000: 10, 600_000: 20}, 600_000, 2),  # too few: down
        ({1_000_000: 30, 800_000: 60}, 850_000, 3),  # too many: up
        ({1_000_000: 100}, 1_000_000, 6),  # too many even if all prompts must agree
        ({}, 400_000, 6),  # none at all
        ({1_000_000: 10, 650_000: 90}, 700_000, 6),  # 1 or 10: back and forth
    ],
)
def test_the_preset_paper_moves_sharing_until_facts_have_two_to_five_neurons(
    neurons_by_share: dict[int, int], sharing: int, moves: int
) -> None:
    settled = settle(neurons_by_share, 10, Thresholds())
    assert (settled.sharing, settled.moves) == (sharing, moves)


def test_sharing_stays_above_zero_and_does_not_exceed_one() -> None:
    assert settle({}, 1, Thresholds(sharing=0.1, max_moves=50)).sharing == 50_000
    assert settle({1_000_000: 9}, 1, Thresholds(sharing=0.9, max_moves=50)).sharing == 1_000_000


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"preset": "papers"}, "use paper or fixed"),
        ({"comparison": "<"}, "use >= or >"),
        ({"ratio": 0}, "ratio is 0: use more than 0 and at most 1"),
        ({"ratio": float("nan")}, "ratio is nan"),
        ({"sharing": 1.2}, r"sharing is 1\.2"),
        ({"min_prompts": 0}, "use 1 or more"),
        ({"target_low": 6}, "target is 6 to"),
        ({"step": 0}, "step is 0"),
        ({"max_moves": -1}, "max_moves -1"),
    ],
)
def test_settings_outside_their_range_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as e:
        Thresholds(**changes)
    assert "\n" not in str(e.value)


def content(atlas: Atlas) -> dict[str, list[tuple[Any, ...]]]:
    with atlas.reading() as connection:
        return {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()
            for table in TABLES
        }


def latest(atlas: Atlas) -> str:
    with atlas.reading() as connection:
        ((selection_id,),) = connection.execute(
            "SELECT selection_id FROM latest_selection"
        ).fetchall()
    return str(selection_id)


def ask(atlas: Atlas, run_id: str, asked: Thresholds, **options: Any) -> str:
    with atlas.writing() as connection:
        return select(connection, run_id, asked, **options)


def test_the_synthetic_atlas_has_the_neurons_it_promises(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb", relations=3, facts=4)
    found = {row[1:4] for row in content(made.atlas)["knowledge_neurons"]}
    assert found == {
        (fact.fact_id, layer, neuron)
        for r, relation in enumerate(made.dataset.relations)
        for f, fact in enumerate(relation.facts)
        for layer, neuron in neurons_of(made.dataset, r, f)
    }
    assert [row[1:] for row in content(made.atlas)["selection_relations"]] == [
        (relation_id, 0.7, 0, 4, 12, 3.0) for relation_id in ("P30", "P36", "P37")
    ]


def test_the_id_of_a_selection_is_what_it_always_was() -> None:
    assert Thresholds().selection_id("4b4908821a95") == "a8d0c5dcb573"
    assert Thresholds(preset="fixed").selection_id("4b4908821a95") == "2570d1ac9bca"


def test_settings_that_a_preset_ignores_do_not_make_another_selection() -> None:
    plain = Thresholds(preset="fixed")
    assert replace(plain, target_low=1.0, step=0.1).selection_id("r") == plain.selection_id("r")
    assert Thresholds(target_low=1.0).selection_id("r") != Thresholds().selection_id("r")
    assert Thresholds(ratio=0.20000000001).selection_id("r") == Thresholds().selection_id("r")


def test_asking_for_the_latest_selection_again_changes_no_row(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    before = content(made.atlas)
    assert ask(made.atlas, made.run_id, Thresholds()) == made.selection_id
    assert content(made.atlas) == before


def test_the_latest_selection_is_the_one_asked_for_last(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    strict = ask(made.atlas, made.run_id, Thresholds(preset="fixed", ratio=0.9))
    assert latest(made.atlas) == strict != made.selection_id
    before = content(made.atlas)
    assert ask(made.atlas, made.run_id, Thresholds()) == made.selection_id
    assert latest(made.atlas) == made.selection_id
    after = content(made.atlas)
    assert after["knowledge_neurons"] == before["knowledge_neurons"]
    assert after["selection_relations"] == before["selection_relations"]
    changed = [row for row in after["selections"] if row not in before["selections"]]
    assert [row[0] for row in changed] == [made.selection_id]


def test_a_clock_that_was_set_back_does_not_change_what_is_latest(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    with made.atlas.writing() as connection:
        connection.execute("UPDATE selections SET asked_at = TIMESTAMP '2999-01-01 00:00:00'")
    strict = ask(made.atlas, made.run_id, Thresholds(preset="fixed"))
    assert latest(made.atlas) == strict


def test_new_results_are_taken_up_and_other_relations_left_alone(tmp_path: Path) -> None:
    atlas = open_atlas(tmp_path / "a.duckdb", create=True)
    dataset = synthetic_dataset()
    run = synthetic_run(dataset)
    with atlas.writing() as connection:
        records.record_dataset(connection, dataset)
        records.record_run(connection, run)
        records.record_results(connection, run.run_id, synthetic_results(dataset, 0))
    ask(atlas, run.run_id, Thresholds())
    first = content(atlas)
    assert [row[1] for row in first["selection_relations"]] == ["P36"]
    with atlas.writing() as connection:
        records.record_results(connection, run.run_id, synthetic_results(dataset, 1))
    ask(atlas, run.run_id, Thresholds())
    second = content(atlas)
    assert [row[1] for row in second["selection_relations"]] == ["P36", "P37"]
    assert set(first["knowledge_neurons"]) < set(second["knowledge_neurons"])
    assert second["selections"] == first["selections"]


def test_selecting_relation_by_relation_is_the_same_as_all_at_once(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb", relations=3)
    asked = Thresholds(preset="fixed", ratio=0.7)
    for relation_id in ("P37", "P36", "P30"):
        ask(made.atlas, made.run_id, asked, relations=[relation_id])
    piecemeal = content(made.atlas)
    with made.atlas.writing() as connection:
        for table in TABLES:
            connection.execute(f"DELETE FROM {table}")
    ask(made.atlas, made.run_id, asked)
    at_once = content(made.atlas)
    selection_id = asked.selection_id(made.run_id)
    for table in ("selection_relations", "knowledge_neurons"):
        assert at_once[table] == [row for row in piecemeal[table] if row[0] == selection_id]


def test_a_relation_measured_further_is_selected_anew(tmp_path: Path) -> None:
    atlas = open_atlas(tmp_path / "a.duckdb", create=True)
    dataset = synthetic_dataset(relations=1, facts=2, templates=5)
    run = synthetic_run(dataset)
    results = synthetic_results(dataset, 0)
    assert results.attributions is not None
    half = [p for p in results.prompts if p.skipped_because is None][:3]
    ids = np.array([p.prompt_id for p in half])
    kept = np.isin(results.attributions.prompt_id, ids)
    rows = {name: column[kept] for name, column in vars(results.attributions).items()}
    with atlas.writing() as connection:
        records.record_dataset(connection, dataset)
        records.record_run(connection, run)
        part = records.PromptResults(half, records.Attributions(**rows))
        records.record_results(connection, run.run_id, part)
    ask(atlas, run.run_id, Thresholds())
    assert {row[1] for row in content(atlas)["knowledge_neurons"]} == {"P36-0"}
    with atlas.writing() as connection:
        records.record_results(connection, run.run_id, results)
    ask(atlas, run.run_id, Thresholds())
    found = content(atlas)
    assert {row[1] for row in found["knowledge_neurons"]} == {"P36-0", "P36-1"}
    assert len(found["knowledge_neurons"]) == 6
    assert [row[1:] for row in found["selection_relations"]] == [("P36", 0.7, 0, 2, 8, 3.0)]


def test_facts_without_neurons_are_counted_but_absent(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb", relations=1, facts=3)
    asked = Thresholds(preset="fixed", min_prompts=50)
    ask(made.atlas, made.run_id, asked)
    found = content(made.atlas)
    selection_id = asked.selection_id(made.run_id)
    assert [row for row in found["knowledge_neurons"] if row[0] == selection_id] == []
    assert [row[1:] for row in found["selection_relations"] if row[0] == selection_id] == [
        ("P36", 0.7, 0, 3, 9, 0.0)
    ]


def test_a_run_without_measured_prompts_gives_an_empty_selection(shared: Atlas) -> None:
    skipped = Measured(FACTS[0].fact_id, TEMPLATES["P36"][0].template_id, None)
    assert selected(shared, [], Thresholds()) == [{}]
    assert selected(shared, [skipped], Thresholds()) == [{}]


def test_runs_are_selected_apart(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    before = content(made.atlas)
    other = replace(made.run, tolerance=0.5)
    with made.atlas.writing() as connection:
        records.record_run(connection, other)
        records.record_results(connection, other.run_id, synthetic_results(made.dataset, 1))
    other_id = ask(made.atlas, other.run_id, Thresholds())
    found = content(made.atlas)
    assert [row for row in found["knowledge_neurons"] if row[0] != other_id] == before[
        "knowledge_neurons"
    ]
    assert [row[1] for row in found["selection_relations"] if row[0] == other_id] == ["P37"]


def test_a_ratio_below_what_was_stored_is_refused(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    before = content(made.atlas)
    with pytest.raises(SettingsError, match=r"stored only scores from 0\.05 .* use 0\.05") as e:
        ask(made.atlas, made.run_id, Thresholds(ratio=0.04))
    assert "\n" not in str(e.value)
    assert content(made.atlas) == before
    ask(made.atlas, made.run_id, Thresholds(ratio=0.05))


def test_an_unknown_run_is_refused(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    with pytest.raises(NotFound, match="no run 123: `atlas info` lists the runs"):
        ask(made.atlas, "123", Thresholds())


def test_a_full_atlas_is_selected_within_two_seconds(tmp_path: Path) -> None:
    atlas = open_atlas(tmp_path / "a.duckdb", create=True)
    run = synthetic_run(DATASET)
    with atlas.writing() as connection:
        records.record_run(connection, run)
        connection.execute(
            """
            INSERT INTO facts
            SELECT 'F' || range, 'P' || range // 63, 'subject', 'object'
            FROM range(2500)
            """
        )
        connection.execute(
            """
            INSERT INTO prompts
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
    started = time.perf_counter()
    ask(atlas, run.run_id, Thresholds(min_prompts=1))
    assert time.perf_counter() - started < 2
    assert len(content(atlas)["selection_relations"]) == 40
