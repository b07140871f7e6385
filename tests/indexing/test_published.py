"""Published neurons in, as a run; the figures that the field knows of them out."""

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import duckdb
import pytest
from published_files import MODEL, SHARED, neurons, write_bags, write_dataset, write_dump
from tiny_index import rows, tables
from tiny_models import save_tiny

from atlas.atlas import open_atlas
from atlas.errors import DataError, SettingsError
from atlas.indexing.known_models import published_model
from atlas.indexing.published import Imported, import_published
from atlas.selection.overlaps import refresh_overlaps
from atlas.selection.select import Thresholds, select


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "facts.jsonl")


def imported(tmp_path: Path, data: Path, *files: Path, model: str = MODEL) -> Imported:
    return import_published(tmp_path / "atlas.duckdb", files, model, data)


def test_every_neuron_of_the_files_is_a_knowledge_neuron_without_a_score(
    tmp_path: Path, data: Path
) -> None:
    found = imported(tmp_path, data, write_dump(tmp_path / "dump.json"))
    stored = rows(
        tmp_path / "atlas.duckdb",
        "SELECT fact_id, layer, neuron FROM knowledge_neurons ORDER BY ALL",
    )
    expected = sorted((fact, *pair) for fact, pairs in neurons().items() for pair in pairs)
    assert stored == expected
    assert rows(
        tmp_path / "atlas.duckdb",
        "SELECT DISTINCT prompt_share, mean_score FROM knowledge_neurons",
    ) == [(None, None)]
    assert (found.facts, found.relations, found.fact_neurons) == (12, 3, len(expected))
    assert found.distinct_neurons == len({row[1:] for row in expected})


def test_importing_again_in_another_order_and_in_parts_changes_no_row(
    tmp_path: Path, data: Path
) -> None:
    whole = write_dump(tmp_path / "whole.json")
    items = [(fact, pairs[::-1] * 2) for fact, pairs in neurons().items()][::-1]
    parts = [
        write_dump(tmp_path / "a.json", dict(items[:5])),
        write_dump(tmp_path / "b.json", dict(items[3:])),
    ]
    first = imported(tmp_path, data, whole)
    before = tables(tmp_path / "atlas.duckdb", clocks=True)
    second = imported(tmp_path, data, *parts)
    assert second == first
    assert tables(tmp_path / "atlas.duckdb", clocks=True) == before


def test_an_earlier_import_becomes_the_latest_selection_again(tmp_path: Path, data: Path) -> None:
    dump = write_dump(tmp_path / "dump.json")
    first = imported(tmp_path, data, dump)
    imported(tmp_path, data, dump, model="bert-base-cased")
    imported(tmp_path, data, dump)
    latest = rows(tmp_path / "atlas.duckdb", "SELECT selection_id FROM latest_selection")
    assert latest == [(first.selection_id,)]


def test_an_import_says_what_was_the_default_before(tmp_path: Path, data: Path) -> None:
    dump = write_dump(tmp_path / "dump.json")
    first = imported(tmp_path, data, dump)
    assert (first.default.now.name, first.default.previous) == ("published", None)
    second = imported(tmp_path, data, dump, model="bert-base-cased")
    assert second.default.previous == first.selection_id  # both are called "published"


def test_overlaps_are_made_once_an_import(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(connection: duckdb.DuckDBPyConnection, selection_id: str) -> None:
        calls.append(selection_id)
        refresh_overlaps(connection, selection_id)

    monkeypatch.setattr("atlas.indexing.published_records.refresh_overlaps", counted)
    found = imported(tmp_path, data, write_dump(tmp_path / "dump.json"))
    assert calls == [found.selection_id]


def test_uuids_that_the_dataset_lacks_are_left_out_and_named(tmp_path: Path, data: Path) -> None:
    dump = write_dump(tmp_path / "dump.json", {**neurons(), "stranger": [(0, 1)], "b": []})
    found = imported(tmp_path, data, dump)
    assert found.unknown == ("b", "stranger")
    assert found.facts == 12


def test_a_fact_without_neurons_counts_as_a_fact(tmp_path: Path, data: Path) -> None:
    dump = write_dump(tmp_path / "dump.json", {"P36-0": [], "P36-1": [(1, 2), (1, 3)]})
    assert imported(tmp_path, data, dump).without_neurons == 1
    assert rows(
        tmp_path / "atlas.duckdb", "SELECT facts, mean_neurons, sharing FROM selection_relations"
    ) == [(2, 1.0, None)]


def test_the_papers_bags_are_told_by_their_position(tmp_path: Path) -> None:
    data = write_bags(tmp_path / "data_all_allbags.json")
    own = [[[1, 5]], [], [[1, 5], [2, 6]], [[0, 0]]]
    file = tmp_path / "kn_bag-P37.json"
    file.write_text(json.dumps(own))
    found = imported(tmp_path, data, file)
    assert (found.relations, found.facts, found.without_neurons) == (1, 4, 1)
    assert rows(
        tmp_path / "atlas.duckdb",
        """
        SELECT f.subject, f.object, k.layer, k.neuron
        FROM knowledge_neurons AS k
        JOIN facts AS f USING (fact_id)
        ORDER BY ALL
        """,
    ) == [
        ("Germany", "Madrid", 0, 0),
        ("Ireland", "Paris", 1, 5),
        ("Italy", "Berlin", 1, 5),
        ("Italy", "Berlin", 2, 6),
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[1, 2]", "not a file of published neurons"),
        ('{"P36-0": {"1": 2}}', "no list of [layer, neuron]"),
        ('{"P36-0": [[1, 2, 3]]}', "no list of [layer, neuron]"),
        ('{"P36-0": [[1, -2]]}', "no list of [layer, neuron]"),
        ('{"P36-0": [[1, true]]}', "no list of [layer, neuron]"),
        ('{"P36-0": [[1, 2.0]]}', "no list of [layer, neuron]"),
        ('{"P36-0": [[12, 0]]}', "neuron 12:0"),
        ('{"P36-0": [[0, 3072]]}', "neuron 0:3072"),
        ('{"x": [[0, 3]]}', "none of the 1 fact"),
        ('{"P36-0": [[0, 3]', "malformed JSON"),
        ("{}", "none of the 0 facts"),
    ],
)
def test_a_file_that_is_no_such_dump_is_one_line_and_writes_nothing(
    tmp_path: Path, data: Path, content: str, complaint: str
) -> None:
    file = tmp_path / "dump.json"
    file.write_text(content)
    with pytest.raises(DataError) as error:
        imported(tmp_path, data, file)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "atlas.duckdb").exists()


def test_two_files_that_contradict_each_other_are_refused(tmp_path: Path, data: Path) -> None:
    a = write_dump(tmp_path / "a.json", {"P36-0": [(1, 2)]})
    b = write_dump(tmp_path / "b.json", {"P36-0": [(1, 3)]})
    with pytest.raises(DataError, match="other neurons for fact"):
        imported(tmp_path, data, a, b)


def test_bags_need_the_file_that_they_were_counted_in(tmp_path: Path, data: Path) -> None:
    file = tmp_path / "kn_bag-P36.json"
    file.write_text("[[[1, 5]]]")
    with pytest.raises(DataError, match=r"data_all_allbags\.json of the paper's code"):
        imported(tmp_path, data, file)
    with pytest.raises(DataError, match="has 1 bag, but"):
        imported(tmp_path, write_bags(tmp_path / "data_all_allbags.json"), file)


def test_a_missing_file_is_told(tmp_path: Path, data: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        imported(tmp_path, data, tmp_path / "none.json")


def test_published_neurons_have_no_scores_to_select_from(tmp_path: Path, data: Path) -> None:
    found = imported(tmp_path, data, write_dump(tmp_path / "dump.json"))
    with (
        pytest.raises(SettingsError, match="scores are not available"),
        open_atlas(tmp_path / "atlas.duckdb").writing() as connection,
    ):
        select(connection, found.run_id, Thresholds())


def test_a_models_shape_is_known_by_name_given_or_read_from_its_directory(tmp_path: Path) -> None:
    known = published_model("google-bert/bert-base-uncased")
    assert (known.layers, known.neurons_per_layer, known.weights_sha256) == (12, 3072, None)
    given = published_model("somebody/unheard-of", 3, 40)
    assert (given.layers, given.neurons_per_layer, given.objective) == (3, 40, "unknown")
    for family in ("bert", "gpt2", "distilbert", "gpt_neo", "opt", "llama"):
        directory = save_tiny(family, tmp_path / family)
        record = published_model(str(directory))
        model_config = json.loads((directory / "config.json").read_text())
        assert record.layers in model_config.values()
        assert record.neurons_per_layer == {"gpt2": 96}.get(family, 40)
        assert record.weights_sha256 is not None
    with pytest.raises(SettingsError, match="give its layers and neurons per layer"):
        published_model("somebody/unheard-of")
    with pytest.raises(SettingsError, match="has 12 layers of 3,072 neurons, not 13"):
        published_model("bert-base-uncased", 13)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Imported]:
    """The first half of EleutherAI's dump, imported."""
    files = sorted((SHARED / "published_neurons").glob("*.json"))
    if not files or not (SHARED / "pararel").is_dir():
        pytest.skip("the published neurons are not here (../shared)")
    path = tmp_path_factory.mktemp("half") / "atlas.duckdb"
    return path, import_published(path, files, MODEL, SHARED / "pararel")


def test_the_known_figures_of_the_published_half_come_out(half: tuple[Path, Imported]) -> None:
    path, found = half
    counts = (found.facts, found.relations, found.fact_neurons, found.distinct_neurons)
    assert counts == (13_806, 39, 152_551, 4_800)
    assert found.unknown == ()
    assert rows(path, "SELECT facts FROM neuron_degrees WHERE layer = 10 AND neuron = 2484") == [
        (3_347,)
    ]


def test_the_known_overlaps_of_the_published_half_come_out(half: tuple[Path, Imported]) -> None:
    path, _ = half
    degrees = rows(
        path,
        """
        SELECT relation_id, layer, neuron, count(*)
        FROM knowledge_neurons
        JOIN facts USING (fact_id)
        GROUP BY ALL
        """,
    )
    facts: dict[str, int] = dict(rows(path, "SELECT relation_id, facts FROM selection_relations"))
    within = sum(n * (n - 1) // 2 for *_, n in degrees)
    by_neuron: dict[tuple[int, int], list[int]] = {}
    for _, layer, neuron, n in degrees:
        by_neuron.setdefault((layer, neuron), []).append(n)
    across = sum((sum(ns) ** 2 - sum(n * n for n in ns)) // 2 for ns in by_neuron.values())
    pairs_within = sum(n * (n - 1) // 2 for n in facts.values())
    pairs_across = sum(a * b for a, b in combinations(facts.values(), 2))
    assert within / pairs_within == pytest.approx(3.02554, abs=5e-6)
    assert across / pairs_across == pytest.approx(0.40541, abs=5e-6)


def test_a_full_sized_dump_is_imported_and_answers(
    half: tuple[Path, Imported], tmp_path: Path
) -> None:
    path, _ = half
    published: dict[str, list[list[int]]] = {}
    for fact_id, layer, neuron in rows(path, "SELECT fact_id, layer, neuron FROM neuron_facts"):
        published.setdefault(fact_id, []).append([layer, neuron])
    lists = list(published.values())
    uuids = [
        json.loads(line)["uuid"]
        for file in sorted((SHARED / "pararel" / "patterns").glob("*.jsonl"))
        for line in (SHARED / "pararel" / "facts" / file.name).read_text().splitlines()
    ]
    others = [uuid for uuid in uuids if uuid not in published]
    doubled = published | {uuid: lists[i % len(lists)] for i, uuid in enumerate(others)}
    dump = tmp_path / "full.json"
    dump.write_text(json.dumps(doubled))
    full = import_published(tmp_path / "full.duckdb", [dump], MODEL, SHARED / "pararel")
    assert full.facts == 27_610
    for question in (["--neuron", "10:2484"], ["--fact", "Ireland"], ["--relation", "P36"]):
        command = ["query", *question, "--db", str(tmp_path / "full.duckdb")]
        code = "from atlas_cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *command], check=True, capture_output=True
        )
        assert done.stdout
