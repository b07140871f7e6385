"""Side effects: what is measured against plain transformers, scopes, resuming, kills."""

import os
import signal
from pathlib import Path

import pytest
from processes import start
from stored_edits import ByHand, Edited, build
from tiny_index import rows, tiny_dataset

from atlas.edits.stored import delete_edit
from atlas.errors import EditError, NotFound, SettingsError
from atlas.facts import Dataset, Fact, Relation
from atlas.side_effects import check as side_effects
from atlas.side_effects.check import check
from atlas.side_effects.scopes import checked_by, parse_scope, scoped_prompts

EFFECTS = """
    SELECT prompt_id, interference, p_before, p_after, rank_before, rank_after,
           predicted_before, predicted_after
    FROM side_effects
    WHERE edit_id = 1
    ORDER BY prompt_id
"""


@pytest.fixture(scope="module")
def indexed_bert(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    return build(tmp_path_factory.mktemp("bert"), saved_bert)


@pytest.fixture
def edited(indexed_bert: Edited, tmp_path: Path) -> Edited:
    """An atlas of the tiny BERT with edit 1, an update of Ireland's capital."""
    copy = indexed_bert.copied(tmp_path / "own.duckdb")
    copy.store()
    return copy


def _checked(edited: Edited, scope: str = "neighbours", seed: int = 0) -> list[int]:
    """Check edit 1 to the end; the prompts that were measured, by progress."""
    return [e.computed for e in check(edited.atlas, edited.lm, 1, parse_scope(scope, seed))]


def _matches_plain_transformers(edited: Edited) -> None:
    """Every stored row of edit 1 against the model with weights changed by hand."""
    (edit,) = edited.atlas.edits(1)
    hand = ByHand(edited.lm)
    asked = {
        prompt_id: (text, answer)
        for prompt_id, text, answer in rows(
            edited.atlas.path,
            "SELECT prompt_id, text, object FROM prompts JOIN facts USING (fact_id)",
        )
    }
    effects = rows(edited.atlas.path, EFFECTS)
    assert effects
    for prompt_id, _, p_before, p_after, rank_before, rank_after, before, after in effects:
        expected = [hand.answer(*asked[prompt_id], which) for which in (None, edit)]
        assert (p_before, p_after) == pytest.approx([p for p, *_ in expected], rel=2e-4, abs=1e-12)
        assert [(rank_before, before), (rank_after, after)] == [(r, top) for _, r, top in expected]
    assert any(abs(row[2] - row[3]) > 1e-3 for row in effects)


def test_every_prompt_is_measured_as_plain_transformers_does_with_weights_changed_by_hand(
    edited: Edited,
) -> None:
    _checked(edited, "all")
    measured = rows(
        edited.atlas.path, "SELECT count(*) FROM prompt_results WHERE skipped_because IS NULL"
    )
    assert len(rows(edited.atlas.path, EFFECTS)) == measured[0][0]
    _matches_plain_transformers(edited)


def test_a_causal_model_and_answers_of_several_tokens_are_measured_likewise(
    saved_gpt2: Path, tmp_path: Path
) -> None:
    capital = tiny_dataset(relations=1, facts=2).relations[0]
    madagascar = Fact("P36-9", "P36", "Kenya", "Antananarivo")
    relation = Relation("P36", "capital", capital.templates, (*capital.facts, madagascar))
    edited = build(tmp_path, saved_gpt2, Dataset("long", (relation,)))
    edited.store("P36-9")
    _checked(edited, "all")
    _matches_plain_transformers(edited)


def test_the_weights_are_the_models_own_after_a_check(edited: Edited) -> None:
    before = {name: p.clone() for name, p in edited.lm.model.named_parameters()}
    _checked(edited)
    assert all(bool((p == before[n]).all()) for n, p in edited.lm.model.named_parameters())


def test_scopes_are_what_the_tables_say_by_hand(edited: Edited) -> None:
    path = edited.atlas.path
    facts = dict(rows(path, "SELECT fact_id, relation_id FROM facts"))
    neurons = set(rows(path, "SELECT layer, neuron FROM edit_deltas WHERE edit_id = 1"))
    sharing = {
        fact
        for fact, layer, neuron in rows(
            path, "SELECT fact_id, layer, neuron FROM knowledge_neurons"
        )
        if (layer, neuron) in neurons
    }
    expected = {
        "own": {"P36-0"},
        "neighbours": {"P36-0", *sharing},
        "relation": {fact for fact, relation in facts.items() if relation == "P36"},
        "others": {"P36-0", *(f for f, relation in facts.items() if relation != "P36")},
        "all": set(facts),
    }
    assert len(expected["neighbours"]) > 1
    for scope, wanted in expected.items():
        assert _facts_of(edited, scope) == wanted, scope


def test_prompts_that_the_run_skipped_are_in_no_scope(saved_gpt2: Path, tmp_path: Path) -> None:
    edited = build(tmp_path, saved_gpt2, tiny_dataset(relations=1, facts=2))
    edited.store()
    with edited.atlas.reading() as connection:
        prompts = scoped_prompts(connection, checked_by(connection, 1), parse_scope("all"))
    assert len(prompts) == 2 * 4  # two of the six templates do not end in [Y]


def test_the_most_concerned_facts_come_first_after_the_edits_own(edited: Edited) -> None:
    with edited.atlas.reading() as connection:
        prompts = scoped_prompts(connection, checked_by(connection, 1), parse_scope("all"))
        fact_of = dict(connection.execute("SELECT prompt_id, fact_id FROM prompts").fetchall())
    own = [fact_of[prompt.prompt_id] == "P36-0" for prompt in prompts]
    assert own == sorted(own, reverse=True)
    others = [p.interference for p, is_own in zip(prompts, own, strict=True) if not is_own]
    assert others == sorted(others, reverse=True)
    assert others[0] > others[-1]


def test_interference_is_the_share_of_a_facts_positive_scores_on_the_edited_neurons(
    edited: Edited,
) -> None:
    path = edited.atlas.path
    neurons = set(rows(path, "SELECT layer, neuron FROM edit_deltas WHERE edit_id = 1"))
    fact_of = dict(rows(path, "SELECT prompt_id, fact_id FROM prompts"))
    hit: dict[str, float] = dict.fromkeys(fact_of.values(), 0.0)
    mass = dict(hit)
    measured = "FROM prompt_results WHERE skipped_because IS NULL"
    for prompt, positive in rows(path, f"SELECT prompt_id, positive_mass {measured}"):
        mass[fact_of[prompt]] += positive
    for prompt, layer, neuron, score in rows(
        path, "SELECT prompt_id, layer, neuron, score FROM attributions"
    ):
        if score > 0:
            hit[fact_of[prompt]] += score * ((layer, neuron) in neurons)
    _checked(edited, "all")
    for prompt, interference, *_ in rows(path, EFFECTS):
        fact = fact_of[prompt]
        assert interference == pytest.approx(hit[fact] / mass[fact], rel=1e-5, abs=1e-7)


def test_the_own_prompts_of_an_edit_without_a_fact_are_its_relations(edited: Edited) -> None:
    edited.store(None)
    with edited.atlas.reading() as connection:
        own = scoped_prompts(connection, checked_by(connection, 2), parse_scope("own"))
        relation = scoped_prompts(connection, checked_by(connection, 2), parse_scope("relation"))
    assert len(own) == 4 * 6
    assert own == relation


def test_a_sample_is_drawn_by_its_seed_alone(edited: Edited) -> None:
    first, again, other = (_prompts_of(edited, "sample:9", seed) for seed in (0, 0, 1))
    assert len(first) == 9
    assert first == again != other
    assert len(_prompts_of(edited, "sample:100000")) == len(_prompts_of(edited, "all"))


@pytest.mark.parametrize("scope", ["", "everything", "sample", "sample:", "sample:0", "sample:-1"])
def test_an_unknown_scope_is_refused_with_the_ones_there_are(scope: str) -> None:
    with pytest.raises(SettingsError, match=r"choose one of own, neighbours, .* or sample:N"):
        parse_scope(scope)


def test_a_check_again_measures_nothing_and_a_wider_one_only_what_is_missing(
    edited: Edited,
) -> None:
    own = _checked(edited, "own")[-1]
    assert own == 6
    assert _checked(edited, "own") == [0]
    before = rows(edited.atlas.path, EFFECTS)
    wider = _checked(edited, "all")[-1]
    after = rows(edited.atlas.path, EFFECTS)
    assert len(after) == own + wider
    assert set(before) <= set(after)


def test_a_check_that_is_closed_keeps_what_it_measured_and_the_next_goes_on(
    edited: Edited, indexed_bert: Edited, tmp_path: Path
) -> None:
    whole = indexed_bert.copied(tmp_path / "whole.duckdb")
    whole.store()
    _checked(whole, "all")
    events = check(edited.atlas, edited.lm, 1, parse_scope("all"))
    total = next(events).total
    first = next(events).done
    events.close()
    assert len(rows(edited.atlas.path, EFFECTS)) == first < total
    event = next(check(edited.atlas, edited.lm, 1, parse_scope("all")))
    assert (event.done, event.computed) == (first, 0)
    _checked(edited, "all")
    _alike(rows(edited.atlas.path, EFFECTS), rows(whole.atlas.path, EFFECTS))


CHECK = """
    import os, sys, time
    from pathlib import Path
    from atlas.side_effects import check as side_effects
    from atlas.models.load import load_model
    from atlas.atlas import open_atlas
    from atlas.side_effects.scopes import Scope

    side_effects.COMMIT_EVERY = -1.0
    lm = load_model(sys.argv[2], device="cpu")
    for i, event in enumerate(
        side_effects.check(open_atlas(sys.argv[1]), lm, 1, Scope("all"))
    ):
        if event.computed:
            print(event.done, flush=True)
            time.sleep(600)
"""


def test_kill_9_loses_nothing_that_was_committed(
    edited: Edited, indexed_bert: Edited, tmp_path: Path
) -> None:
    whole = indexed_bert.copied(tmp_path / "whole.duckdb")
    whole.store()
    _checked(whole, "all")
    process = start(CHECK, edited.atlas.path, edited.directory)  # returns after the first commit
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = rows(edited.atlas.path, EFFECTS)
    assert 0 < len(kept) < len(rows(whole.atlas.path, EFFECTS))
    assert edited.atlas.edits(1)[0].state == "stored"
    _checked(edited, "all")
    assert set(kept) <= set(rows(edited.atlas.path, EFFECTS))
    _alike(rows(edited.atlas.path, EFFECTS), rows(whole.atlas.path, EFFECTS))


def test_an_edit_that_is_deleted_meanwhile_leaves_no_row(edited: Edited) -> None:
    events = check(edited.atlas, edited.lm, 1, parse_scope("own"))
    next(events)
    with edited.atlas.writing() as connection:
        delete_edit(connection, 1)
    with pytest.raises(NotFound, match="edit 1 was deleted while it was checked"):
        list(events)
    assert rows(edited.atlas.path, EFFECTS) == []


def test_an_edit_of_another_model_is_refused_before_anything_is_measured(edited: Edited) -> None:
    number = edited.store(weights_sha256="ab" * 32)
    with pytest.raises(EditError, match="was made for the model with weights abababababab"):
        next(check(edited.atlas, edited.lm, number))


def test_an_edit_that_came_without_a_run_is_checked_on_the_latest_run_of_its_model(
    edited: Edited,
) -> None:
    number = edited.store(run_id=None, selection_id=None, settings={"imported": True})
    with edited.atlas.reading() as connection:
        by, made_here = checked_by(connection, number), checked_by(connection, 1)
    assert (by.run_id, by.selection_id) == (made_here.run_id, made_here.selection_id)


def test_an_edit_whose_model_has_no_run_cannot_be_checked(edited: Edited) -> None:
    number = edited.store(run_id=None, selection_id=None, weights_sha256="ab" * 32)
    with edited.atlas.reading() as connection:
        with pytest.raises(NotFound, match="no run: index that model with `atlas index` first"):
            checked_by(connection, number)
        with pytest.raises(NotFound, match="no edit 99"):
            checked_by(connection, 99)


def test_parts_grow_towards_a_second_and_never_beyond_the_bounds(
    edited: Edited, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10**6, 10))  # every look at the clock is ten seconds after the last
    monkeypatch.setattr(side_effects.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(side_effects, "FEWEST", 2)
    done = [event.done for event in check(edited.atlas, edited.lm, 1, parse_scope("own"))]
    assert done == [0, 2, 4, 6]


def _facts_of(edited: Edited, scope: str) -> set[str]:
    with edited.atlas.reading() as connection:
        prompts = scoped_prompts(connection, checked_by(connection, 1), parse_scope(scope))
        fact_of = dict(connection.execute("SELECT prompt_id, fact_id FROM prompts").fetchall())
    return {fact_of[prompt.prompt_id] for prompt in prompts}


def _prompts_of(edited: Edited, scope: str, seed: int = 0) -> set[int]:
    with edited.atlas.reading() as connection:
        prompts = scoped_prompts(connection, checked_by(connection, 1), parse_scope(scope, seed))
    return {prompt.prompt_id for prompt in prompts}


def _alike(found: list[tuple[object, ...]], expected: list[tuple[object, ...]]) -> None:
    """The same rows up to float32's rounding: prompts share batches with others."""
    assert [(r[0], *r[4:]) for r in found] == [(r[0], *r[4:]) for r in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[1:4] == pytest.approx(theirs[1:4], rel=1e-4, abs=1e-9)
