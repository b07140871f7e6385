"""Shards: which facts each has, what an index of one records, and what they are merged to."""

from collections import Counter
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
from tiny_index import CHEAP, alike, rows, tables, tiny_dataset

import atlas
from atlas.atlas import open_atlas
from atlas.datasets import choose
from atlas.errors import SettingsError
from atlas.indexing.shards import Shard, as_shard, shard_of
from atlas.merging.merge import merge
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.selection.thresholds import Thresholds

CHEAPLY: dict[str, Any] = {
    "rule": CHEAP.rule,
    "points": CHEAP.points,
    "device": "cpu",
    "memory_budget": 0.25,
    "thresholds": Thresholds(known_only=False),  # a random model knows nothing
}
FACTS = 4  # a relation
DATASET = tiny_dataset(relations=2, facts=FACTS, templates=3)
SHARDS = 2


def index(path: Path, model: LanguageModel, **options: Any) -> Path:
    atlas.index(path, model, DATASET, **CHEAPLY, **options)
    return path


def both(path: Path, model: LanguageModel, **options: Any) -> Path:
    """The index and its null."""
    return index(index(path, model, **options), model, null=True, **options)


@pytest.fixture(scope="module")
def bert(saved_bert: Path) -> LanguageModel:
    return load_model(str(saved_bert), device="cpu")


@pytest.fixture(scope="module")
def whole(bert: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One index of everything, and of its null."""
    return both(tmp_path_factory.mktemp("whole") / "atlas.duckdb", bert)


@pytest.fixture(scope="module")
def shards(bert: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same in shards."""
    directory = tmp_path_factory.mktemp("shards")
    return [
        both(directory / f"shard-{n}.duckdb", bert, shard=f"{n}/{SHARDS}")
        for n in range(1, SHARDS + 1)
    ]


def test_every_fact_is_in_one_shard_of_about_its_share() -> None:
    ids = [f"fact-{number}" for number in range(3000)]
    sizes = Counter(shard_of(fact_id, 30) for fact_id in ids)
    assert sorted(sizes) == list(range(1, 31))
    assert max(sizes.values()) < 1.5 * 100
    parts = [Shard(number, SHARDS).part(DATASET) for number in range(1, SHARDS + 1)]
    facts = sorted(f.fact_id for part in parts for r in part.relations for f in r.facts)
    assert facts == sorted(f.fact_id for r in DATASET.relations for f in r.facts)
    assert {len(part.relations) for part in parts} == {len(DATASET.relations)}


def test_one_shard_more_moves_no_fact_but_to_that_shard() -> None:
    ids = [f"fact-{number}" for number in range(1000)]
    moved = [fact_id for fact_id in ids if shard_of(fact_id, 8) != shard_of(fact_id, 7)]
    assert 0.5 * 1000 / 8 < len(moved) < 1.5 * 1000 / 8
    assert {shard_of(fact_id, 8) for fact_id in moved} == {8}


def test_where_a_fact_goes_does_not_change_from_version_to_version() -> None:
    ids = ("3ff99e65-058c-494f-b452-d0af6f901017", "P36-0", "Łódź")
    assert [shard_of(fact_id, 64) for fact_id in ids] == [11, 23, 8]


@pytest.mark.parametrize("text", ["65/64", "0/64", "3/0", "3", "three/64", "3/64/2", "-1/64", ""])
def test_what_is_no_shard_is_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="shard") as refused:
        atlas.index(tmp_path / "a.duckdb", "nowhere", DATASET, shard=text)
    assert (refused.value.parameters, "\n" in str(refused.value)) == (("shard",), False)
    assert list(tmp_path.iterdir()) == []


def test_interactions_wait_for_the_merge(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="when the shards are merged"):
        atlas.index(tmp_path / "a.duckdb", "nowhere", DATASET, shard="1/2", interactions=True)


def test_shards_merged_equal_one_index(whole: Path, shards: list[Path], tmp_path: Path) -> None:
    merged = tmp_path / "merged.duckdb"
    merge(shards, merged)
    alike(tables(merged), tables(whole))  # batches are others, and so is the rounding
    assert len(rows(merged, "FROM knowledge_neurons")) > 0


def test_a_shard_is_recorded_and_no_part_of_what_identifies_the_run(
    whole: Path, shards: list[Path]
) -> None:
    runs = {run.run_id for run in open_atlas(whole).info().runs}
    for number, path in enumerate(shards, 1):
        info = open_atlas(path).info()
        assert {run.run_id for run in info.runs} == runs
        assert {run.shards for run in info.runs} == {f"{number} of {SHARDS}"}
        assert rows(path, "SELECT DISTINCT finished FROM run_shards") == [(True,)]


def test_shards_in_one_file_one_after_the_other_are_the_whole(
    bert: LanguageModel, shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    path = Path(copyfile(shards[0], tmp_path / "atlas.duckdb"))
    both(path, bert, shard=f"2/{SHARDS}")
    alike(tables(path), tables(whole))
    before = tables(path)
    index(path, bert, shard="1/5")  # of a run that is whole: nothing to do, nothing to say
    assert tables(path) == before


def test_an_index_of_everything_goes_on_where_a_shard_ended(
    bert: LanguageModel, shards: list[Path], tmp_path: Path
) -> None:
    path = Path(copyfile(shards[0], tmp_path / "atlas.duckdb"))
    index(path, bert)
    (real,) = [run for run in open_atlas(path).info().runs if run.null_of is None]
    assert (real.shards, real.measured_facts) == (None, 2 * FACTS)


def test_an_interrupted_shard_is_merged_and_merged_again_when_it_is_finished(
    bert: LanguageModel, shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    early, merged = tmp_path / "shard-2.duckdb", tmp_path / "merged.duckdb"

    def stop(event: object) -> None:
        if getattr(event, "complete", False):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index(early, bert, shard=f"2/{SHARDS}", progress=stop)
    found = merge([shards[0], early], merged)
    (real,) = [run for run in found.runs if run.null_of is None]
    assert (real.status, real.shards) == ("interrupted", f"1-{SHARDS} of {SHARDS}")
    merge(shards[1], merged)
    alike(tables(merged), tables(whole))


def test_a_shard_without_a_fact_is_no_fault(bert: LanguageModel, tmp_path: Path) -> None:
    dataset = choose(DATASET, ["P36"], 1)
    empty = next(n for n in range(1, 9) if not Shard(n, 8).part(dataset).relations[0].facts)
    path = tmp_path / "empty.duckdb"
    for null in (False, True):
        report = atlas.index(
            path, bert, DATASET, relations=["P36"], limit=1, shard=Shard(empty, 8), null=null,
            **CHEAPLY,
        )  # fmt: skip
        assert (report.run.status, report.run.measured) == ("finished", 0)
    whole = tmp_path / "whole.duckdb"
    assert as_shard(None) is None
    for null in (False, True):
        atlas.index(whole, bert, DATASET, relations=["P36"], limit=1, null=null, **CHEAPLY)
    before = tables(whole)
    merge(path, whole)
    assert tables(whole) == before
