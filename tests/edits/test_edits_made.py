"""Edits made from an index: neurons, prompts held out, deltas, outcome, refusals."""

import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from edit_models import changed, snapshot
from tiny_index import CHEAP, indexed, on, rows, tiny_dataset
from tiny_models import save_tiny

from atlas.atlas import Atlas, open_atlas
from atlas.edits.applying import applied
from atlas.edits.making.basis import EditBasis, read_basis, value_vectors
from atlas.edits.making.found import FoundDeltas
from atlas.edits.making.make import make_erase, make_relation_erase, make_scale, make_update
from atlas.edits.making.methods import EDIT_METHODS
from atlas.edits.making.settings import METHODS, EditSettings
from atlas.edits.stored import edit_outcomes
from atlas.errors import AtlasError, EditError, NotFound, SettingsError
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.selection.thresholds import Thresholds

FACT = "P36-0"  # Ireland - Dublin, six prompts
ALL_ALLOWED = EditSettings(common=1.0)
PAPER = replace(ALL_ALLOWED, method="paper")


@dataclass(frozen=True)
class Indexed:
    lm: LanguageModel
    path: Path


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    directory = tmp_path_factory.mktemp("made")
    model = save_tiny("bert", directory / "bert")
    thresholds = Thresholds("fixed", sharing=0.5, known_only=False)
    settings = on(model, integration=CHEAP, thresholds=thresholds)
    indexed(directory / "atlas.duckdb", settings, tiny_dataset(relations=2, facts=6))
    return Indexed(load_model(str(model), device="cpu"), directory / "atlas.duckdb")


@pytest.fixture
def lm(ready: Indexed) -> LanguageModel:
    return ready.lm


@pytest.fixture
def atlas(ready: Indexed, tmp_path: Path) -> Atlas:
    """A copy to write to."""
    return open_atlas(shutil.copy(ready.path, tmp_path / "atlas.duckdb"))


def test_a_method_is_a_function_and_its_rows(
    lm: LanguageModel, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silence(lm: LanguageModel, _: object, basis: EditBasis, *rest: object) -> FoundDeltas:
        return FoundDeltas(-value_vectors(lm, basis.neurons), {"loudness": 0})

    monkeypatch.setitem(EDIT_METHODS, "silence", silence)
    monkeypatch.setitem(METHODS, "silence", "takes the value vectors away")
    made = make_update(lm, atlas, FACT, "Paris", replace(ALL_ALLOWED, method="silence"))
    (found,) = atlas.edits(made.edit.edit_id or 0)
    assert (found.method, found.settings["loudness"]) == ("silence", 0)
    with applied(lm, found):
        assert not any(
            lm.value_vectors(layer)[neuron].any() for layer, neuron in found.named_neurons
        )


def test_an_update_is_stored_with_what_it_came_to(lm: LanguageModel, atlas: Atlas) -> None:
    before = snapshot(lm)
    made = make_update(lm, atlas, FACT, "Paris", PAPER)
    assert not changed(lm, before)
    (found,) = atlas.edits(made.edit.edit_id or 0)
    assert found.digest == made.edit.digest
    assert (found.kind, found.method) == ("update", "paper")
    assert (found.subject, found.old_object, found.new_object) == ("Ireland", "Dublin", "Paris")
    with atlas.reading() as connection:
        outcomes = edit_outcomes(connection, 1)
    assert set(outcomes) == set(made.outcomes)
    assert [outcome.held_out for outcome in outcomes] == [False] * 5 + [True]
    texts = dict(rows(atlas.path, "SELECT prompt_id, text FROM prompts"))
    ids = {word: lm.tokenizer.convert_tokens_to_ids(word) for word in ("Dublin", "Paris")}
    with applied(lm, found), torch.no_grad():
        for outcome in outcomes:
            asked = texts[outcome.prompt_id].replace("[Y]", "[MASK]")
            encoded = lm.tokenizer(asked, return_tensors="pt")
            (at,) = (encoded["input_ids"][0] == lm.tokenizer.mask_token_id).nonzero()[0]
            inputs = {k: encoded[k] for k in ("input_ids", "attention_mask")}
            p = lm.model(**inputs).logits[0, at].softmax(-1)
            assert outcome.p_old_after == pytest.approx(float(p[ids["Dublin"]]), rel=1e-3)
            assert outcome.p_new_after == pytest.approx(float(p[ids["Paris"]]), rel=1e-3)
            assert outcome.new_rank_after == 1 + int((p > p[ids["Paris"]]).sum())
            assert outcome.predicted_after == lm.tokenizer.decode([int(p.argmax())])


def test_solve_puts_the_new_object_on_top_of_the_prompts_it_was_made_from(
    lm: LanguageModel, atlas: Atlas
) -> None:
    made = make_update(lm, atlas, FACT, "Paris", EditSettings(method="solve", neurons=8, keep=4))
    assert made.success == 1
    assert made.edit.settings["reached"] == 1
    assert len(made.edit.neurons) == 8
    kept = made.edit.settings["kept_facts"]
    assert len(kept) <= 4
    assert FACT not in kept


def test_the_same_edit_is_not_stored_twice(lm: LanguageModel, atlas: Atlas) -> None:
    first = make_update(lm, atlas, FACT, "Paris", PAPER)
    second = make_update(lm, atlas, FACT, " Paris ", PAPER)
    assert (first.new, second.new) == (True, False)
    assert first.edit.edit_id == second.edit.edit_id == 1
    assert rows(atlas.path, "SELECT count(*) FROM edit_outcomes") == [(6,)]


def test_neurons_are_selected_anew_without_the_prompts_held_out(
    lm: LanguageModel, atlas: Atlas
) -> None:
    basis = read_basis(lm, atlas, FACT, ALL_ALLOWED)
    learnt = {prompt.prompt_id for prompt in basis.prompts}
    held_out = {prompt.prompt_id for prompt in basis.held_out}
    assert len(learnt) == 5
    assert len(held_out) == 1
    assert not learnt & held_out
    largest = dict(rows(atlas.path, "SELECT prompt_id, max_score FROM prompt_results"))
    passing: Counter[tuple[int, int]] = Counter()
    sums: Counter[tuple[int, int]] = Counter()
    sql = "SELECT prompt_id, layer, neuron, score FROM attributions"
    for prompt_id, layer, neuron, score in rows(atlas.path, sql):
        if prompt_id in learnt:
            sums[layer, neuron] += score
            passing[layer, neuron] += score > 0 and score >= 0.2 * largest[prompt_id]
    # fixed sharing 0.5 of 5 prompts, and 3 of 6 prompts at least: 2.5, so 3
    assert set(basis.neurons) == {neuron for neuron, count in passing.items() if count >= 3}
    widest = read_basis(lm, atlas, FACT, EditSettings(neurons=7)).neurons
    assert list(widest) == [neuron for neuron, _ in sums.most_common(7)]


def test_common_neurons_are_left_out(lm: LanguageModel, atlas: Atlas) -> None:
    sql = """
        SELECT fact_id, layer, neuron
        FROM knowledge_neurons
        WHERE fact_id LIKE 'P36-%'
    """
    found = rows(atlas.path, sql)
    facts = len({fact for fact, _, _ in found})
    counts = Counter((layer, neuron) for _, layer, neuron in found)
    common = {neuron for neuron, count in counts.items() if count > max(1, 0.4 * facts)}
    everything = read_basis(lm, atlas, FACT, ALL_ALLOWED).neurons
    assert set(everything) & common, "the test needs a common neuron"
    expected = [neuron for neuron in everything if neuron not in common]
    if expected:
        assert list(read_basis(lm, atlas, FACT, EditSettings(common=0.4)).neurons) == expected


def test_of_a_fact_without_a_neuron_of_its_own_the_strongest_are_edited(
    lm: LanguageModel, atlas: Atlas
) -> None:
    everything = set(read_basis(lm, atlas, FACT, ALL_ALLOWED).neurons)
    with atlas.writing() as connection:  # another fact that has them all
        connection.execute("DELETE FROM knowledge_neurons WHERE fact_id = 'P36-1'")
        connection.executemany(
            """
            INSERT INTO knowledge_neurons
            SELECT selection_id, 'P36-1', ?, ?, 1, 1
            FROM selections
            """,
            sorted(everything),
        )
    widened = read_basis(lm, atlas, FACT, EditSettings(common=0.0))
    assert widened.neurons == read_basis(lm, atlas, FACT, EditSettings(neurons=20)).neurons
    assert f"all {len(everything)} knowledge neurons" in (widened.widened_because or "")
    made = make_erase(lm, atlas, FACT, EditSettings(common=0.0))
    assert made.edit.settings["widened_because"] == widened.widened_because


def test_a_fact_without_knowledge_neurons_says_what_to_do(lm: LanguageModel, atlas: Atlas) -> None:
    with atlas.writing() as connection:
        connection.execute("UPDATE prompt_results SET max_score = 100 * max_score")
    with pytest.raises(EditError, match=r"no knowledge neurons .*another selection.*say 20") as e:
        read_basis(lm, atlas, FACT, EditSettings())
    assert e.value.parameters == ("selection", "neurons")


def test_erasing_a_fact_zeroes_its_value_vectors(lm: LanguageModel, atlas: Atlas) -> None:
    made = make_erase(lm, atlas, FACT, ALL_ALLOWED)
    with applied(lm, made.edit):
        for layer, neuron in made.edit.named_neurons:
            assert torch.equal(lm.value_vectors(layer)[neuron], torch.zeros(lm.d_model))
    assert made.success is None
    assert {outcome.p_new_after for outcome in made.outcomes} == {None}


@pytest.mark.parametrize(("factor", "kind"), [(0.0, "suppress"), (0.5, "suppress"), (2, "amplify")])
def test_scaling_a_fact_multiplies_its_value_vectors(
    lm: LanguageModel, atlas: Atlas, factor: float, kind: str
) -> None:
    made = make_scale(lm, atlas, FACT, factor, ALL_ALLOWED)
    assert made.edit.kind == kind
    before = [lm.value_vectors(layer)[i].clone() for layer, i in made.edit.named_neurons]
    with applied(lm, made.edit):
        for (layer, i), vector in zip(made.edit.named_neurons, before, strict=True):
            expected = factor * vector
            torch.testing.assert_close(lm.value_vectors(layer)[i], expected, rtol=0, atol=1e-6)


def test_erasing_a_relation_zeroes_its_most_frequent_neurons(
    lm: LanguageModel, atlas: Atlas
) -> None:
    made = make_relation_erase(lm, atlas, "P36", neurons=3)
    sql = "SELECT layer, neuron FROM knowledge_neurons WHERE fact_id LIKE 'P36-%'"
    counts = Counter(rows(atlas.path, sql))
    chosen = [counts[neuron] for neuron in made.edit.named_neurons]
    assert sorted(chosen, reverse=True) == [count for _, count in counts.most_common(3)]
    assert made.edit.fact_id is None
    with applied(lm, made.edit):
        for layer, neuron in made.edit.named_neurons:
            assert not lm.value_vectors(layer)[neuron].any()


def test_nothing_is_stored_of_an_edit_that_cannot_be_made(lm: LanguageModel, atlas: Atlas) -> None:
    other = replace(lm, weights_sha256="ab" * 32)
    refused: list[tuple[type[AtlasError], str, object]] = [
        (EditError, "is the object of Ireland .* already", ("dublin", lm, PAPER)),
        (EditError, "cannot be asked for 'Ωmega'", ("Ωmega", lm, PAPER)),
        (EditError, "cannot be asked for ''", ("", lm, PAPER)),
        (EditError, "load that model", ("Paris", other, PAPER)),
        (NotFound, "no selection", ("Paris", lm, replace(PAPER, selection_id="ffff"))),
    ]
    for kind, complaint, (new, model, settings) in refused:  # type: ignore[misc]
        with pytest.raises(kind, match=complaint) as caught:
            make_update(model, atlas, FACT, new, settings)
        assert "\n" not in str(caught.value)
    with pytest.raises(NotFound, match="no fact with id 'P36-99'"):
        make_update(lm, atlas, "P36-99", "Paris", PAPER)
    with pytest.raises(NotFound, match="no knowledge neurons in relation 'P99'"):
        make_relation_erase(lm, atlas, "P99")
    with pytest.raises(SettingsError, match="factor is 1"):
        make_scale(lm, atlas, FACT, 1.0, ALL_ALLOWED)
    assert rows(atlas.path, "SELECT count(*) FROM edits") == [(0,)]
    assert rows(atlas.path, "SELECT count(*) FROM edit_deltas") == [(0,)]


def test_an_atlas_without_a_run_says_what_to_do(lm: LanguageModel, tmp_path: Path) -> None:
    empty = open_atlas(tmp_path / "new.duckdb", create=True)
    with pytest.raises(NotFound, match="no run yet: run `atlas index`"):
        make_update(lm, empty, FACT, "Paris")


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "magic"},
        {"common": 1.5},
        {"neurons": 0},
        {"held_out": 1.0},
        {"keep": -1},
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        EditSettings(**settings)  # type: ignore[arg-type]


def test_no_prompt_is_held_out_where_there_are_too_few(lm: LanguageModel, atlas: Atlas) -> None:
    basis = read_basis(lm, atlas, FACT, replace(ALL_ALLOWED, held_out=0.1))
    assert len(basis.prompts) == 6
    assert basis.held_out == ()
    assert np.isfinite(make_erase(lm, atlas, FACT, ALL_ALLOWED).edit.norm)
