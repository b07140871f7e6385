"""Interactions against every subset of a toy whose answer is known, and against plain probing."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_index import CHEAP, indexed, on, rows, tables, tiny_dataset

from atlas.atlas import Atlas, open_atlas
from atlas.engine.probe import probe
from atlas.interactions.examine import examine_facts, side_by_side
from atlas.interactions.plan import (
    Examined,
    Question,
    Reply,
    Subset,
    examine,
    examine_together,
    kind_of,
)
from atlas.interactions.stored import (
    UnexaminedFact,
    fact_interactions,
    interactions_of,
    record_interactions,
    unexamined_facts,
)
from atlas.jobs import index
from atlas.models.load import load_model
from atlas.prompts import cloze, encode
from atlas.selection.chosen import choose_selection
from atlas.selection.thresholds import Thresholds

Toy = Callable[[int, Subset], Reply]


def asked_of(toy: Toy, neurons: int, prompts: int) -> tuple[Examined, list[Question]]:
    """The examination of a toy, and every question that it asked."""
    examination = examine(neurons, prompts)
    asked: list[Question] = []
    replies: list[Reply] | None = None
    while True:
        try:
            questions = next(examination) if replies is None else examination.send(replies)
        except StopIteration as end:
            return end.value, asked
        asked += questions
        replies = [toy(question.prompt, question.suppressed) for question in questions]


def additive(weights: Sequence[float], bonus: Mapping[tuple[int, int], float], top: float) -> Toy:
    """Log P falls by each weight, and by a bonus where both of a pair are lost."""

    def reply(prompt: int, suppressed: Subset) -> Reply:
        log_p = -1.0 - sum(weights[i] for i in suppressed)
        log_p += sum(value for pair, value in bonus.items() if set(pair) <= set(suppressed))
        return Reply(log_p, log_p >= top)

    return reply


def test_what_hurts_more_together_backs_up_and_what_costs_once_is_serial() -> None:
    toy = additive([0.1, 0.1, 0.5, 0.5, 0.3], {(0, 1): -1.0, (2, 3): 0.5}, top=-9)
    found, _ = asked_of(toy, 5, 2)
    interaction = {(pair.a, pair.b): pair.interaction for pair in found.pairs}
    assert interaction == pytest.approx(
        {pair: {(0, 1): -1.0, (2, 3): 0.5}.get(pair, 0.0) for pair in combinations(range(5), 2)}
    )
    kinds = {(p.a, p.b): kind_of(p.interaction, p.effect_a, p.effect_b) for p in found.pairs}
    assert kinds.pop((0, 1)) == "backing-up"
    assert kinds.pop((2, 3)) == "serial"
    assert set(kinds.values()) == {"independent"}
    assert found.effect_all == pytest.approx(-1.5 - 1.0 + 0.5)
    assert found.log_p == pytest.approx(-1.0)


def test_two_neurons_of_which_either_suffices_are_found() -> None:
    def either(prompt: int, suppressed: Subset) -> Reply:
        return Reply(-5.0 if {1, 2} <= set(suppressed) else -0.1, not {1, 2} <= set(suppressed))

    found, _ = asked_of(either, 4, 3)
    assert found.exact == ((1, 2),)
    assert found.greedy is not None
    assert {1, 2} <= set(found.greedy)
    degenerate = [(p.a, p.b) for p in found.pairs if p.kept_a and p.kept_b and not p.kept_ab]
    assert degenerate == [(1, 2)]


def test_prompts_whose_answer_is_not_on_top_play_no_part() -> None:
    def reply(prompt: int, suppressed: Subset) -> Reply:
        if prompt == 1:
            return Reply(-100.0 * len(suppressed), False)
        return Reply(-1.0 - len(suppressed), not suppressed)

    found, asked = asked_of(reply, 2, 3)
    assert (found.prompts, found.log_p, found.effect_all) == (2, -1.0, -2.0)
    assert found.exact == ((0,), (1,))
    assert [q for q in asked if q.prompt == 1] == [Question(1, ())]
    nothing, _ = asked_of(lambda prompt, suppressed: Reply(-1.0, False), 3, 2)
    assert (nothing.prompts, nothing.log_p, nothing.pairs) == (0, None, ())


def test_an_answer_that_no_set_removes_has_no_smallest_set() -> None:
    found, _ = asked_of(lambda prompt, suppressed: Reply(-1.0, True), 4, 2)
    assert (found.greedy, found.exact, found.kept_all) == (None, (), 2)


def test_many_neurons_are_examined_in_pairs_without_the_search_of_all_sets() -> None:
    toy = additive([0.1] * 40, {}, top=-1.55)  # six losses are too many
    found, asked = asked_of(toy, 40, 2)
    assert len(found.pairs) == 780
    assert found.exact is None
    assert found.greedy is not None
    assert len(found.greedy) == 6
    assert len(asked) == len(set(asked)), "nothing is asked twice"


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_the_smallest_sets_are_those_of_a_search_through_all(
    neurons: int, prompts: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    table: dict[tuple[int, Subset], Reply] = {}
    for prompt in range(prompts):
        for size in range(neurons + 1):
            for chosen in combinations(range(neurons), size):
                on_top = not chosen or bool(generator.random() < 0.6)
                table[prompt, chosen] = Reply(-float(generator.random()), on_top)
    found, _ = asked_of(lambda prompt, suppressed: table[prompt, suppressed], neurons, prompts)
    removing = [
        chosen
        for size in range(1, neurons + 1)
        for chosen in combinations(range(neurons), size)
        if not any(table[prompt, chosen].on_top for prompt in range(prompts))
    ]
    smallest = tuple(c for c in removing if len(c) == len(removing[0])) if removing else ()
    assert found.exact == smallest
    if found.greedy is not None:
        assert found.greedy in removing
        assert len(found.greedy) >= len(smallest[0])


def test_facts_examined_together_come_out_as_alone() -> None:
    toys = {
        "a": additive([0.2, 0.4, 0.1], {}, top=-1.3),
        "b": additive([0.2], {}, top=-9),
        "c": additive([0.3] * 4, {(0, 3): 0.2}, top=-1.5),
    }
    sizes = {"a": 3, "b": 1, "c": 4}
    together = examine_together({key: examine(sizes[key], 2) for key in toys})
    questions = next(together)
    try:
        while True:
            questions = together.send(
                {
                    key: [toys[key](q.prompt, q.suppressed) for q in some]
                    for key, some in questions.items()
                }
            )
    except StopIteration as end:
        found = end.value
    assert found == {key: asked_of(toys[key], sizes[key], 2)[0] for key in toys}


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory, saved_bert: Path) -> Atlas:
    """The tiny BERT's atlas; its answers are taken for the top ones wherever they are not."""
    path = tmp_path_factory.mktemp("interactions") / "atlas.duckdb"
    indexed(path, on(saved_bert, integration=CHEAP), tiny_dataset())
    with open_atlas(path).writing() as connection:
        connection.execute("UPDATE prompt_results SET answer_rank = 1")
        # the tiny model knows nothing: let each fact ask for what the model says
        connection.execute(
            """
            UPDATE facts
            SET object = (
                SELECT mode(m.predicted)
                FROM prompt_results AS m
                JOIN prompts AS p USING (prompt_id)
                WHERE p.fact_id = facts.fact_id
            )
            """
        )
    return open_atlas(path)


def test_stored_effects_are_those_of_probing_one_by_one(atlas: Atlas, saved_bert: Path) -> None:
    lm = load_model(str(saved_bert), device="cpu")
    with atlas.reading() as connection:
        selection = choose_selection(connection).selection_id
        facts = unexamined_facts(connection, selection)
    assert facts
    found = examine_facts(lm, selection, facts)
    assert any(fact.prompts for fact in found.facts)
    assert found.pairs
    for row in found.pairs[:: max(1, len(found.pairs) // 12)]:
        fact = next(fact for fact in facts if fact.fact_id == row.fact_id)
        encoded = [
            encode(cloze(text, fact.object, "masked"), lm.tokenizer, "masked", lm.context)
            for text in fact.texts
        ]
        clean = probe(lm, encoded)
        top = [i for i, rank in enumerate(clean.answer_rank) if rank == 1]
        pair = [(row.layer_a, row.neuron_a), (row.layer_b, row.neuron_b)]
        effects = []
        for factors in ((0.0, 1.0), (1.0, 0.0), (0.0, 0.0)):
            without = probe(
                lm,
                [encoded[i] for i in top],
                neurons=pair,
                factors=torch.tensor([factors] * len(top)),
            )
            effects.append(float((without.log_p - clean.log_p[top]).mean()))
        assert (row.effect_a, row.effect_b, row.effect_ab) == pytest.approx(effects, abs=2e-5)
        assert row.interaction == pytest.approx(effects[2] - effects[0] - effects[1], abs=4e-5)


def test_examining_again_finds_nothing_to_do_until_the_neurons_change(
    atlas: Atlas, saved_bert: Path
) -> None:
    lm = load_model(str(saved_bert), device="cpu")
    with atlas.reading() as connection:
        selection = choose_selection(connection).selection_id
        facts = unexamined_facts(connection, selection)
    found = examine_facts(lm, selection, facts)
    for _ in range(2):  # recording twice changes nothing
        with atlas.writing() as connection:
            record_interactions(connection, found.facts, found.pairs)
    assert rows(atlas.path, "SELECT count(*) FROM fact_interactions") == [(len(facts),)]
    assert rows(atlas.path, "SELECT count(*) FROM interactions") == [(len(found.pairs),)]
    with atlas.writing() as connection:
        assert unexamined_facts(connection, selection) == []
        one = facts[0].fact_id
        stored = fact_interactions(connection, selection, one)
        assert stored is not None
        assert stored.neurons == len(facts[0].neurons)
        pairs = interactions_of(connection, selection, one)
        assert len(pairs) == (stored.neurons * (stored.neurons - 1) // 2 if stored.prompts else 0)
        connection.execute(
            "INSERT INTO knowledge_neurons VALUES ($selection, $fact, 0, 39, 1.0, 0.1)",
            {"selection": selection, "fact": one},
        )
        assert [fact.fact_id for fact in unexamined_facts(connection, selection)] == [one]


def test_indexing_with_interactions_examines_every_fact_and_again_changes_no_row(
    tmp_path: Path, saved_bert: Path
) -> None:
    path = tmp_path / "atlas.duckdb"
    indexed(path, on(saved_bert, integration=CHEAP), tiny_dataset())
    assert rows(path, "SELECT count(*) FROM fact_interactions") == [(0,)]
    how: dict[str, Any] = {"rule": "gauss-legendre", "points": 2, "device": "cpu"}
    how |= {"interactions": True, "thresholds": Thresholds(known_only=False)}
    events: list[object] = []
    index(path, str(saved_bert), tiny_dataset(), progress=events.append, **how)
    assert any(getattr(event, "unit", None) == "facts" for event in events)
    missing = """
        SELECT DISTINCT fact_id
        FROM knowledge_neurons
        ANTI JOIN fact_interactions USING (selection_id, fact_id)
    """
    assert rows(path, missing) == []
    assert rows(path, "SELECT count(*) > 0 FROM fact_interactions") == [(True,)]
    before = tables(path, clocks=True)
    index(path, str(saved_bert), tiny_dataset(), **how)
    assert tables(path, clocks=True) == before


def test_facts_of_many_neurons_are_examined_in_smaller_batches() -> None:
    def fact(number: int, neurons: int) -> UnexaminedFact:
        own = list(range(neurons))
        return UnexaminedFact(str(number), "o", [0] * neurons, own, ["t"] * 10, [None] * 10, "")

    few = [fact(number, 5) for number in range(130)]
    assert [len(batch) for batch in side_by_side(few)] == [64, 64, 2]
    many = [fact(number, 100) for number in range(4)]  # 50,500 questions each
    assert [len(batch) for batch in side_by_side(many)] == [1, 1, 1, 1]
    mixed = [*many[:1], *few[:3], *many[1:2]]
    assert [fact for batch in side_by_side(mixed) for fact in batch] == mixed
    assert list(side_by_side([])) == []
