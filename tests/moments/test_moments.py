"""Activations of a run's prompts: what is taken where, resuming, growing, staying small."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tiny_index
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracle import language_model, projections
from synthetic import Synthetic
from tiny_index import tiny_dataset
from tiny_models import tiny

import atlas
from atlas.atlas import Atlas
from atlas.errors import ModelError, NotFound
from atlas.models.language_model import LanguageModel
from atlas.moments import measure
from atlas.moments.activations import StoredActivations
from atlas.moments.measure import (
    complete_activations,
    measure_activations,
    prompt_sites,
    subject_token,
)
from atlas.moments.stored import complete_layers, read_activations, sampled_prompts
from atlas.progress import Advance
from atlas.selection.thresholds import Thresholds

HOW = {"rule": "gauss-legendre", "points": 2, "thresholds": Thresholds(known_only=False)}
FAMILIES = ("bert", "albert", "gpt2", "llama", "opt")


@dataclass(frozen=True)
class Indexed:
    lm: LanguageModel
    path: Path
    runs: dict[str, str]  # by position


def index(lm: LanguageModel, path: Path, facts: int = 3) -> Indexed:
    made = atlas.index(path, lm, tiny_dataset(2, facts), position="both", **HOW)
    assert made.at_subject is not None
    return Indexed(lm, path, {"answer": made.run.run_id, "subject": made.at_subject.run.run_id})


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    lm = language_model(*tiny("bert"))
    return index(lm, tmp_path_factory.mktemp("moments") / "atlas.duckdb")


@pytest.fixture
def own(ready: Indexed, tmp_path: Path) -> Atlas:
    """A copy to write to."""
    return atlas.open(shutil.copy(ready.path, tmp_path / "atlas.duckdb"))


def stored(db: Atlas, run: str, layer: int) -> StoredActivations:
    with db.reading() as connection:
        return read_activations(connection, run, layer)


def naive(lm: LanguageModel, token_ids: tuple[int, ...], position: int, layer: int) -> np.ndarray:
    """The input of a layer's value projection at a position, one prompt by itself."""
    seen: list[torch.Tensor] = []
    module, _ = projections(lm.model)[layer]
    hook = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        lm.model(input_ids=torch.tensor([token_ids]))
    hook.remove()
    calls = [id(projection) for projection, _ in projections(lm.model)][:layer].count(id(module))
    values = seen[calls].reshape(len(token_ids), -1)
    return values[position].numpy()


@pytest.fixture(scope="module", params=FAMILIES)
def of_family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    lm = language_model(*tiny(request.param))
    return index(lm, tmp_path_factory.mktemp("family") / "atlas.duckdb", facts=1)


@pytest.mark.parametrize("position", ["answer", "subject"])
def test_what_is_stored_is_what_the_model_computes_there(of_family: Indexed, position: str) -> None:
    lm, made = of_family.lm, of_family
    db, run = atlas.open(made.path), made.runs[position]
    complete_activations(db, lm, run, [0, 1])
    rows = tiny_index.rows(
        made.path,
        f"""
        SELECT a.layer, a.token, a.position, a.activations, p.text, f.object, p.subject_end
        FROM prompt_activations AS a
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f USING (fact_id)
        WHERE a.run_id = '{run}'
        """,
    )
    assert {layer for layer, *_ in rows} == {0, 1}
    others = 0
    for layer, token, place, values, text, answer, end in rows:
        targets = lm.targets(text, answer, end if position == "subject" else None)
        target = targets[token or 0]
        assert (target.site == place) == (token is not None)
        others += token is None
        expected = naive(lm, target.token_ids, place, layer)
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
    assert others


def test_a_causal_prompt_has_its_subject_among_the_other_positions(of_family: Indexed) -> None:
    lm, made = of_family.lm, of_family
    with atlas.open(made.path).reading() as connection:
        sampled = sampled_prompts(connection, made.runs["answer"], 20)
    for prompt in sampled:
        assert prompt.subject_end is None
        token = subject_token(lm, prompt)
        places = {site.position for site in prompt_sites(lm, prompt, 1)}
        assert len(places) == 2
        if lm.objective == "causal":
            assert token in places
        assert subject_token(lm, replace(prompt, subject_stop=None)) is None


def test_stopping_loses_nothing_and_going_on_gives_the_same(
    ready: Indexed, own: Atlas, tmp_path: Path
) -> None:
    run = ready.runs["answer"]
    whole = atlas.open(shutil.copy(ready.path, tmp_path / "whole.duckdb"))
    complete_activations(whole, ready.lm, run, [0, 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "BATCH_TOKENS", 1)  # a prompt a batch
        job = measure_activations(own, ready.lm, run, [1])
        for _ in range(6):
            last = next(job)
        with pytest.raises(KeyboardInterrupt):
            job.throw(KeyboardInterrupt())
        assert len(set(stored(own, run, 1).prompt_ids)) == last.done == 5
        with own.reading() as connection:
            assert complete_layers(connection, run) == []
        events: list[object] = []
        complete_activations(own, ready.lm, run, [0, 1], events.append)
    assert isinstance(events[-1], Advance)
    assert events[-1].complete
    tables = ("prompt_activations", "activation_layers")
    found, expected = tiny_index.tables(own.path), tiny_index.tables(whole.path)
    del found["activation_layers"], expected["activation_layers"]  # they tell the time
    for name in tables[:1]:
        assert [row[:5] for row in found[name]] == [row[:5] for row in expected[name]]
        both = zip(found[name], expected[name], strict=True)
        for row, other in both:
            np.testing.assert_allclose(row[5], other[5], rtol=1e-4, atol=1e-6)


def test_what_is_complete_is_not_measured_again(ready: Indexed, own: Atlas) -> None:
    run = ready.runs["subject"]
    complete_activations(own, ready.lm, run, [1])
    before = tiny_index.tables(own.path, clocks=True)
    assert list(measure_activations(own, ready.lm, run, [1])) == []
    assert tiny_index.tables(own.path, clocks=True) == before


def test_facts_that_the_run_has_measured_since_are_noticed_and_added(
    ready: Indexed, tmp_path: Path
) -> None:
    path, whole = tmp_path / "atlas.duckdb", tiny_dataset(1, 3)
    run = atlas.index(path, ready.lm, whole, limit=2, **HOW).run.run_id
    db = atlas.open(path)
    complete_activations(db, ready.lm, run, [0])
    before = stored(db, run, 0)
    atlas.index(path, ready.lm, whole, **HOW)
    with db.reading() as connection:
        assert complete_layers(connection, run) == []
    (first, *_) = measure_activations(db, ready.lm, run, [0])
    assert first.done == len(set(before.prompt_ids))
    after = stored(db, run, 0)
    assert set(before.fact_ids) < set(after.fact_ids)
    with db.reading() as connection:
        assert complete_layers(connection, run) == [0]


def test_an_atlas_stays_small_and_every_relation_has_its_part(
    ready: Indexed, own: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ready.runs["answer"]
    with own.reading() as connection:
        few = sampled_prompts(connection, run, 6)
        more = sampled_prompts(connection, run, 10)
    assert more[:6] == few
    complete_activations(own, ready.lm, run, [0])
    with own.writing() as connection:
        connection.execute("DELETE FROM activation_layers")
    monkeypatch.setattr(measure, "MOST_PROMPTS", 6)
    complete_activations(own, ready.lm, run, [0])
    kept = stored(own, run, 0)
    assert set(kept.prompt_ids) == {prompt.prompt_id for prompt in few}
    relations = tiny_index.rows(
        own.path,
        """
        SELECT count(DISTINCT prompt_id)
        FROM prompt_activations
        JOIN prompts USING (prompt_id)
        JOIN facts USING (fact_id)
        GROUP BY relation_id
        """,
    )
    assert relations == [(3,), (3,)]


def test_some_neurons_and_some_facts_are_read_alone(ready: Indexed, own: Atlas) -> None:
    run = ready.runs["answer"]
    complete_activations(own, ready.lm, run, [1])
    everything = stored(own, run, 1)
    with own.reading() as connection:
        some = read_activations(connection, run, 1, [7, 2], ["P36-0"])
        with pytest.raises(NotFound, match="no activations of layer 0"):
            read_activations(connection, run, 0)
    whole = everything.of(["P36-0"])
    np.testing.assert_array_equal(some.values, whole.values[:, [7, 2]])
    assert set(some.fact_ids) == {"P36-0"}
    assert some.neurons.tolist() == [7, 2]
    assert len(everything.without(["P36-0"])) + len(whole) == len(everything)
    assert len(everything.at_site) + len(everything.elsewhere) == len(everything)
    assert "rows=" in repr(everything)


def test_a_run_without_prompts_and_another_model_are_refused(
    ready: Indexed, own: Atlas, synthetic: Synthetic
) -> None:
    run = ready.runs["answer"]
    with pytest.raises(ModelError, match="load the model that was indexed"):
        complete_activations(synthetic.atlas, ready.lm, synthetic.run_id, [0])
    with own.writing() as connection:
        connection.execute("DELETE FROM prompt_results")
    with pytest.raises(NotFound, match="has measured no prompt"):
        complete_activations(own, ready.lm, run, [0])
    with pytest.raises(NotFound, match="no layer 9"):
        complete_activations(own, ready.lm, run, [9])
    assert tiny_index.rows(own.path, "FROM prompt_activations") == []


def test_a_model_that_returns_nan_leaves_nothing(
    ready: Indexed, own: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(lm: LanguageModel, sites: list[object], layers: list[int]) -> object:
        return {layer: np.full((len(sites), 4), np.nan, np.float32) for layer in layers}

    monkeypatch.setattr(measure, "site_activations", broken)
    with pytest.raises(ModelError, match="NaN"):
        complete_activations(own, ready.lm, ready.runs["answer"], [0])
    assert tiny_index.rows(own.path, "FROM prompt_activations") == []


@given(arrays(np.float32, (5, 3), elements=st.floats(-4, 4, width=32)), st.sets(st.integers(0, 4)))
def test_moments_of_parts_add_up_to_the_whole(values: np.ndarray, first: set[int]) -> None:
    everything = StoredActivations(
        0,
        np.arange(3),
        np.arange(5),
        np.array([f"fact {row}" for row in range(5)], object),
        np.array([0, 0, -1, 0, -1], np.int16),
        values,
    )
    names = [f"fact {row}" for row in first]
    parts = [everything.of(names), everything.without(names)]
    total = sum(len(part) * part.second_moment() for part in parts)
    np.testing.assert_allclose(total, 5 * everything.second_moment(), atol=1e-4)
    rows = values.astype(np.float64)
    np.testing.assert_allclose(
        everything.second_moment(), sum(np.outer(row, row) for row in rows) / 5, atol=1e-5
    )
    np.testing.assert_array_equal(everything.along(np.zeros(3)), np.zeros(5))
