"""A run that was exported, put back: every row of every table, once."""

import shutil
from pathlib import Path

import duckdb
import pytest
from atlas_content import names
from synthetic_shards import NULL_RUN, RUN, measured
from test_merging import MEASURED_OF_NEURONS, refusal, store_edit
from tiny_index import rows, tables

from atlas.atlas import open_atlas
from atlas.errors import NewerAtlas, NotAnAtlas, StoreError
from atlas.export.run_tables import EXPORTED
from atlas.indexing.shards import Shard
from atlas.merging.merge import import_run, merge


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of one run with a null, and rows in every table."""
    path = measured(tmp_path_factory.mktemp("full") / "atlas.duckdb", shard=Shard(1, 2))
    store_edit(path, 2, "aaa", RUN.run_id)
    with open_atlas(path).writing() as connection:
        connection.execute(MEASURED_OF_NEURONS)
        connection.execute(
            """
            INSERT INTO token_attributions
            SELECT run_id, prompt_id, 0, layer, neuron, score
            FROM attributions;
            INSERT INTO neuron_associations (
                selection_id, layer, neuron, aspect, value, facts, expected, p_value, q_value
            )
            SELECT DISTINCT selection_id, 3, 0, 'relation', 'P36', 2, 0.5, 0.01, 0.01
            FROM knowledge_neurons;
            INSERT INTO neuron_specificity
            SELECT selection_id, fact_id, 3, 0, 'fact', -1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0
            FROM fact_interactions;
            INSERT INTO edit_outcomes
            SELECT edit_id, prompt_id, FALSE, 0.5, 0.25, NULL, NULL, 1, 2, NULL, NULL, 'a', 'b'
            FROM side_effects;
            INSERT INTO experiments
            SELECT DISTINCT selection_id, 'suppress', 0, 5, 1, 0.5, '0.1.0'
            FROM knowledge_neurons;
            INSERT INTO experiment_items
            SELECT DISTINCT selection_id, 'suppress', 'item', NULL, 'asked', 0.5
            FROM knowledge_neurons;
            INSERT INTO experiment_rows
            SELECT DISTINCT selection_id, 'suppress', 'item', NULL, 'loss', 'own', NULL, 0.25
            FROM knowledge_neurons;
            INSERT INTO experiment_claims (
                selection_id, experiment, place, claim, statement, source, unit, n, against,
                expected, verdict
            )
            SELECT DISTINCT selection_id, 'suppress', 0, 'c', 's', 'o', 'u', 1, 'a', 'higher',
                            'holds'
            FROM knowledge_neurons;
            INSERT INTO audits (
                audit_id, run_id, checkpoint, weights_sha256, created_at, atlas_version
            )
            SELECT 'a1', run_id, 'edited', 'abc', TIMESTAMP '2026-01-01', '0.1.0'
            FROM runs
            WHERE null_of IS NULL;
            INSERT INTO audit_neurons VALUES ('a1', 3, 0, 1.0, 0.5);
            INSERT INTO audit_tensors VALUES ('a1', 'weight', 10, 2, 0.5);
            INSERT INTO audit_effects
            SELECT 'a1', prompt_id, 0.5, 0.25, 1, 2, 'a', 'b'
            FROM side_effects;
            INSERT INTO edit_facts
            SELECT DISTINCT s.edit_id, 0, f.fact_id, f.relation_id, f.subject, f.object, 'Rome'
            FROM side_effects AS s
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id);
            """
        )
    held = tables(path)
    assert [table for table, _ in EXPORTED if not held[table]] == []
    return path


@pytest.fixture(scope="module")
def exports(full: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The real run and its null as directories."""
    directory = tmp_path_factory.mktemp("exports")
    found = [directory / "real", directory / "null"]
    for run, to in zip((RUN, NULL_RUN), found, strict=True):
        open_atlas(full).export_run(to, run=run.run_id)
    return found


def test_exporting_and_importing_brings_back_every_row(
    full: Path, exports: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "atlas.duckdb"
    found = import_run(path, exports[0])
    assert (found.created, found.sources[0].kind, found.sources[0].edits) == (True, "export", 1)
    open_atlas(path).import_run(exports[1])
    assert tables(path, clocks=True) == tables(full, clocks=True)
    assert [run.shards for run in open_atlas(path).info().runs] == ["1 of 2", "1 of 2"]
    for directory in exports:
        again = import_run(path, directory)
        assert (again.created, again.sources[0].prompts, again.sources[0].edits) == (False, 0, 0)
    assert tables(path, clocks=True) == tables(full, clocks=True)


def test_exports_are_merged_like_atlases(full: Path, exports: list[Path], tmp_path: Path) -> None:
    rest = measured(tmp_path / "rest.duckdb", shard=Shard(2, 2))
    merge([full, rest], tmp_path / "of-atlases.duckdb")
    merge([*exports[::-1], rest], tmp_path / "of-exports.duckdb")
    assert tables(tmp_path / "of-exports.duckdb") == tables(tmp_path / "of-atlases.duckdb")


def test_what_is_imported_can_be_exported_again(
    full: Path, exports: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "atlas.duckdb"
    import_run(path, exports[0])
    open_atlas(path).export_run(tmp_path / "again", run=RUN.run_id)
    for table, _ in EXPORTED:
        files = [str(d / f"{table}.parquet") for d in (exports[0], tmp_path / "again")]
        first, second = (duckdb.execute(f"FROM '{f}' ORDER BY ALL").fetchall() for f in files)
        assert first == second, table


def copied(directory: Path, to: Path) -> Path:
    return Path(shutil.copytree(directory, to))


def test_a_directory_that_is_no_whole_export_is_told(exports: list[Path], tmp_path: Path) -> None:
    path = open_atlas(tmp_path / "atlas.duckdb", create=True).path
    before = path.read_bytes()
    lacking = copied(exports[0], tmp_path / "lacking")
    (lacking / "facts.parquet").unlink()
    assert "lacks 1 table of an exported run (facts)" in refusal(lacking, path)
    damaged = copied(exports[0], tmp_path / "damaged")
    file = damaged / "attributions.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    assert f"{file} cannot be read, it looks damaged" in refusal(damaged, path)
    other = copied(exports[0], tmp_path / "other")
    duckdb.execute(
        f"""
        COPY (SELECT 1 AS one) TO '{other / "runs.parquet"}' (
            FORMAT parquet,
            KV_METADATA {{atlas_schema_revision: '{_revision(exports[0])}'}}
        )
        """
    )
    assert f"{other} cannot be read" in refusal(other, path)
    with pytest.raises(NotAnAtlas, match="there is no directory"):
        import_run(path, tmp_path / "none")
    with pytest.raises(NotAnAtlas, match="there is no directory"):
        import_run(path, path)
    assert path.read_bytes() == before
    assert not (tmp_path / "new.duckdb").exists()


def _revision(directory: Path) -> str:
    ((value,),) = duckdb.execute(
        "SELECT value FROM parquet_kv_metadata(?)", [str(directory / "facts.parquet")]
    ).fetchall()
    return str(value.decode())


@pytest.mark.parametrize(
    ("revision", "kind", "said"),
    [
        ("9999", NewerAtlas, "was exported at schema revision 9999, this version knows up to"),
        ("0008", StoreError, "was exported by an older version"),
    ],
)
def test_an_export_of_another_version_is_told(
    exports: list[Path], tmp_path: Path, revision: str, kind: type[Exception], said: str
) -> None:
    other = copied(exports[0], tmp_path / "other")
    file = other / "facts.parquet"
    kept = tmp_path / "kept.parquet"
    file.rename(kept)
    duckdb.execute(
        f"""
        COPY (FROM '{kept}') TO '{file}' (
            FORMAT parquet,
            KV_METADATA {{atlas_schema_revision: '{revision}'}}
        )
        """
    )
    kept.unlink()
    with pytest.raises(kind, match=said):
        import_run(tmp_path / "atlas.duckdb", other)
    assert names(tmp_path) == ["other"]


def test_an_export_from_before_revisions_were_written_is_told(
    exports: list[Path], tmp_path: Path
) -> None:
    old = copied(exports[0], tmp_path / "old")
    duckdb.execute(f"COPY (SELECT 1) TO '{old / 'facts.parquet'}' (FORMAT parquet)")
    with pytest.raises(StoreError, match="export the run again with this one"):
        import_run(tmp_path / "atlas.duckdb", old)


def test_deleted_edits_stay_behind(full: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copyfile(full, tmp_path / "copy.duckdb"))
    open_atlas(copy).edit_delete(2)
    merge(copy, tmp_path / "merged.duckdb")
    assert rows(tmp_path / "merged.duckdb", "FROM edits") == []
