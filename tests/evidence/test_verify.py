"""`atlas verify`: what is as stored holds, and wrong rows planted in a copy are found."""

import json
from pathlib import Path
from shutil import copyfile

import duckdb
import pytest
from invocation import run
from tiny_index import tables, tiny_dataset

import atlas
from atlas.atlas import open_atlas
from atlas.errors import NoScores, NotFound, SettingsError
from atlas.evidence.drawn import FEWEST, Sample, parse_sample
from atlas.evidence.verify import VerifyReport
from atlas.selection.thresholds import Thresholds

ALL = Thresholds(known_only=False)


@pytest.fixture(scope="module")
def good(saved_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two relations of the tiny BERT, with the adaptive rule and neurons of all facts."""
    path = tmp_path_factory.mktemp("good") / "atlas.duckdb"
    atlas.index(path, saved_bert, tiny_dataset(), thresholds=ALL)
    return path


@pytest.fixture
def db(good: Path, tmp_path: Path) -> Path:
    return Path(copyfile(good, tmp_path / "atlas.duckdb"))


def verified(path: Path) -> VerifyReport:
    return open_atlas(path).verify(sample="100%")


def plant(path: Path, statement: str) -> None:
    with duckdb.connect(str(path)) as connection:
        assert connection.execute(statement).fetchone() is not None


def test_a_good_atlas_is_verified_and_stays_as_it_is(db: Path) -> None:
    before = tables(db)
    found = verified(db)
    assert found.holds
    assert (found.prompts, found.measured_prompts) == (48, 48)
    assert found.wrong_values == ()
    assert {q.quantity for q in found.quantities} >= {"P(answer)", "rank", "score", "gap"}
    assert all(q.prompts == 48 and q.wrong == 0 for q in found.quantities)
    assert {t.table: t.rows for t in found.tables}["knowledge_neurons"] > 0
    assert tables(db) == before


ONE = "prompt_id = (SELECT min(prompt_id) FROM prompt_results)"
LEAST = f"""{ONE} AND layer || ':' || neuron = (
    SELECT arg_min(layer || ':' || neuron, score) FROM attributions WHERE {ONE} AND score > 0
)"""


@pytest.mark.parametrize(
    ("statement", "quantity"),
    [
        (f"UPDATE prompt_results SET p_answer = p_answer * 1.001 WHERE {ONE}", "P(answer)"),
        (f"UPDATE prompt_results SET p_predicted = p_predicted / 2 WHERE {ONE}", "P(top answer)"),
        (f"UPDATE prompt_results SET predicted = 'Atlantis' WHERE {ONE}", "top answer"),
        (f"UPDATE prompt_results SET answer_rank = answer_rank + 1 WHERE {ONE}", "rank"),
        (f"UPDATE prompt_results SET max_score = max_score * 1.01 WHERE {ONE}", "largest score"),
        (f"UPDATE prompt_results SET positive_mass = 0 WHERE {ONE}", "positive mass"),
        (f"UPDATE attributions SET score = score * 1.01 WHERE {LEAST}", "score"),
        (f"UPDATE attributions SET activation = activation + 1 WHERE {LEAST}", "activation"),
        (f"UPDATE attributions SET neuron = 9999 WHERE {LEAST}", "neurons"),
        (f"DELETE FROM attributions WHERE {ONE}", "scores left out"),
        (f"UPDATE attributions SET score = 'nan'::FLOAT WHERE {LEAST}", "score"),
        (f"UPDATE prompts SET text = text || ' ' WHERE {ONE}", "prompt"),
    ],
)
def test_a_wrong_value_planted_in_a_copy_is_found(db: Path, statement: str, quantity: str) -> None:
    plant(db, statement)
    found = verified(db)
    assert not found.holds
    assert quantity in {value.quantity for value in found.wrong_values}
    assert len({value.prompt_id for value in found.wrong_values}) == 1
    assert sum(q.wrong for q in found.quantities) == len(found.wrong_values)


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        (
            "DELETE FROM knowledge_neurons WHERE mean_score = "
            "(SELECT max(mean_score) FROM knowledge_neurons)",
            "knowledge_neurons",
        ),
        ("UPDATE selection_relations SET sharing = 0.01", "selection_relations"),
        ("UPDATE fact_stability SET split_half_jaccard = 0.123456", "fact_stability"),
    ],
)
def test_a_selection_that_its_scores_do_not_give_is_found(
    db: Path, statement: str, table: str
) -> None:
    plant(db, statement)
    found = verified(db)
    assert found.wrong_values == ()
    assert not found.holds
    (wrong,) = [t for t in found.tables if t.only_stored or t.only_again]
    assert wrong.table == table


def test_the_draw_is_the_seed_s(good: Path) -> None:
    draws = [open_atlas(good).verify(sample=5, seed=seed) for seed in (0, 0, 1)]
    assert [found.prompts for found in draws] == [5, 5, 5]
    assert draws[0].quantities == draws[1].quantities
    assert draws[0].quantities != draws[2].quantities


@pytest.mark.parametrize(
    ("text", "of", "drawn"),
    [
        ("1%", 25_663, 257),
        ("100%", 25_663, 25_663),
        ("1%", 300, FEWEST),
        ("50 %", 10, 10),
        ("500", 300, 300),
        (7, 300, 7),
        (".5%", 100_000, 500),
    ],
)
def test_a_sample_is_a_share_or_a_number(text: str | int, of: int, drawn: int) -> None:
    assert parse_sample(text).of(of) == drawn


@pytest.mark.parametrize("text", ["0%", "101%", "0", "-3", "many", "1.5", "", "%"])
def test_a_sample_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="write a share such as 1%"):
        parse_sample(text)
    assert Sample(count=3).of(2) == 2


def test_the_command_exits_with_1_and_names_what_is_wrong(db: Path, saved_bert: Path) -> None:
    right = run("verify", "--db", str(db), "--model", str(saved_bert))
    assert right.exit_code == 0
    assert right.stdout.endswith("measured and selected again is as stored.\n")
    plant(db, f"UPDATE prompt_results SET answer_rank = 7 WHERE {ONE}")
    wrong = run("verify", "--db", str(db), "--sample", "100%", "--model", str(saved_bert))
    assert wrong.exit_code == 1
    assert "Not as stored: 1 prompt of 48." in wrong.stdout
    answer = json.loads(
        run(
            "verify", "--db", str(db), "--sample", "48", "--format", "json",
            "--model", str(saved_bert),
        ).stdout
    )  # fmt: skip
    assert [value["quantity"] for value in answer["summary"]["wrong_values"]] == ["rank"]
    refused = run("verify", "--db", str(db), "--sample", "some")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)


def test_another_model_and_published_neurons_are_refused(
    db: Path, saved_gpt2: Path, tmp_path: Path
) -> None:
    refused = run("verify", "--db", str(db), "--model", str(saved_gpt2))
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "name the model that was indexed" in refused.stderr
    plant(db, "UPDATE runs SET score_floor = NULL")
    with pytest.raises(NoScores, match="published neurons"):
        open_atlas(db).verify()


def test_a_run_without_a_measured_prompt_is_refused(db: Path, saved_bert: Path) -> None:
    plant(db, "UPDATE prompt_results SET skipped_because = 'not asked'")
    with pytest.raises(NotFound, match="has measured no prompt"):
        open_atlas(db).verify(lm=saved_bert)
