from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from atlas_content import content, rows
from synthetic import (
    MODEL,
    build,
    synthetic_dataset,
    synthetic_run,
)

from atlas.atlas import Atlas, open_atlas
from atlas.errors import StoreError
from atlas.facts import Dataset, Fact, Relation, Template
from atlas.indexing import records


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    return open_atlas(tmp_path / "a.duckdb", create=True)


def test_the_id_of_a_prompt_is_what_it_always_was() -> None:
    assert records.prompt_id("fact", "template") == 6310273843152999610
    assert records.prompt_id("facttem", "plate") != records.prompt_id("fact", "template")


def test_the_id_of_a_run_is_what_it_always_was() -> None:
    assert synthetic_run(synthetic_dataset()).run_id == "4b4908821a95"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_id", "other"),
        ("rule", "riemann-left"),
        ("points", 20),
        ("tolerance", 0.02),
        ("dtype", "float64"),
        ("device", "cuda"),
        ("seed", 1),
        ("score_floor", 0.1),
        ("dataset_digest", "other"),
        ("settings", {"synthetic": False}),
        ("model_identity", "{}"),
    ],
)
def test_whatever_decides_the_numbers_makes_another_run(field: str, value: object) -> None:
    run = synthetic_run(synthetic_dataset())
    changed: dict[str, Any] = {field: value}
    assert replace(run, **changed).run_id != run.run_id


def test_a_dataset_of_another_name_or_a_newer_atlas_continues_the_run() -> None:
    run = synthetic_run(synthetic_dataset())
    assert replace(run, dataset="renamed", atlas_version="9.0.0").run_id == run.run_id


def test_the_order_of_settings_does_not_matter() -> None:
    run = replace(synthetic_run(synthetic_dataset()), settings={"a": 1, "b": 2})
    assert replace(run, settings={"b": 2, "a": 1}).run_id == run.run_id


def test_a_dataset_is_recorded_whole(atlas: Atlas) -> None:
    dataset = synthetic_dataset(relations=2, facts=3, templates=2)
    with atlas.writing() as connection:
        records.record_dataset(connection, dataset)
    found = content(atlas.path)
    assert found["relations"] == [("P36", "capital"), ("P37", "official language")]
    assert len(found["templates"]) == 4
    assert len(found["facts"]) == 6
    assert ("P36-0", "P36", "Land 0", "Town 0", None) in found["facts"]
    template = dataset.relations[0].templates[1]
    assert len(found["prompts"]) == 12
    assert (
        records.prompt_id("P36-0", template.template_id),
        "P36-0",
        template.template_id,
        "Capital 1 of Land 0 is [Y].",
        len("Capital 1 of Land 0"),
    ) in found["prompts"]


def test_recording_everything_again_changes_no_row(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    before = content(made.atlas.path)
    build(tmp_path / "a.duckdb")
    assert content(made.atlas.path) == before


def test_a_larger_dataset_adds_only_what_is_new(atlas: Atlas) -> None:
    for dataset in (synthetic_dataset(1, 3, 2), synthetic_dataset(2, 5, 3)):
        with atlas.writing() as connection:
            records.record_dataset(connection, dataset)
    found = content(atlas.path)
    sizes = {name: len(found[name]) for name in ("relations", "templates", "facts", "prompts")}
    assert sizes == {"relations": 2, "templates": 6, "facts": 10, "prompts": 30}
    assert len({row[0] for row in found["prompts"]}) == 30


def test_what_a_dataset_holds_twice_is_recorded_once(atlas: Atlas) -> None:
    fact = Fact("f", "P36", "Ireland", "Dublin")
    template = Template("P36", "The capital of [X] is [Y].")
    relation = Relation("P36", "capital", (template, template), (fact, fact))
    with atlas.writing() as connection:
        records.record_dataset(connection, Dataset("twice", (relation, relation)))
    found = content(atlas.path)
    assert found["relations"] == [("P36", "capital")]
    assert found["facts"] == [("f", "P36", "Ireland", "Dublin", None)]
    assert [row[3] for row in found["prompts"]] == ["The capital of Ireland is [Y]."]


def test_a_fact_that_changed_its_triple_is_refused(atlas: Atlas) -> None:
    def dataset(answer: str) -> Dataset:
        fact = Fact("f", "P36", "Ireland", answer)
        return Dataset("d", (Relation("P36", "capital", (), (fact,)),))

    with atlas.writing() as connection:
        records.record_dataset(connection, dataset("Dublin"))
    with (
        pytest.raises(StoreError, match="fact f is in the atlas as Ireland - P36 - Dublin") as e,
        atlas.writing() as connection,
    ):
        records.record_dataset(connection, dataset("Cork"))
    assert "\n" not in str(e.value)
    assert rows(atlas.path, "SELECT object FROM facts") == [("Dublin",)]


def test_an_empty_dataset_is_no_trouble(atlas: Atlas) -> None:
    with atlas.writing() as connection:
        records.record_dataset(connection, Dataset("empty", ()))
        records.record_results(connection, "run", records.PromptResults([]))
    assert content(atlas.path)["prompts"] == []


def test_models_with_the_same_weights_are_one_model(atlas: Atlas) -> None:
    with atlas.writing() as connection:
        records.record_model(connection, MODEL)
        records.record_model(connection, replace(MODEL, name="another name"))
    assert rows(atlas.path, "SELECT model_id, name FROM models") == [("5f5f5f5f5f5f", "synthetic")]


def test_no_row_of_an_atlas_points_nowhere(tmp_path: Path) -> None:
    atlas = build(tmp_path / "a.duckdb", relations=4).atlas
    for child, key, parent in (
        ("templates", "relation_id", "relations"),
        ("facts", "relation_id", "relations"),
        ("prompts", "fact_id", "facts"),
        ("prompts", "template_id", "templates"),
        ("runs", "model_id", "models"),
        ("prompt_results", "run_id", "runs"),
        ("prompt_results", "prompt_id", "prompts"),
        ("attributions", "prompt_id", "prompt_results"),
        ("token_attributions", "prompt_id", "prompt_results"),
        ("selections", "run_id", "runs"),
        ("selection_relations", "selection_id", "selections"),
        ("selection_relations", "relation_id", "relations"),
        ("knowledge_neurons", "selection_id", "selections"),
        ("knowledge_neurons", "fact_id", "facts"),
    ):
        orphans = f"SELECT {key} FROM {child} ANTI JOIN {parent} USING ({key})"
        assert rows(atlas.path, orphans) == [], (child, key)
