"""Merging: what comes together equals what was measured at once, and nothing is lost or doubled."""

from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
from atlas_content import names
from processes import run
from revision_assets import asset
from synthetic_shards import DATASET, RUN, THRESHOLDS, measured
from tiny_index import rows, tables

from atlas.atlas import open_atlas
from atlas.errors import AtlasError, LockedAtlas, NewerAtlas, NotAnAtlas, SettingsError, StoreError
from atlas.export.run_tables import EXPORTED
from atlas.indexing.shards import Shard
from atlas.merging import rows as merged_rows
from atlas.merging.merge import merge
from atlas.store.connection import exclusive

SHARDS = 3
SHARING = "SELECT selection_id, relation_id, sharing FROM selection_relations"
FACTS = [fact.fact_id for relation in DATASET.relations for fact in relation.facts]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of the dataset measured into one atlas."""
    return measured(tmp_path_factory.mktemp("whole") / "atlas.duckdb")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same in shards."""
    directory = tmp_path_factory.mktemp("shards")
    return [
        measured(directory / f"shard-{n}.duckdb", shard=Shard(n, SHARDS))
        for n in range(1, SHARDS + 1)
    ]


def fresh(directory: Path) -> Path:
    """A new atlas to merge into, for less than a merge takes to make one."""
    return open_atlas(directory / "merged.duckdb", create=True).path


def refusal(sources: Any, to: Path) -> str:
    """What merging says when it refuses, in one line, and changes nothing."""
    before, held = names(to.parent), to.read_bytes() if to.exists() else b""
    with pytest.raises(AtlasError) as refused:
        merge(sources, to)
    assert "\n" not in str(refused.value)
    assert names(to.parent) == before
    assert not to.exists() or to.read_bytes() == held
    return str(refused.value)


def test_every_table_is_merged() -> None:
    assert {table for table, _ in EXPORTED} == merged_rows.MERGED


def test_shards_merged_equal_one_index_table_by_table(
    whole: Path, shards: list[Path], tmp_path: Path
) -> None:
    merged = tmp_path / "merged.duckdb"
    found = merge(str(shards[0].parent / "shard-*.duckdb"), merged)
    assert tables(merged) == tables(whole)
    assert sum(s.prompts for s in found.sources) == len(rows(whole, "FROM prompt_results"))
    assert {(run.status, run.shards) for run in found.runs} == {("finished", None)}
    in_parts = [r for p in shards for r in rows(p, SHARING)]
    assert set(in_parts) - set(rows(whole, SHARING)), "each part alone is calibrated otherwise"
    assert found.default is not None
    assert found.default.now.selection_id == THRESHOLDS.selection_id(RUN.run_id)
    assert names(tmp_path) == ["merged.duckdb"]


def test_merging_again_in_any_mix_and_order_changes_no_row(
    whole: Path, shards: list[Path], tmp_path: Path
) -> None:
    merged = fresh(tmp_path)
    first = merge([shards[2], shards[0]], merged)
    assert {run.shards for run in first.runs} == {"1, 3 of 3"}
    assert {run.shards for run in open_atlas(merged).info().runs} == {"1, 3 of 3"}
    merge(shards[1], merged)
    assert tables(merged) == tables(whole)
    before = tables(merged, clocks=True)
    again = merge([shards[1], whole], merged)
    assert tables(merged, clocks=True) == before
    assert {(s.new_runs, s.facts, s.prompts, s.edits) for s in again.sources} == {(0, 0, 0, 0)}


def test_machines_added_later_fit_in(whole: Path, shards: list[Path], tmp_path: Path) -> None:
    """One of three shards is there when the facts are split anew, into four."""
    more = measured(tmp_path / "1.duckdb", shard=Shard(1, 4))
    merged = fresh(tmp_path)
    merge([shards[1], more], merged)
    assert {run.shards for run in open_atlas(merged).info().runs} == {"2 of 3; 1 of 4"}
    merge([shards[0], shards[2]], merged)
    assert tables(merged) == tables(whole)


def test_a_part_measured_without_shards_is_joined_too(
    shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    in_shard = [fact_id for (fact_id,) in rows(shards[0], "SELECT fact_id FROM facts")]
    others = [fact_id for fact_id in FACTS if fact_id not in in_shard[2:]]  # two are in both
    rest = measured(tmp_path / "rest.duckdb", others)
    merge([shards[0], rest], fresh(tmp_path))
    assert tables(tmp_path / "merged.duckdb") == tables(whole)


def test_runs_of_other_models_and_settings_are_added_beside(whole: Path, tmp_path: Path) -> None:
    other = measured(tmp_path / "other.duckdb", run=replace(RUN, tolerance=0.5), null=False)
    merged = fresh(tmp_path)
    found = merge([whole, other], merged)
    assert len({run.run_id for run in found.runs}) == 3
    assert len(rows(merged, "FROM selections")) == 3
    of_whole = "run_id IN (SELECT run_id FROM runs WHERE tolerance < 0.5)"
    for table in ("prompt_results", "attributions", "run_shards", "fact_masses"):
        assert rows(merged, f"FROM {table} WHERE {of_whole} ORDER BY ALL") == rows(
            whole, f"FROM {table} ORDER BY ALL"
        )


def test_a_target_keeps_its_default_and_a_new_one_has_that_of_the_first_source(
    whole: Path, tmp_path: Path
) -> None:
    other = measured(tmp_path / "other.duckdb", run=replace(RUN, tolerance=0.5), null=False)
    default = "SELECT selection_id FROM default_selection"
    merge([whole, other], tmp_path / "new.duckdb")
    assert rows(tmp_path / "new.duckdb", default) == rows(whole, default)
    before = rows(other, default)
    merge(whole, other)
    assert rows(other, default) == before


def test_selections_of_one_name_are_told_apart(whole: Path, tmp_path: Path) -> None:
    copy = Path(copyfile(whole, tmp_path / "copy.duckdb"))
    selected = {"ratio": 0.5, "sharing": 0.5, "known_only": False}
    open_atlas(copy).select(name="mine", **selected)
    target = Path(copyfile(whole, tmp_path / "target.duckdb"))
    open_atlas(target).select(name="mine", **(selected | {"ratio": 0.7}))
    merge(copy, target)
    called = rows(
        target, "SELECT name, ratio FROM selections WHERE name LIKE 'mine%' ORDER BY name"
    )
    assert called == [("mine", 0.7), ("mine-2", 0.5), ("mine-null", 0.7), ("mine-null-2", 0.5)]


# What rests on a model's answers


MEASURED_OF_NEURONS = """
    INSERT INTO fact_interactions (selection_id, fact_id, neurons, prompts, asked)
    SELECT selection_id, fact_id, count(*), 3, 'digest'
    FROM knowledge_neurons
    GROUP BY selection_id, fact_id;
    INSERT INTO interactions
    SELECT selection_id, fact_id, 0, 1, 0, 2, 0.1, 0.1, 0.2, 0, 3, 3, 3
    FROM fact_interactions;
    INSERT INTO interference_measurements (
        run_id, selection_id, source_fact, fact_id, role, predicted, prompts, delta_log_p, flips,
        right_to_wrong
    )
    SELECT run_id, selection_id, fact_id, fact_id, 'self', 1, 3, -0.1, 0, 0
    FROM fact_interactions
    JOIN selections USING (selection_id);
    INSERT INTO specificity_facts
    SELECT selection_id, fact_id, 2, 3, 1, 0, 'digest'
    FROM fact_interactions;
    INSERT INTO specificity_effects
    SELECT selection_id, fact_id, 'own', 0, 'own', 3, -0.1, -0.1, 3, 0
    FROM fact_interactions;
    INSERT INTO prompt_activations
    SELECT run_id, 0, prompt_id, 0, 4, [1.5, 2.5]
    FROM prompt_results
    WHERE skipped_because IS NULL;
    INSERT INTO activation_layers
    SELECT run_id, 0, count(*), count(*), 0, now()::TIMESTAMP
    FROM prompt_activations
    GROUP BY run_id;
    INSERT INTO neuron_meanings (model_id, site, layer, neuron, side, position, token, logit)
    SELECT model_id, 'answer', 0, 1, 'top', 1, 'Dublin', 0.5
    FROM models;
    """
OF_NEURONS = (
    "fact_interactions",
    "interactions",
    "interference_measurements",
    "specificity_facts",
    "specificity_effects",
)


def neurons(path: Path) -> dict[Any, list[Any]]:
    """By selection and fact."""
    found: dict[Any, list[Any]] = {}
    for *fact, layer, neuron in rows(
        path,
        "SELECT selection_id, fact_id, layer, neuron FROM knowledge_neurons ORDER BY ALL",
    ):
        found.setdefault(tuple(fact), []).append((layer, neuron))
    return found


def test_what_was_measured_of_neurons_comes_along_where_a_fact_still_has_them(
    shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    copies = [Path(copyfile(path, tmp_path / path.name)) for path in shards]
    for copy in copies:
        with open_atlas(copy).writing() as connection:
            connection.execute(MEASURED_OF_NEURONS)
    merged = fresh(tmp_path)
    merge(copies, merged)
    now = neurons(merged)
    assert now == neurons(whole)
    then = {fact: own for copy in copies for fact, own in neurons(copy).items()}
    same = sorted(fact for fact, own in then.items() if now.get(fact) == own)
    assert 0 < len(same) < len(then)
    for table in OF_NEURONS:
        fact_id = "source_fact" if table == "interference_measurements" else "fact_id"
        kept = rows(merged, f"SELECT selection_id, {fact_id} FROM {table} ORDER BY ALL")
        assert kept == same, table
    assert len(rows(merged, "FROM prompt_activations")) == len(
        rows(whole, "FROM prompt_results WHERE skipped_because IS NULL")
    )
    assert len(rows(merged, "FROM activation_layers")) == 2  # outdated, which their count tells
    assert len(rows(merged, "FROM neuron_meanings")) == 1
    before = tables(merged, clocks=True)
    merge(copies[1], merged)
    assert tables(merged, clocks=True) == before


def test_what_was_measured_in_a_copy_comes_back(whole: Path, tmp_path: Path) -> None:
    copy = Path(copyfile(whole, tmp_path / "copy.duckdb"))
    with open_atlas(copy).writing() as connection:
        connection.execute(MEASURED_OF_NEURONS)
    target = Path(copyfile(whole, tmp_path / "target.duckdb"))
    merge(copy, target)
    assert tables(target) == tables(copy)


STORE_EDIT = """
    INSERT INTO edits (
        edit_id, digest, kind, method, model_id, weights_sha256, run_id, neurons, norm, state,
        atlas_version, created_at, seconds, settings
    )
    SELECT $id, $digest, 'erase', 'zero', model_id, weights_sha256, $run, 1, 0.5, 'stored', '0.1.0',
           TIMESTAMP '2026-01-01', 1, '{}'
    FROM models
    """


def store_edit(path: Path, number: int, digest: str, run: str | None, effects: int = 3) -> None:
    with open_atlas(path).writing() as connection:
        connection.execute(STORE_EDIT, {"id": number, "digest": digest, "run": run})
        connection.execute("INSERT INTO edit_deltas VALUES (?, 0, 1, [0.5])", [number])
        connection.execute(
            """
            INSERT INTO side_effects
            SELECT $id, prompt_id, 0, 0.5, 0.25, 1, 2, 'Dublin', 'Lima'
            FROM prompt_results
            ORDER BY prompt_id
            LIMIT $effects
            """,
            {"id": number, "effects": effects},
        )


def test_edits_keep_their_numbers_where_those_are_free(whole: Path, tmp_path: Path) -> None:
    a, b = (Path(copyfile(whole, tmp_path / f"{name}.duckdb")) for name in "ab")
    store_edit(a, 1, "aaa", RUN.run_id)
    store_edit(a, 4, "bbb", None)
    store_edit(b, 1, "bbb", None, effects=5)
    store_edit(b, 2, "ccc", RUN.run_id)
    store_edit(b, 4, "ddd", RUN.run_id)
    merged = fresh(tmp_path)
    found = merge([a, b], merged)
    assert [source.edits for source in found.sources] == [2, 2]
    assert rows(merged, "SELECT edit_id, digest FROM edits ORDER BY edit_id") == [
        (1, "aaa"),
        (2, "ccc"),
        (4, "bbb"),
        (5, "ddd"),
    ]
    deltas = rows(merged, "SELECT edit_id FROM edit_deltas ORDER BY edit_id")
    assert deltas == [(1,), (2,), (4,), (5,)]
    effects = "SELECT edit_id, count(*) FROM side_effects GROUP BY edit_id ORDER BY edit_id"
    assert rows(merged, effects) == [(1, 3), (2, 3), (4, 5), (5, 3)]
    before = tables(merged, clocks=True)
    merge([b, a], merged)
    assert tables(merged, clocks=True) == before


# Sources


def test_sources_are_only_read(shards: list[Path], tmp_path: Path) -> None:
    before = [path.read_bytes() for path in shards]
    merge(shards, tmp_path / "merged.duckdb")
    assert [path.read_bytes() for path in shards] == before
    assert names(shards[0].parent) == [path.name for path in shards]


def test_an_older_atlas_is_merged_by_an_upgraded_copy(tmp_path: Path) -> None:
    old = Path(copyfile(asset("0007"), tmp_path / "old.duckdb"))
    before = old.read_bytes()
    merge(old, fresh(tmp_path))
    assert len(rows(tmp_path / "merged.duckdb", "FROM knowledge_neurons")) == 36
    assert old.read_bytes() == before
    assert names(tmp_path) == ["merged.duckdb", "old.duckdb"]


def test_what_is_no_source_is_told_in_one_line(whole: Path, tmp_path: Path) -> None:
    to = tmp_path / "merged.duckdb"
    assert "nothing to merge" in refusal([], to)
    assert "nothing is called" in refusal(str(tmp_path / "shard-*.duckdb"), to)
    assert "no atlas at" in refusal([whole, tmp_path / "none.duckdb"], to)
    (tmp_path / "text").write_text("no atlas")
    with pytest.raises(NotAnAtlas, match="is not a DuckDB file"):
        merge([whole, tmp_path / "text"], to)
    (tmp_path / "directory").mkdir()
    assert "is no directory of an exported run" in refusal([whole, tmp_path / "directory"], to)
    newer = Path(copyfile(whole, tmp_path / "newer.duckdb"))
    with exclusive(newer) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(NewerAtlas, match=r"newer\.duckdb has schema revision 9999"):
        merge([whole, newer], to)
    assert not to.exists()


def test_a_target_among_the_sources_is_refused(shards: list[Path], tmp_path: Path) -> None:
    target = Path(copyfile(shards[0], tmp_path / "target.duckdb"))
    with pytest.raises(SettingsError, match="is among what is to be merged into it"):
        merge([shards[1], tmp_path / "." / "target.duckdb"], target)


# What does not agree


def changed(path: Path, copy: Path, sql: str) -> Path:
    """A copy with something changed in it."""
    copyfile(path, copy)
    with exclusive(copy) as connection:
        connection.execute(sql)
    return copy


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "UPDATE prompt_results SET p_answer = 0.25 WHERE skipped_because IS NULL",
            'P(answer) of "',
        ),
        ("UPDATE prompt_results SET max_score = 2 * max_score", "the largest score of"),
        ("UPDATE attributions SET score = 2 * score WHERE layer = 3", "the score of 3:"),
        ("DELETE FROM attributions WHERE layer = 3", "is not there in"),
    ],
    ids=("answer", "largest", "score", "missing"),
)
def test_a_fact_measured_twice_with_other_values_is_told_with_both(
    shards: list[Path], whole: Path, tmp_path: Path, sql: str, said: str
) -> None:
    other = changed(shards[0], tmp_path / "other.duckdb", sql)
    told = refusal([whole, other], fresh(tmp_path))
    assert told.startswith("fact ")
    assert said in told
    assert f"in {other} and" in told


def test_what_rounding_changes_is_no_disagreement(
    shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    other = changed(
        shards[0],
        tmp_path / "other.duckdb",
        """
        UPDATE prompt_results SET p_answer = 1.00001 * p_answer, max_score = 1.00001 * max_score;
        UPDATE attributions SET score = 1.00001 * score;
        """,
    )
    merge([whole, other], fresh(tmp_path))
    assert tables(tmp_path / "merged.duckdb") == tables(whole)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE facts SET object = 'Lima' WHERE fact_id LIKE 'P36-%'", "fact P36-"),
        ("UPDATE runs SET tolerance = 0.5", "its tolerance is 0.5 there and 0.01"),
        ("UPDATE models SET weights_sha256 = 'none'", "its weights is none there"),
    ],
)
def test_an_id_that_stands_for_something_else_is_told(
    shards: list[Path], tmp_path: Path, sql: str, said: str
) -> None:
    same = changed(shards[0], tmp_path / "same.duckdb", "SELECT 1")
    other = changed(shards[0], tmp_path / "other.duckdb", sql)
    assert said in refusal([same, other], fresh(tmp_path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tolerance": 0.5}, "tolerance is 0.01 in {a} and 0.5 in {b}"),
        ({"dataset_digest": "other"}, "dataset digest is"),
        ({"device": "cuda"}, "device is cpu in {a} and cuda in {b}"),
        ({"settings": {"synthetic": False}}, "synthetic is True in {a} and False in {b}"),
    ],
    ids=str,
)
def test_shards_of_unlike_settings_are_not_left_beside_each_other(
    shards: list[Path], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    other = measured(
        tmp_path / "other.duckdb", shard=Shard(2, SHARDS), run=replace(RUN, **changes), null=False
    )
    told = refusal([shards[0], other], fresh(tmp_path))
    swapped = said.replace("{a}", "{c}").replace("{b}", "{a}").replace("{c}", "{b}")
    assert "cannot be joined" in told
    parts = said.format(a=shards[0], b=other).split(" and ")
    assert all(part.split(" is ")[-1] in told for part in parts), (told, swapped)


def test_a_failure_leaves_an_old_target_as_it_was(
    shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Path(copyfile(shards[0], tmp_path / "target.duckdb"))
    before = tables(target, clocks=True)
    other = changed(shards[2], tmp_path / "other.duckdb", "UPDATE facts SET object = 'Lima'")
    with pytest.raises(StoreError):
        merge([shards[1], shards[2], other], target)
    assert tables(target, clocks=True) == before

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("atlas.merging.merge.select_again", stopped)
    with pytest.raises(KeyboardInterrupt):
        merge(shards[1:], target)
    assert tables(target, clocks=True) == before
    with pytest.raises(KeyboardInterrupt):
        merge(shards, tmp_path / "new.duckdb")
    assert names(tmp_path) == ["other.duckdb", "target.duckdb"]


def test_a_merge_that_is_killed_loses_nothing_and_leaves_nothing_to_the_next(
    shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    target = Path(copyfile(shards[0], tmp_path / "target.duckdb"))
    before = tables(target, clocks=True)
    killed = run(
        """
        import os, signal, sys
        from atlas.merging import merge
        merge.select_again = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        merge.merge(sys.argv[2:], sys.argv[1])
        """,
        target,
        *shards[1:],
    )
    assert killed.returncode == -9, killed.stderr
    assert tables(target, clocks=True) == before
    assert len(names(tmp_path)) == 2
    merge(shards[1:], target)
    assert tables(target) == tables(whole)
    assert names(tmp_path) == ["target.duckdb"]


def test_the_target_is_read_as_it_was_while_others_are_merged_into_it(
    shards: list[Path], tmp_path: Path
) -> None:
    target = Path(copyfile(shards[0], tmp_path / "target.duckdb"))
    before = rows(target, "FROM prompt_results ORDER BY ALL")
    seen = []

    def look(event: object) -> None:
        seen.append(rows(target, "FROM prompt_results ORDER BY ALL") == before)
        with pytest.raises(LockedAtlas), open_atlas(target).writing(wait=0):
            pass

    merge(shards[1:], target, progress=look)
    assert seen == [True] * len(seen)
    assert len(rows(target, "FROM prompt_results")) > len(before)


def test_what_a_killed_writer_had_committed_is_merged_too(
    shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    """It is in the log beside a file, of a source and of the target."""
    copies = [Path(copyfile(path, tmp_path / path.name)) for path in shards]
    for copy in copies[:2]:
        done = run(
            """
            import os, signal, sys
            from atlas.store.connection import exclusive
            with exclusive(sys.argv[1]) as connection:
                connection.execute("INSERT INTO relations VALUES ('P' || ?, 'new')", [sys.argv[2]])
                os.kill(os.getpid(), signal.SIGKILL)
            """,
            copy,
            copy.stem[-1],
        )
        assert done.returncode == -9, done.stderr
    merge(copies[1:], copies[0])
    new = rows(copies[0], "SELECT relation_id FROM relations WHERE label = 'new' ORDER BY ALL")
    assert new == [("P1",), ("P2",)]
    assert rows(copies[0], "FROM knowledge_neurons ORDER BY ALL") == rows(
        whole, "FROM knowledge_neurons ORDER BY ALL"
    )


def test_a_null_without_its_real_run_is_told(whole: Path, tmp_path: Path) -> None:
    open_atlas(tmp_path / "target.duckdb", create=True)
    (null,) = rows(whole, "SELECT run_id FROM runs WHERE null_of IS NOT NULL")
    open_atlas(whole).export_run(tmp_path / "null", run=null[0])
    told = refusal(tmp_path / "null", tmp_path / "target.duckdb")
    assert told.startswith(
        f"run {null[0]} is the null of run {RUN.run_id}, which the atlas does not"
    )
