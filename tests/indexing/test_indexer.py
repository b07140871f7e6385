"""The indexer: repeating, extending, interrupting, and what must not be indexed."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_index import CHEAP, TEMPLATES, alike, indexed, on, rows, steps, tables, tiny_dataset

from atlas.atlas import open_atlas
from atlas.datasets import choose
from atlas.engine.settings import Integration
from atlas.errors import LockedAtlas, ModelNotFound, NotAnAtlas, SettingsError, UnsafeCheckpoint
from atlas.indexing import batches, indexer
from atlas.indexing.index_lock import indexing
from atlas.indexing.indexer import IndexProgress
from atlas.indexing.settings import IndexSettings
from atlas.selection.selections import use_selection

FACTS = 3  # a relation
DATASET = tiny_dataset(relations=2, facts=FACTS)


@pytest.fixture
def settings(saved_bert: Path) -> IndexSettings:
    """How to index on the tiny BERT in little time."""
    return on(saved_bert, integration=CHEAP)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an atlas may be made."""
    return tmp_path / "atlas.duckdb"


def stopped_after(path: Path, settings: IndexSettings, events: int) -> IndexProgress:
    """Index, and leave off after so many events as Ctrl-C does; returns the last event."""
    job = steps(path, DATASET, DATASET, settings)
    for _ in range(events):
        event = next(job)
    with pytest.raises(KeyboardInterrupt):
        job.throw(KeyboardInterrupt())
    return event


# Repeating and extending


def test_indexing_again_changes_no_row_of_any_table(path: Path, settings: IndexSettings) -> None:
    indexed(path, settings, DATASET)
    before = tables(path, clocks=True)
    assert all(before[name] for name in ("attributions", "knowledge_neurons", "fact_masses"))
    again = indexed(path, settings, DATASET)
    indexed(path, settings, DATASET, choose(DATASET, ["P37"], 2))
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
        for event in indexed(bits, settings, DATASET, chosen)
    }
    assert len(runs) == 1
    indexed(whole, settings, DATASET)
    alike(tables(bits), tables(whole))


def test_other_settings_make_another_run_and_leave_the_first_alone(
    path: Path, settings: IndexSettings
) -> None:
    chosen = choose(DATASET, ["P36"], 1)
    indexed(path, settings, DATASET, chosen)
    before = rows(path, "FROM prompt_results ORDER BY ALL")
    other = on(settings.model, integration=Integration("riemann-right", points=2))
    indexed(path, other, DATASET, chosen)
    assert len(rows(path, "FROM runs")) == 2
    assert len(rows(path, "FROM models")) == 1
    assert set(before) < set(rows(path, "FROM prompt_results"))


# Interrupting


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three prompts."""
    monkeypatch.setattr(batches, "LARGEST_BATCH", 3)


@pytest.mark.usefixtures("small_batches")
def test_an_index_makes_its_selection_the_default_once(path: Path, settings: IndexSettings) -> None:
    indexed(path, replace(settings, score_floor=0.1), DATASET)
    (earlier,) = rows(path, "SELECT selection_id FROM default_selection")
    events = steps(path, DATASET, DATASET, settings)
    next(event for event in events if event.complete)
    assert rows(path, "SELECT selection_id FROM default_selection") != [earlier]
    with open_atlas(path).writing() as connection:  # meanwhile, by somebody else
        use_selection(connection, earlier[0])
    list(events)
    assert rows(path, "SELECT selection_id FROM default_selection") == [earlier]


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

    events = indexed(stopped, settings, DATASET)
    assert events[-1].computed == events[-1].total - event.done
    assert rows(stopped, "SELECT status FROM runs WHERE finished_at IS NOT NULL") == [("finished",)]
    indexed(whole, settings, DATASET)
    assert tables(stopped) == tables(whole)


@pytest.mark.usefixtures("small_batches")
def test_ctrl_c_during_a_commit_loses_none_of_the_batches_that_waited_for_it(
    path: Path, settings: IndexSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(indexer, "COMMIT_EVERY", 1e9)
    monkeypatch.setattr(indexer, "select", interrupted)  # the last step of a relation's commit
    with pytest.raises(KeyboardInterrupt):
        indexed(path, settings, DATASET)
    assert rows(path, "SELECT count(*) FROM prompt_results") == [(FACTS * len(TEMPLATES),)]
    assert rows(path, "SELECT status FROM runs") == [("interrupted",)]


@pytest.mark.usefixtures("small_batches")
def test_a_finished_run_that_is_extended_and_interrupted_is_not_finished(
    path: Path, settings: IndexSettings
) -> None:
    indexed(path, settings, DATASET, choose(DATASET, ["P36"]))
    stopped_after(path, settings, events=10)
    assert rows(path, "SELECT status, finished_at FROM runs") == [("interrupted", None)]
    indexed(path, settings, DATASET)
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
        indexed(path, settings, DATASET)


def test_a_file_that_cannot_be_used_is_refused_before_the_model_is_loaded(
    path: Path, settings: IndexSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "load_model", never)
    path.write_bytes(b"a picture of an atlas" * 1000)
    with pytest.raises(NotAnAtlas):
        indexed(path, settings, DATASET)


def test_a_model_that_cannot_be_loaded_leaves_no_file(path: Path, bert: Path) -> None:
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    before = set(path.parent.rglob("*"))
    for model, error in ((path.parent / "none", ModelNotFound), (bert, UnsafeCheckpoint)):
        with pytest.raises(error):
            indexed(path, on(model), DATASET)
    assert set(path.parent.rglob("*")) == before


def test_the_lock_is_gone_after_the_index_and_after_an_interrupt(
    path: Path, settings: IndexSettings
) -> None:
    stopped_after(path, settings, events=1)
    indexed(path, settings, DATASET, choose(DATASET, ["P36"], 1))
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


# Progress


def test_progress_counts_prompts_relation_by_relation(
    path: Path, settings: IndexSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LARGEST_BATCH", 5)
    events = indexed(path, settings, DATASET)
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
