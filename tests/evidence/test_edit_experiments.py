"""Experiments that edit the model, against plain transformers with the weights changed by hand."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import LAYER, planted_dataset, save_planted
from tiny_index import CHEAP, indexed, on, rows, tables

from atlas.atlas import Atlas, open_atlas
from atlas.errors import NotFound
from atlas.evidence.experiments.drawn_updates import RULES, Asked
from atlas.evidence.experiments.experiment import Item, Measuring, Row, Setting
from atlas.evidence.experiments.inverse import implies
from atlas.evidence.experiments.table import EXPERIMENTS
from atlas.facts import Fact, Relation, Template
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.side_effects.implied_facts import ImpliedFact

pytestmark = pytest.mark.usefixtures("one_thread")
FACT = "capital-Ireland"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_planted(tmp_path_factory.mktemp("planted") / "model")


@pytest.fixture(scope="module")
def lm(model: Path) -> LanguageModel:
    return load_model(str(model), device="cpu")


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Atlas:
    path = tmp_path_factory.mktemp("edit-experiments") / "atlas.duckdb"
    indexed(path, on(model, integration=CHEAP), planted_dataset())
    return open_atlas(path)


def items_of(atlas: Atlas, experiment: str, seed: int = 0) -> tuple[Setting, list[Item]]:
    with atlas._opened(None, None) as (connection, chosen):
        setting = Setting(chosen, seed, None)
        return setting, EXPERIMENTS[experiment].load().items(connection, setting)


def rows_of(
    atlas: Atlas, lm: LanguageModel, experiment: str, parts: Callable[[list[Item]], Any]
) -> list[Row]:
    setting, items = items_of(atlas, experiment)
    measuring = Measuring(atlas, setting, lambda: lm)
    measure = EXPERIMENTS[experiment].load().measure
    return [row for part in parts(items) for row in measure(measuring, part)]


def values(found: Iterable[Row], item: str) -> dict[tuple[str, str], float]:
    return {(row.measure, row.series): row.value for row in found if row.item == item}


def log_p(lm: LanguageModel, model: Any, text: str) -> torch.Tensor:
    """Log P of every token behind the text, by plain transformers."""
    before = text.partition(" [Y]")[0]
    with torch.no_grad():
        ids = lm.tokenizer(before, return_tensors="pt")["input_ids"]
        logits: torch.Tensor = model(ids).logits[0, -1]
    return logits.log_softmax(-1)


def token(lm: LanguageModel, word: str) -> int:
    (found,) = lm.tokenizer(word, add_special_tokens=False)["input_ids"]
    return int(found)


def test_an_update_is_the_rule_by_hand(atlas: Atlas, lm: LanguageModel) -> None:
    _, items = items_of(atlas, "update")
    (task,) = [item.task for item in items if item.name == FACT]
    found = values(rows_of(atlas, lm, "update", lambda items: [items]), FACT)
    new = task.new_object
    assert new in ("Paris", "Rome")
    edited = deepcopy(lm.model)
    down = edited.model.layers[LAYER].mlp.down_proj.weight
    e_old, e_new = (edited.lm_head.weight[token(lm, word)] for word in ("Dublin", new))
    assert {layer for layer, _ in task.neurons} == {LAYER}
    with torch.no_grad():
        for _, neuron in task.neurons:  # each is positive on these prompts
            length = down[:, neuron].norm()
            down[:, neuron] += length * (8 * e_new / e_new.norm() - e_old / e_old.norm())
    after = [log_p(lm, edited, prompt.text) for prompt in task.plan.fact.prompts]
    before = [log_p(lm, lm.model, prompt.text) for prompt in task.plan.fact.prompts]
    on_top = [int(one.argmax()) == token(lm, new) for one in after]
    assert found["success", "knowledge neurons"] == sum(on_top) / len(on_top)
    gained = [
        float(b[token(lm, new)].exp() - a[token(lm, new)].exp())
        for a, b in zip(before, after, strict=True)
    ]
    assert found["P(new) gained", "knowledge neurons"] == pytest.approx(
        sum(gained) / len(gained), abs=1e-5
    )
    lost = [
        float(a[token(lm, "Dublin")] - b[token(lm, "Dublin")])
        for a, b in zip(before, after, strict=True)
    ]
    assert found["log P lost", "its own prompts"] == pytest.approx(sum(lost) / len(lost), abs=1e-4)


@pytest.mark.parametrize("experiment", ["update", "erase", "activating"])
def test_rows_do_not_depend_on_how_the_items_are_divided(
    atlas: Atlas, lm: LanguageModel, experiment: str
) -> None:
    weights = {name: value.clone() for name, value in lm.model.state_dict().items()}
    together = rows_of(atlas, lm, experiment, lambda items: [items])
    alone = rows_of(atlas, lm, experiment, lambda items: [[item] for item in items[::-1]])
    assert together
    by_place = {(row.item, row.measure, row.series, row.x): row.value for row in alone}
    assert len(by_place) == len(alone) == len(together)
    for row in together:
        assert by_place[row.item, row.measure, row.series, row.x] == pytest.approx(
            row.value, abs=1e-5
        )
    assert all(torch.equal(value, weights[name]) for name, value in lm.model.state_dict().items())


def test_another_seed_asks_for_other_objects_and_the_same_one_for_the_same(atlas: Atlas) -> None:
    def objects(seed: int) -> dict[str, str]:
        return {item.name: item.task.new_object for item in items_of(atlas, "update", seed)[1]}

    assert objects(0) == objects(0)
    assert any(objects(0) != objects(seed) for seed in range(1, 6))
    for fact in (fact for relation in planted_dataset().relations for fact in relation.facts):
        assert objects(0).get(fact.fact_id) != fact.object


def test_nothing_but_its_rows_is_stored(atlas: Atlas, lm: LanguageModel) -> None:
    before = tables(atlas.path)
    report = atlas.reproduce("update", lm=lm, limit=None)
    assert {claim.verdict for claim in report.claims} <= {"holds", "does not hold", "undecided"}
    after = tables(atlas.path)
    changed = {name for name in after if before[name] != after[name]}
    assert changed <= {name for name in after if name.startswith("experiment")}
    assert rows(atlas.path, "SELECT count(*) FROM edits") == [(0,)]


def test_an_erased_relation_is_its_neurons_zeroed_by_hand(atlas: Atlas, lm: LanguageModel) -> None:
    _, items = items_of(atlas, "erase")
    assert [item.name for item in items] == ["capital", "language"]
    task = items[0].task
    found = values(rows_of(atlas, lm, "erase", lambda items: [items]), "capital")
    assert {layer for layer, _ in task.neurons} == {LAYER}
    erased = deepcopy(lm.model)
    with torch.no_grad():
        for _, neuron in task.neurons:
            erased.model.layers[LAYER].mlp.down_proj.weight[:, neuron] = 0
    for series, prompts in (("its own prompts", task.own), ("other relations", task.others)):
        before, after = (
            [log_p(lm, model, p.text)[token(lm, p.object)] for p in prompts]
            for model in (lm.model, erased)
        )
        change = torch.stack(after) - torch.stack(before)
        assert found["perplexity", series] == pytest.approx(float(torch.expm1(-change.mean())))
        ahead = [log_p(lm, erased, p.text) > one for p, one in zip(prompts, after, strict=True)]
        broken = [bool(one.any()) for one in ahead]
        assert found["broken", series] == sum(broken) / len(broken)  # all are right before
    assert {prompt.fact_id.partition("-")[0] for prompt in task.own} == {"capital"}
    assert {prompt.fact_id.partition("-")[0] for prompt in task.others} == {"language"}
    assert found["perplexity", "its own prompts"] > found["perplexity", "other relations"] + 1


def test_erasing_wants_two_relations_of_some_known_facts(
    tmp_path: Path, model: Path, atlas: Atlas
) -> None:
    one = replace(planted_dataset(), relations=planted_dataset().relations[:1])
    indexed(tmp_path / "one.duckdb", on(model, integration=CHEAP), one)
    with pytest.raises(NotFound, match="has 1 of the 2 relations with 3 known facts"):
        items_of(open_atlas(tmp_path / "one.duckdb"), "erase")


def test_activations_are_those_that_the_model_computes(atlas: Atlas, lm: LanguageModel) -> None:
    _, items = items_of(atlas, "activating")
    (task,) = [item.task for item in items if item.name == FACT]
    found = values(rows_of(atlas, lm, "activating", lambda items: [items]), FACT)
    mlp = lm.model.model.layers[LAYER].mlp

    def activation(text: str) -> torch.Tensor:
        """What enters the value projection at the last token, [neuron]."""
        seen: list[torch.Tensor] = []
        hook = mlp.down_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        try:
            log_p(lm, lm.model, text)
        finally:
            hook.remove()
        return seen[0][0, -1]

    means: dict[str, list[float]] = {"expressing": [], "subject alone": []}
    for half in range(2):
        own = [neuron for layer, neuron in task.plan.chosen.by_half[half] if layer == LAYER]
        assert len(own) == len(task.plan.chosen.by_half[half]) > 0
        asked = {
            "expressing": [p.text for p in task.plan.fact.prompts if p.half != half],
            "subject alone": [text for text, _ in task.texts],
        }
        for kind, texts in asked.items():
            level = torch.stack([activation(text)[own].mean() for text in texts])
            means[kind].append(float(level.mean()))
    for kind, of_halves in means.items():
        mean = sum(of_halves) / 2
        assert found["activation of knowledge neurons", kind] == pytest.approx(mean, abs=1e-5)
    assert means["expressing"] > means["subject alone"]
    assert found["most activating", "expressing"] == 1
    assert all("Ireland" in text and "language" in text for text, _ in task.texts)


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Atlas:
    """An atlas with the inverse of one of its relations, which the model does not know."""
    facts = tuple(
        Fact(f"of-{city}", "capital of", city, land)
        for city, land in (("Dublin", "Ireland"), ("Paris", "France"), ("Lima", "Peru"))
    )
    texts = tuple(Template("capital of", text) for text in ("[X] is the city of [Y]", "[X] in [Y]"))
    inverse = Relation("capital of", "capital of", texts, facts)
    dataset = replace(planted_dataset(), relations=(*planted_dataset().relations, inverse))
    path = tmp_path_factory.mktemp("mirrored") / "atlas.duckdb"
    indexed(path, on(model, integration=CHEAP), dataset)
    return open_atlas(path)


def test_an_inverse_fact_is_asked_of_the_edited_model(mirrored: Atlas, lm: LanguageModel) -> None:
    _, items = items_of(mirrored, "inverse")
    by_name = {item.name: item.task for item in items}
    assert {"capital-Ireland", "capital-France"} <= by_name.keys()
    assert "capital-Italy" not in by_name  # Rome is in no fact of the other relation
    task = by_name[FACT]
    assert [(i.way, i.subject, i.object) for i in task.implied] == [
        ("inverse", "Dublin", "Ireland")
    ]
    found = values(rows_of(mirrored, lm, "inverse", lambda items: [items]), FACT)
    asked = Asked(lm, task.update)
    edit = asked.edit(task.update.neurons, range(len(asked.prompts)), RULES["through the head"])
    edited = deepcopy(lm.model)
    with torch.no_grad():
        for (layer, neuron), delta in zip(edit.named_neurons, edit.deltas, strict=True):
            edited.model.layers[layer].mlp.down_proj.weight[:, neuron] += torch.from_numpy(delta)

    def on_top(texts: list[str], word: str) -> float:
        answers = [log_p(lm, edited, text) for text in texts]
        return sum(not (a > a[token(lm, word)]).any() for a in answers) / len(texts)

    new = task.update.new_object
    own = [prompt.text for prompt in task.update.plan.fact.prompts]
    implied = [f"{new} is the city of [Y]", f"{new} in [Y]"]
    assert found["new object on top", "its own prompts"] == on_top(own, new)
    assert found["old object gone", "its own prompts"] == 1 - on_top(own, "Dublin")
    assert found["new object on top", "inverse"] == on_top(implied, "Ireland")


def test_an_atlas_in_which_nothing_is_implied_says_what_to_index(atlas: Atlas) -> None:
    with pytest.raises(NotFound, match="implies another in the atlas: index relations that are"):
        items_of(atlas, "inverse")


@pytest.mark.parametrize(
    ("way", "mirrored", "facts", "comparable", "expected"),
    [
        ("inverse", 30, 60, 30, True),
        ("inverse", 29, 60, 29, False),  # half of all its facts
        ("synonym", 9, 60, 10, True),
        ("synonym", 8, 60, 10, False),  # not nearly all that could agree
        ("synonym", 4, 60, 4, False),  # too few to tell
    ],
)
def test_which_relations_imply_which(
    way: Any, mirrored: int, facts: int, comparable: int, expected: bool
) -> None:
    fact = ImpliedFact(way, "P1", "r", "s", "o", mirrored, facts, (), comparable)
    assert implies(fact) is expected
