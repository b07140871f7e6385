"""What selecting writes beside the knowledge neurons: overlaps of relations, masses of facts."""

import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from atlas_content import content, rows
from revision_assets import asset
from synthetic import begin, build, synthetic_dataset, synthetic_results

from atlas.atlas import Atlas, open_atlas
from atlas.indexing import records
from atlas.selection import masses as mass_records
from atlas.selection.select import Thresholds, select

DATASET = synthetic_dataset(relations=3)


@pytest.fixture
def begun(tmp_path: Path) -> tuple[Atlas, str]:
    """An atlas with a run that has measured nothing, and the run's id."""
    atlas = open_atlas(tmp_path / "a.duckdb", create=True)
    with atlas.writing() as connection:
        return atlas, begin(connection, DATASET)


def measure(atlas: Atlas, run_id: str, relation: int, thresholds: Thresholds | None = None) -> None:
    """Record a relation's results and select it, as the indexer does."""
    with atlas.writing() as connection:
        records.record_results(connection, run_id, synthetic_results(DATASET, relation))
        name = DATASET.relations[relation].relation_id
        select(connection, run_id, thresholds or Thresholds(), [name])


def test_overlaps_grow_with_the_relations_and_end_as_if_selected_at_once(
    begun: tuple[Atlas, str], tmp_path: Path
) -> None:
    atlas, run_id = begun
    pairs = []
    for relation in (2, 0, 1):
        measure(atlas, run_id, relation)
        found = rows(
            atlas.path, "SELECT relation_a, relation_b FROM relation_overlaps ORDER BY ALL"
        )
        pairs.append(found)
    assert pairs[0] == [("P30", "P30")]
    assert pairs[1] == [("P30", "P30"), ("P30", "P36"), ("P36", "P36")]
    assert len(pairs[2]) == 6
    at_once = build(tmp_path / "b.duckdb", relations=3)
    for table in ("relation_overlaps", "fact_masses"):
        assert content(atlas.path)[table] == content(at_once.atlas.path)[table]


def test_a_relation_measured_further_refreshes_its_pairs_and_masses(
    begun: tuple[Atlas, str],
) -> None:
    atlas, run_id = begun
    whole = synthetic_results(DATASET, 0)
    assert whole.attributions is not None
    facts = {p.prompt_id for p in whole.prompts[:8]}  # two of six facts, four prompts each
    kept = np.isin(whole.attributions.prompt_id, list(facts))
    part = {name: column[kept] for name, column in vars(whole.attributions).items()}
    with atlas.writing() as connection:
        results = records.PromptResults(whole.prompts[:8], records.Attributions(**part))
        records.record_results(connection, run_id, results)
        select(connection, run_id, Thresholds())
    measure(atlas, run_id, 1)
    few = "SELECT relation_a, relation_b, fact_pairs FROM relation_overlaps ORDER BY ALL"
    assert rows(atlas.path, few) == [("P36", "P36", 1), ("P36", "P37", 12), ("P37", "P37", 15)]
    assert rows(atlas.path, "SELECT count(DISTINCT fact_id) FROM fact_masses") == [(8,)]
    measure(atlas, run_id, 0)
    assert rows(atlas.path, few) == [("P36", "P36", 15), ("P36", "P37", 36), ("P37", "P37", 15)]
    assert rows(atlas.path, "SELECT count(DISTINCT fact_id) FROM fact_masses") == [(12,)]


def test_masses_are_sums_of_positive_scores_and_shares_of_their_total(tmp_path: Path) -> None:
    made = build(tmp_path / "a.duckdb")
    expected: dict[tuple[str, int, int], float] = defaultdict(float)
    for fact_id, layer, neuron, score in rows(
        made.atlas.path,
        """
        SELECT fact_id, layer, neuron, score
        FROM attributions
        JOIN prompts USING (prompt_id)
        """,
    ):
        if score > 0:
            expected[fact_id, layer, neuron] += score
    found = {row[1:4]: row[4:] for row in content(made.atlas.path)["fact_masses"]}
    assert found.keys() == expected.keys()
    for (fact_id, *_), (mass, share) in found.items():
        total = sum(value for key, value in expected.items() if key[0] == fact_id)
        assert share == pytest.approx(mass / total, rel=1e-6)
    assert {key: mass for key, (mass, _) in found.items()} == pytest.approx(expected, rel=1e-6)


def test_shares_are_of_all_mass_where_prompts_have_kept_it(begun: tuple[Atlas, str]) -> None:
    atlas, run_id = begun
    results = synthetic_results(DATASET, 0)
    prompts = [replace(p, positive_mass=p.positive_mass and 1.54) for p in results.prompts]
    old = {p.prompt_id for p in prompts[:4]}  # of a fact that was measured before
    prompts = [replace(p, positive_mass=None) if p.prompt_id in old else p for p in prompts]
    with atlas.writing() as connection:
        records.record_results(connection, run_id, replace(results, prompts=prompts))
        select(connection, run_id, Thresholds(), [DATASET.relations[0].relation_id])
        assert mass_records.of_stored_mass(connection, run_id)
    shares = "SELECT fact_id, sum(share) FROM fact_masses GROUP BY fact_id ORDER BY fact_id"
    stored, *others = [share for _, share in rows(atlas.path, shares)]
    assert stored == pytest.approx(1, rel=1e-6)
    assert others == pytest.approx([0.5] * 5, rel=1e-6)
    with atlas.writing() as connection:
        connection.execute("UPDATE prompt_results SET positive_mass = 1")
        assert not mass_records.of_stored_mass(connection, run_id)


def test_other_thresholds_do_not_touch_the_masses(
    begun: tuple[Atlas, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    atlas, run_id = begun
    measure(atlas, run_id, 0)
    before = content(atlas.path)["fact_masses"]
    monkeypatch.setattr(mass_records, "_replace", lambda *_: pytest.fail("computed again"))
    with atlas.writing() as connection:
        select(connection, run_id, Thresholds(preset="fixed", ratio=0.9))
    assert content(atlas.path)["fact_masses"] == before


def test_selecting_writes_what_an_upgrade_has_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "old.duckdb"
    shutil.copyfile(asset("0001"), path)
    open_atlas(path)
    upgraded = content(path)
    with open_atlas(path).writing() as connection:
        connection.execute("DELETE FROM selections")
        connection.execute("DELETE FROM selection_relations")
        ((run_id,),) = connection.execute("SELECT run_id FROM runs").fetchall()
        select(connection, run_id, Thresholds(known_only=False, stops="last"))
    again = content(path)
    for table in ("fact_masses", "relation_overlaps"):
        assert upgraded[table]
        assert again[table] == upgraded[table]
