"""The indexer: repeating, extending, interrupting, and what it stores."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_index import TEMPLATES, Tables, alike, tables, tiny_dataset

from atlas import batches, indexer
from atlas.datasets import choose
from atlas.errors import LockedAtlas, ModelNotFound, NotAnAtlas, SettingsError, UnsafeCheckpoint
from atlas.facts import Dataset, Fact, Relation, Template
from atlas.indexer import IndexProgress, IndexSettings, index
from atlas.integration import Integration
from atlas.store.atlas_file import open_atlas
from atlas.store.index_lock import indexing

BUDGET = 1 << 28  # bytes, so that results do not depend on the memory that is free
FACTS = 3  # a relation
DATASET = tiny_dataset(relations=2, facts=FACTS)


@pytest.fixture(scope="module")
def saved_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the tiny GPT-2."""
    from tiny_models import save_tiny

    return save_tiny("gpt2", tmp_path_factory.mktemp("models") / "gpt2")


@pytest.fixture
def settings(saved_bert: Path) -> IndexSettings:
    """How to index on the tiny BERT in little time."""
    return on(saved_bert, integration=Integration("gauss-legendre", points=2))


def on(model: Path | str, **changes: Any) -> IndexSettings:
    """Settings for a model; the adaptive rule and its tolerance unless changed."""
    return IndexSettings(
        **{"model": str(model), "device": "cpu", "memory_budget": BUDGET} | changes
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an atlas may be made."""
    return tmp_path / "atlas.duckdb"


def indexed(
    path: Path, settings: IndexSettings, chosen: Dataset | None = None, dataset: Dataset = DATASET
) -> list[IndexProgress]:
    """Index to the end; everything unless a part of the dataset is chosen."""
    return list(index(path, dataset, chosen or dataset, settings))


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    """The answer to a query."""
    with open_atlas(path).reading() as connection:
        return connection.execute(sql).fetchall()


def stopped_after(
    path: Path, settings: IndexSettings, events: int, dataset: Dataset = DATASET
) -> IndexProgress:
    """Index, and leave off after so many events as Ctrl-C does; returns the last event."""
    job = index(path, dataset, dataset, settings)
    for _ in range(events):
        event = next(job)
    with pytest.raises(KeyboardInterrupt):
        job.throw(KeyboardInterrupt())
    return event


# Repeating and extending


def test_indexing_again_changes_no_row_of_any_table(path: Path, settings: IndexSettings) -> None:
    indexed(path, settings)
    before = tables(path, clocks=True)
    assert all(before.values())
    again = indexed(path, settings)
    indexed(path, settings, choose(DATASET, ["P37"], 2))
    assert tables(path, clocks=True) == before
    assert {event.computed for event in again} == {0}
    assert again[-1].done == again[-1].total == len(before["prompts"])


def test_an_index_extended_bit_by_bit_equals_one_made_at_once(
    tmp_path: Path, saved_bert: Path
) -> None:
    settings = on(saved_bert)
    bits, whole = tmp_path / "bits.duckdb", tmp_path / "whole.duckdb"
    runs = {
        event.run_id
        for chosen in (
            choose(DATASET, ["P37"], 1),
            choose(DATASET, ["P36"], 2),
            choose(DATASET, ["P37", "P36"], 2),
            DATASET,
        )
        for event in indexed(bits, settings, chosen)
    }
    assert len(runs) == 1
    indexed(whole, settings)
    alike(tables(bits), tables(whole))


def test_other_settings_make_another_run_and_leave_the_first_alone(
    path: Path, settings: IndexSettings
) -> None:
    chosen = choose(DATASET, ["P36"], 1)
    indexed(path, settings, chosen)
    before = rows(path, "FROM prompt_results ORDER BY ALL")
    other = on(settings.model, integration=Integration("riemann-right", points=2))
    indexed(path, other, chosen)
    assert len(rows(path, "FROM runs")) == 2
    assert len(rows(path, "FROM models")) == 1
    assert set(before) < set(rows(path, "FROM prompt_results"))


# How the work is divided


@pytest.fixture(scope="module", params=["bert", "gpt2"])
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[IndexSettings, Tables]:
    """An index in as few batches and waves as can be: its settings and tables."""
    settings = on(request.getfixturevalue(f"saved_{request.param}"))
    path = tmp_path_factory.mktemp("whole") / "atlas.duckdb"
    indexed(path, settings)
    return settings, tables(path)


@pytest.mark.parametrize(("name", "value"), [("LARGEST_BATCH", 3), ("BATCH_FLOPS", 1.0)])
def test_results_do_not_depend_on_the_size_of_batches(
    path: Path,
    whole: tuple[IndexSettings, Tables],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: float,
) -> None:
    settings, expected = whole
    monkeypatch.setattr(batches, name, value)
    events = indexed(path, settings)
    assert len(events) >= 16
    alike(tables(path), expected)


def test_results_do_not_depend_on_the_order_of_facts_and_templates(
    path: Path, whole: tuple[IndexSettings, Tables], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, expected = whole
    monkeypatch.setattr(batches, "LARGEST_BATCH", 5)
    backwards = Dataset(
        DATASET.name,
        tuple(
            Relation(r.relation_id, r.label, r.templates[::-1], r.facts[::-1])
            for r in DATASET.relations[::-1]
        ),
    )
    indexed(path, settings, dataset=backwards)
    alike(tables(path), expected)


def test_results_do_not_depend_on_the_memory_budget(
    path: Path, whole: tuple[IndexSettings, Tables]
) -> None:
    settings, expected = whole
    indexed(path, on(settings.model, memory_budget=100_000))
    alike(tables(path), expected)


# Interrupting


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three prompts."""
    monkeypatch.setattr(batches, "LARGEST_BATCH", 3)


@pytest.mark.usefixtures("small_batches")
def test_an_interrupted_index_keeps_what_it_measured_and_the_next_one_finishes(
    tmp_path: Path, settings: IndexSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "COMMIT_EVERY", 1e9)  # so that batches wait for their commit
    stopped, whole = tmp_path / "stopped.duckdb", tmp_path / "whole.duckdb"
    event = stopped_after(stopped, settings, events=4)
    assert (0 < event.done < event.relation_total, event.complete) == (True, False)
    assert rows(stopped, "SELECT status, finished_at FROM runs") == [("interrupted", None)]
    assert rows(stopped, "SELECT count(*) FROM prompt_results") == [(event.done,)]
    assert rows(stopped, "SELECT count(*) FROM selections") == [(0,)]

    events = indexed(stopped, settings)
    assert events[-1].computed == events[-1].total - event.done
    assert rows(stopped, "SELECT status FROM runs WHERE finished_at IS NOT NULL") == [("finished",)]
    indexed(whole, settings)
    assert tables(stopped) == tables(whole)


@pytest.mark.usefixtures("small_batches")
def test_ctrl_c_during_a_commit_loses_none_of_the_batches_that_waited_for_it(
    path: Path, settings: IndexSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(indexer, "COMMIT_EVERY", 1e9)
    monkeypatch.setattr(indexer, "select", interrupted)  # the last step of a relation's commit
    with pytest.raises(KeyboardInterrupt):
        indexed(path, settings)
    assert rows(path, "SELECT count(*) FROM prompt_results") == [(FACTS * len(TEMPLATES),)]
    assert rows(path, "SELECT status FROM runs") == [("interrupted",)]


@pytest.mark.usefixtures("small_batches")
def test_a_finished_run_that_is_extended_and_interrupted_is_not_finished(
    path: Path, settings: IndexSettings
) -> None:
    indexed(path, settings, choose(DATASET, ["P36"]))
    stopped_after(path, settings, events=10)
    assert rows(path, "SELECT status, finished_at FROM runs") == [("interrupted", None)]
    indexed(path, settings)
    assert rows(path, "SELECT status FROM runs") == [("finished",)]


# Locks, and failures before anything is measured


def never(*_: object) -> None:
    """In the place of load_model."""
    pytest.fail("the model was loaded")


def test_a_second_indexer_is_refused_before_it_loads_a_model(
    path: Path, settings: IndexSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "load_model", never)
    with indexing(path), pytest.raises(LockedAtlas, match="is being indexed by process"):
        indexed(path, settings)


def test_a_file_that_cannot_be_used_is_refused_before_the_model_is_loaded(
    path: Path, settings: IndexSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "load_model", never)
    path.write_bytes(b"a picture of an atlas" * 1000)
    with pytest.raises(NotAnAtlas):
        indexed(path, settings)


def test_a_model_that_cannot_be_loaded_leaves_no_file(path: Path, bert: Path) -> None:
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    before = set(path.parent.rglob("*"))
    for model, error in ((path.parent / "none", ModelNotFound), (bert, UnsafeCheckpoint)):
        with pytest.raises(error):
            indexed(path, on(model))
    assert set(path.parent.rglob("*")) == before


def test_the_lock_is_gone_after_the_index_and_after_an_interrupt(
    path: Path, settings: IndexSettings
) -> None:
    stopped_after(path, settings, events=1)
    indexed(path, settings, choose(DATASET, ["P36"], 1))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("named", "complaint"),
    [
        ({"method": "guessing"}, "unknown method 'guessing'"),
        ({"score_floor": -0.1}, "score floor"),
        ({"score_floor": 0.3}, "ratio 0.2, got 0.3"),
        ({"score_floor": float("nan")}, "score floor"),
    ],
)
def test_settings_out_of_range_are_refused(named: dict[str, object], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as e:
        IndexSettings(**named)  # type: ignore[arg-type]
    assert "\n" not in str(e.value)


# What is stored


def test_progress_counts_prompts_relation_by_relation(
    path: Path, settings: IndexSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LARGEST_BATCH", 5)
    events = indexed(path, settings)
    size = FACTS * len(TEMPLATES)
    assert {event.total for event in events} == {2 * size}
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert events[-1].done == events[-1].computed == 2 * size
    assert [event.relation_id for event in events if event.complete] == ["P36", "P37"]
    for relation_id in ("P36", "P37"):
        counts = [event.relation_done for event in events if event.relation_id == relation_id]
        assert counts[0] == 0
        assert counts[-2:] == [size, size]
    seconds = [event.seconds for event in events]
    assert seconds == sorted(seconds)
    assert seconds[-1] > 0


def test_scores_are_those_of_attribute_down_to_the_floor(
    path: Path, settings: IndexSettings
) -> None:
    from atlas.attribution import attribute
    from atlas.models.load import load_model
    from atlas.prompts import Prompt

    indexed(path, on(settings.model), choose(DATASET, ["P36"], 1))
    stored = rows(
        path,
        """
        SELECT a.layer, a.neuron, a.score, a.activation
        FROM attributions AS a
        JOIN prompts AS p USING (prompt_id)
        WHERE p.text = 'The capital of Ireland is [Y].'
        ORDER BY a.layer, a.neuron
        """,
    )
    lm = load_model(settings.model, device="cpu")
    measured = attribute(lm, [Prompt("The capital of Ireland is [MASK].", "Dublin")])
    scores, activations = measured.scores[0], measured.activations[0]
    layers, neurons = np.nonzero(np.abs(scores) >= 0.05 * scores.max())
    assert 0 < len(layers) < scores.size
    assert [row[:2] for row in stored] == list(zip(layers, neurons, strict=True))
    assert [row[2] for row in stored] == pytest.approx(scores[layers, neurons], rel=1e-5)
    assert [row[3] for row in stored] == pytest.approx(activations[layers, neurons], rel=1e-5)
    ((p, rank, largest, gap, effect, evaluations),) = rows(
        path,
        """
        SELECT p_answer, answer_rank, max_score, completeness_gap, layer_effect,
               gradient_evaluations
        FROM prompt_results
        JOIN prompts USING (prompt_id)
        WHERE text = 'The capital of Ireland is [Y].'
        """,
    )
    assert (p, largest) == pytest.approx((measured.p_answer[0], scores.max()), rel=1e-5)
    assert (rank, evaluations) == (measured.answer_rank[0], measured.evaluations[0].sum())
    assert effect == pytest.approx(np.abs(measured.effect[0]).max(), rel=1e-5)
    worst = np.abs(measured.completeness_gap[0]).argmax()
    assert gap == pytest.approx(measured.completeness_gap[0, worst], rel=1e-3, abs=1e-7)


def test_a_floor_of_zero_stores_every_score(path: Path, settings: IndexSettings) -> None:
    indexed(path, on(settings.model, score_floor=0.0), choose(DATASET, ["P36"], 1))
    ((prompts, scores, layers, neurons),) = rows(
        path,
        """
        SELECT count(DISTINCT a.prompt_id), count(*), any_value(m.layers),
               any_value(m.neurons_per_layer)
        FROM attributions AS a, models AS m
        """,
    )
    assert scores == prompts * layers * neurons


@pytest.mark.parametrize("method", ["activation", "gradient-x-activation"])
def test_methods_without_a_completeness_gap_store_none(
    path: Path, settings: IndexSettings, method: str
) -> None:
    indexed(path, on(settings.model, method=method), choose(DATASET, ["P36"], 1))
    gaps = rows(
        path,
        """
        SELECT DISTINCT completeness_gap, layer_effect, over_tolerance
        FROM prompt_results
        """,
    )
    assert gaps == [(None, None, None)]
    assert rows(path, "SELECT method, rule, points, tolerance, settings FROM runs") == [
        (method, None, None, None, "{}")
    ]
    assert rows(path, "SELECT count(*) > 0 FROM attributions") == [(True,)]


def _dataset(*objects: str) -> Dataset:
    facts = (Fact(f"f-{i}", "P36", "Ireland", name) for i, name in enumerate(objects))
    templates = tuple(Template("P36", text) for text in TEMPLATES)
    return Dataset("objects", (Relation("P36", "capital", templates, tuple(facts)),))


def test_an_answer_of_several_tokens_is_measured(path: Path, settings: IndexSettings) -> None:
    indexed(path, settings, dataset=_dataset("Dublin", "Antananarivo"))
    answer = rows(path, "SELECT answer_tokens, count(*) FROM prompt_results GROUP BY 1 ORDER BY 1")
    assert answer == [(1, 6), (3, 6)]


def test_prompts_that_a_model_cannot_be_asked_are_recorded_with_the_reason(
    path: Path, settings: IndexSettings, saved_gpt2: Path
) -> None:
    dataset = _dataset("Dublin", "Łódź")
    indexed(path, settings, dataset=dataset)
    indexed(path, replace(settings, model=str(saved_gpt2)), dataset=dataset)
    reasons = rows(
        path,
        """
        SELECT m.objective, p.skipped_because, count(*)
        FROM prompt_results AS p
        JOIN runs USING (run_id)
        JOIN models AS m USING (model_id)
        GROUP BY ALL
        ORDER BY ALL
        """,
    )
    assert reasons == [
        ("causal", "template does not end in [Y]", 4),
        ("causal", None, 8),
        ("masked", "answer has an unknown token", 6),
        ("masked", None, 6),
    ]
    assert rows(
        path,
        """
        SELECT count(*)
        FROM attributions
        SEMI JOIN (FROM prompt_results WHERE skipped_because IS NOT NULL) USING (run_id, prompt_id)
        """,
    ) == [(0,)]


def test_a_relation_of_which_nothing_can_be_asked_is_complete_without_neurons(
    path: Path, settings: IndexSettings
) -> None:
    events = indexed(path, settings, dataset=_dataset("Łódź"))
    assert events[-1].complete
    assert rows(path, "SELECT count(*) FROM selections") == [(1,)]
    assert rows(path, "SELECT count(*) FROM knowledge_neurons") == [(0,)]
    assert rows(path, "SELECT status FROM runs") == [("finished",)]
