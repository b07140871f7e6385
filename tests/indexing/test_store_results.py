import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from atlas_content import rows
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import start
from synthetic import (
    attributions,
    begin,
    synthetic_dataset,
)

from atlas.atlas import Atlas, open_atlas
from atlas.indexing import records
from atlas.store import connection as connections


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    return open_atlas(tmp_path / "a.duckdb", create=True)


def batch(*prompt_ids: int) -> records.PromptResults:
    return records.PromptResults(
        [records.PromptResult(i, p_answer=0.5, max_score=0.4) for i in prompt_ids],
        attributions([(i, 1, 2, 0.4, 1.0) for i in prompt_ids]),
    )


def test_a_batch_is_stored_as_given(atlas: Atlas) -> None:
    dataset = synthetic_dataset()
    results = records.PromptResults(
        [
            records.PromptResult(
                *(2**63 - 1, 0.5, 2, "Cork", 0.25, 1, 0.75),
                layer_effect=0.5,
                completeness_gap=-0.125,
                over_tolerance=True,
                gradient_evaluations=12,
            ),
            records.PromptResult(7, skipped_because="object with an unknown token"),
        ],
        attributions([(2**63 - 1, 3, 65_000, 0.75, -1.5), (2**63 - 1, 0, 1, -0.5, 0.25)]),
    )
    with atlas.writing() as connection:
        run_id = begin(connection, dataset)
        records.record_results(connection, run_id, results)
    assert rows(atlas.path, "SELECT * FROM prompt_results ORDER BY prompt_id") == [
        (run_id, 7, *[None] * 10, "object with an unknown token", None, None),
        (run_id, 2**63 - 1, 0.5, 2, "Cork", 0.25, 1, 0.75, 0.5, -0.125, True, 12, *[None] * 3),
    ]
    assert rows(atlas.path, "SELECT * FROM attributions ORDER BY layer") == [
        (run_id, 2**63 - 1, 0, 1, -0.5, 0.25),
        (run_id, 2**63 - 1, 3, 65_000, 0.75, -1.5),
    ]


def test_a_prompt_keeps_its_first_result(atlas: Atlas) -> None:
    with atlas.writing() as connection:
        run_id = begin(connection, synthetic_dataset())
        records.record_results(connection, run_id, batch(1, 2))
        before = connection.execute("SELECT * FROM attributions ORDER BY ALL").fetchall()
        other = records.PromptResults(
            [records.PromptResult(1, p_answer=0.9), records.PromptResult(3, p_answer=0.9)],
            attributions([(1, 5, 5, 0.9, 9.0), (3, 5, 5, 0.9, 9.0)]),
        )
        records.record_results(connection, run_id, other)
        after = connection.execute("SELECT * FROM attributions ORDER BY ALL").fetchall()
        answers = connection.execute(
            "SELECT prompt_id, round(p_answer, 3) FROM prompt_results ORDER BY prompt_id"
        ).fetchall()
    assert [row for row in after if row not in before] == [
        (run_id, 3, 5, 5, pytest.approx(0.9), 9.0)
    ]
    assert answers == [(1, 0.5), (2, 0.5), (3, pytest.approx(0.9))]


def test_runs_do_not_share_results(atlas: Atlas) -> None:
    with atlas.writing() as connection:
        records.record_results(connection, "one", batch(1, 2))
        records.record_results(connection, "two", batch(2, 3))
        assert records.recorded_prompts(connection, "one").tolist() == [1, 2]
        assert records.recorded_prompts(connection, "two").tolist() == [2, 3]


def test_the_prompts_that_were_recorded_are_told_as_int64(atlas: Atlas) -> None:
    with atlas.writing() as connection:
        run_id = begin(connection, synthetic_dataset())
        assert records.recorded_prompts(connection, run_id).dtype == np.int64
        assert records.recorded_prompts(connection, run_id).shape == (0,)
        records.record_results(connection, run_id, batch(2**63 - 1, 5))
        found = records.recorded_prompts(connection, run_id)
    assert found.dtype == np.int64
    assert found.tolist() == [5, 2**63 - 1]


@pytest.mark.parametrize(
    ("results", "complaint"),
    [
        (lambda: batch(1, 1), "twice"),
        (
            lambda: records.PromptResults(
                [records.PromptResult(1)], attributions([(2, 0, 0, 0.5, 0.5)])
            ),
            "without its result",
        ),
        (
            lambda: records.PromptResults(
                [records.PromptResult(1)], attributions([(1, 0, 0, float("nan"), 0.5)])
            ),
            "not finite",
        ),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(results: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        results()


def status(atlas: Atlas) -> tuple[str, bool]:
    ((state, finished),) = rows(atlas.path, "SELECT status, finished_at IS NOT NULL FROM runs")
    return state, finished


def test_the_status_of_a_run_follows_what_happens(atlas: Atlas) -> None:
    with atlas.writing() as connection:
        run_id = begin(connection, synthetic_dataset())
    assert status(atlas) == ("running", False)
    with atlas.writing() as connection:
        records.record_results(connection, run_id, batch(1))
        records.finish_run(connection, run_id, "interrupted")
    assert status(atlas) == ("interrupted", False)
    with atlas.writing() as connection:
        records.record_results(connection, run_id, batch(2))
    assert status(atlas) == ("running", False)
    with atlas.writing() as connection:
        records.finish_run(connection, run_id, "finished")
    assert status(atlas) == ("finished", True)
    before = rows(atlas.path, "SELECT * FROM runs")
    with atlas.writing() as connection:
        begin(connection, synthetic_dataset())
        records.record_results(connection, run_id, batch(2))
        records.finish_run(connection, run_id, "finished")
    assert rows(atlas.path, "SELECT * FROM runs") == before


WRITE_BATCHES = """
    import sys
    from synthetic import attributions
    from atlas.indexing import records
    from atlas.store.connection import writing
    print(flush=True)
    for start in range(int(sys.argv[2]), 10**9, 10):
        ids = range(start, start + 10)
        results = records.PromptResults(
            [records.PromptResult(i, predicted="x" * 50) for i in ids],
            attributions([(i, 0, neuron, 0.5, 0.5) for i in ids for neuron in range(100)]),
        )
        with writing(sys.argv[1]) as connection:
            records.record_results(connection, "run", results)
        print(start + 10, flush=True)
"""


def test_kills_at_any_moment_lose_at_most_the_batch_under_way(atlas: Atlas) -> None:
    written = 0
    for kill in range(8):
        process = start(WRITE_BATCHES, atlas.path, written)
        assert process.stdout is not None
        first = process.stdout.readline()  # its first batch is written
        time.sleep(0.1 + 0.037 * kill)
        with process:
            process.kill()
            out = first + process.stdout.read()  # communicate() loses what came along with it
        told = int(out.split()[-1]) if out.split() else written
        ((prompts,),) = rows(atlas.path, "SELECT count(*) FROM prompt_results")
        assert prompts in (told, told + 10)
        assert rows(
            atlas.path,
            "SELECT count(*), count(DISTINCT (prompt_id, neuron)) FROM attributions",
        ) == [(100 * prompts, 100 * prompts)]
        written = prompts
    assert written > 0


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return open_atlas(tmp_path_factory.mktemp("atlas") / "a.duckdb", create=True)


@settings(max_examples=12, deadline=None)
@given(
    data=st.dictionaries(
        st.integers(0, 2**63 - 1),
        st.lists(
            st.tuples(st.integers(0, 99), st.integers(0, 2**20), finite, finite),
            max_size=4,
        ),
        max_size=6,
    ),
    text=st.text(st.characters(blacklist_categories=["Cs"]), max_size=20),
    cut=st.integers(0, 6),
)
def test_results_come_back_however_they_are_split_into_batches(
    shared: Atlas,
    data: dict[int, list[tuple[int, int, float, float]]],
    text: str,
    cut: int,
) -> None:
    ids = list(data)
    with connections.exclusive(shared.path) as connection:
        connection.execute("BEGIN TRANSACTION")
        for part in (ids[:cut], ids[cut:], ids):
            results = records.PromptResults(
                [records.PromptResult(i, predicted=text) for i in part],
                attributions([(i, *row) for i in part for row in data[i]]),
            )
            records.record_results(connection, "run", results)
        found = connection.execute(
            "SELECT prompt_id, layer, neuron, score, activation FROM attributions"
        ).fetchall()
        results_found = connection.execute(
            "SELECT prompt_id, predicted FROM prompt_results"
        ).fetchall()
        connection.execute("ROLLBACK")
    assert sorted(found) == sorted((i, *row) for i in ids for row in data[i])
    assert sorted(results_found) == sorted((i, text) for i in ids)
