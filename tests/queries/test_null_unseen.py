"""Facts with shuffled objects stand beside what is asked, and are never part of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import summary_of
from invocation import run
from synthetic import Synthetic, build
from synthetic_null import SyntheticNull, add_null

from atlas.answers import Answer
from atlas.atlas import Atlas
from atlas.errors import AtlasError, NotFound, SettingsError
from atlas.meaning.stored_associations import associations_of, record_associations
from atlas.queries.neurons import HubsReport
from atlas.queries.overlap import OverlapReport

QUESTIONS: dict[str, Callable[[Atlas], Answer]] = {
    "info": lambda db: db.info(),
    "fact": lambda db: db.fact("Land 0:P36"),
    "facts": lambda db: db.facts("Land 0"),
    "fact_prompts": lambda db: db.fact_prompts("Land 0:capital"),
    "facts_with_object": lambda db: db.facts_with_object("Town 1"),
    "diff": lambda db: db.diff("paper", "wide"),
    "neuron": lambda db: db.neuron(3, 0),
    "relation": lambda db: db.relation("P36"),
    "hubs": lambda db: db.hubs(limit=None),
    "single_facts": lambda db: db.single_facts(),
    "shared": lambda db: db.shared("Land 0:P36", "Land 1:P36"),
    "neighbours": lambda db: db.neighbours("Land 0:P36", limit=None),
    "interference": lambda db: db.interference("Land 0:P36", limit=None),
    "search": lambda db: db.search("Land", limit=None),
    "overview_page": lambda db: db.overview_page(),
    "relation_page": lambda db: db.relation_page("P36"),
    "fact_page": lambda db: db.fact_page("Land 0:P36"),
    "neuron_page": lambda db: db.neuron_page(3, 0),
    "compare_facts": lambda db: db.compare_facts("Land 0:P36", "Land 1:P36"),
    "compare_relations": lambda db: db.compare_relations("P36", "P37"),
    "ask_page": lambda db: db.ask_page(),
    "overlap": lambda db: db.overlap(),
    "overlap by layer": lambda db: db.overlap(by="layer"),
    "overlap by object": lambda db: db.overlap(by="object"),
    "overlap by subject": lambda db: db.overlap(by="subject"),
    "sql of the views": lambda db: db.sql(
        "SELECT (SELECT count(*) FROM neuron_facts), (SELECT count(*) FROM neuron_degrees), "
        "(SELECT selection_id FROM default_selection)"
    ),
}
# What a null adds to an answer, by the beginning of its name; and what only then is told apart.
_ADDED = ("null_",)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    made = build(tmp_path_factory.mktemp("null") / "atlas.duckdb", relations=2, facts=4)
    made.atlas.select(ratio=0.6, name="wide", make_default=False)
    return made


@pytest.fixture(scope="module")
def before(made: Synthetic) -> dict[str, Any]:
    return {name: plain(ask(made.atlas)) for name, ask in QUESTIONS.items()}


@pytest.fixture(scope="module")
def null(made: Synthetic, before: dict[str, Any]) -> SyntheticNull:
    assert before
    return add_null(made, fewer_neurons=True)


def plain(answer: Answer) -> Any:
    return without_null(answer.to_json())


def without_null(value: Any) -> Any:
    """Without what a null adds; null runs and selections are left out of lists of such."""
    if isinstance(value, dict):
        return {
            key: without_null(item)
            for key, item in value.items()
            if not key.startswith(_ADDED) and key != "bytes"
        }
    if isinstance(value, list):
        real = [i for i in value if not (isinstance(i, dict) and i.get("null_of") is not None)]
        return [without_null(item) for item in real]
    return value


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_is_answered_as_without_the_null(
    made: Synthetic, before: dict[str, Any], null: SyntheticNull, name: str
) -> None:
    answer = QUESTIONS[name](made.atlas)
    found = plain(answer)
    if name == "info":  # reasons of skipped prompts are by run
        about = found["summary"]
        about["skipped"] = [row for row in about["skipped"] if row["run_id"] != null.run_id]
    assert found == before[name]
    text = json.dumps(answer.to_json())
    assert not [fact_id for fact_id in null.fact_ids if fact_id in text]


def test_every_question_of_the_atlas_about_facts_is_walked_over() -> None:
    questions = {
        name
        for name, method in vars(Atlas).items()
        if not name.startswith("_") and "selection" in getattr(method, "__annotations__", {})
    }
    asks_a_model = {"fact_tokens", "interactions", "meaning", "plot", "specificity"}
    asks_a_model |= {"attribute", "audit", "evaluate", "model", "reproduce", "verify"}
    shows_others = {"page", "fact_pages"}  # answers of these questions, in another form
    edits = {name for name in questions if name.startswith("edit_")}
    assert questions - asks_a_model - shows_others - edits <= {
        name.split(" ")[0] for name in QUESTIONS
    }


def test_a_null_fact_is_found_by_no_name(made: Synthetic, null: SyntheticNull) -> None:
    with pytest.raises(NotFound):
        made.atlas.fact(null.fact_ids[0])
    assert len(made.atlas.facts("Land 0").facts) == 1
    assert len(made.atlas.facts_with_object("Town 1").facts) == 1


def test_associations_are_of_the_real_facts(made: Synthetic, null: SyntheticNull) -> None:
    with made.atlas.writing() as connection:
        record_associations(connection, made.selection_id)
        found = associations_of(connection, made.selection_id, 3, 1)
        assert [(a.value, a.facts, a.expected) for a in found if a.aspect == "relation"] in (
            [],
            [("P36", 4, 2.0)],
        )


def test_an_export_of_the_real_run_has_no_null_fact(
    made: Synthetic, null: SyntheticNull, tmp_path: Path
) -> None:
    import duckdb

    made.atlas.export_run(tmp_path / "run")
    with duckdb.connect() as connection:
        (facts,) = connection.execute(
            f"SELECT list(fact_id) FROM '{tmp_path / 'run' / 'facts.parquet'}'"
        ).fetchone() or ((),)
    assert len(facts) == 8
    assert not set(facts) & set(null.fact_ids)


def test_the_null_is_never_chosen_by_itself(made: Synthetic, null: SyntheticNull) -> None:
    listed = made.atlas.selections().rows
    assert [(s.name, s.null_of) for s in listed] == [
        ("paper", None),
        ("wide", None),
        ("paper-null", made.selection_id),
    ]
    assert [run.null_of for run in made.atlas.info().runs] == [None, made.run_id]
    with pytest.raises(SettingsError, match="is of a null, facts with shuffled objects"):
        made.atlas.use_selection("paper-null")
    with pytest.raises(SettingsError, match=f"is a null: select in run {made.run_id}"):
        made.atlas.select(run=null.run_id)


def test_headlines_stand_beside_their_null(made: Synthetic, null: SyntheticNull) -> None:
    paper = made.atlas.selections().rows[0]
    assert (paper.mean_neurons, paper.with_neurons) == (3, 1)
    assert (paper.null_mean_neurons, paper.null_with_neurons) == (2, 1)
    relation = made.atlas.relation("P36")
    assert (relation.with_neurons, relation.null_mean_neurons, relation.null_with_neurons) == (
        1,
        2,
        1,
    )
    hubs = made.atlas.hubs(limit=None)
    assert isinstance(hubs, HubsReport)
    assert [(h.fact_share, h.null_share) for h in hubs.hubs[:2]] == [(1, 1), (0.5, 0.5)]
    assert (hubs.hubs[-1].fact_share, hubs.hubs[-1].null_share) == (1 / 8, 0)
    interference = made.atlas.interference("Land 0:P36")
    assert interference.facts == interference.null_facts == 7
    assert interference.null_on_itself == pytest.approx(0.55 / 0.77)
    overlap = made.atlas.overlap()
    assert isinstance(overlap, OverlapReport)
    # 4 facts a relation, every object of one fact: within 2 shared, across the hub
    assert [
        (row.fact_pairs, row.mean_shared_neurons, row.null_fact_pairs, row.null_mean_shared_neurons)
        for row in overlap.by_object
    ] == [(0, None, 0, None), (12, 2, 12, 2), (0, None, 0, None), (16, 1, 16, 1)]


def test_the_command_line_shows_the_null_beside(made: Synthetic, null: SyntheticNull) -> None:
    overlap = run("overlap", on=made).stdout
    assert "and pairs of facts with shuffled objects" in overlap
    assert (
        "within relations  other       12              24  2.000          12      2.000" in overlap
    )
    assert (
        "  with shuffled objects: 2.00 a fact; 100% of the facts have any"
        in run("query", "--relation", "P36", on=made).stdout
    )
    assert "of null facts" in run("query", "--hubs", on=made).stdout
    assert f", the null of run {made.run_id}" in run("info", on=made).stdout
    assert "null a fact" in run("selections", "list", on=made).stdout
    assert (
        "With a shuffled object: 71.4%"
        in run("query", "--interference", "Land 0:P36", on=made).stderr
    )
    as_json = summary_of(run("query", "--relation", "P36", "--format", "json", on=made).stdout)
    assert as_json["null_mean_neurons"] == 2


def test_new_thresholds_look_at_the_null_too_and_go_with_it(tmp_path: Path) -> None:
    made = build(tmp_path / "atlas.duckdb")
    null = add_null(made)
    db = made.atlas
    db.select(ratio=0.9, sharing=0.5, name="strict")
    assert [(s.name, s.null_mean_neurons) for s in db.selections().rows if s.null_of is None] == [
        ("strict", 1),
        ("paper", 3),
    ]
    with db.reading() as connection:
        assert connection.execute(
            """
            SELECT count(DISTINCT fact_id)
            FROM knowledge_neurons
            WHERE selection_id IN (SELECT selection_id FROM selections WHERE run_id = ?)
            """,
            [null.run_id],
        ).fetchall() == [(12,)]
    db.use_selection("paper")
    db.delete_selection("strict")
    assert [s.name for s in db.selections().rows] == ["paper", "paper-null"]
    with pytest.raises(AtlasError):
        db.hubs(selection="strict-null")


def test_the_null_keeps_the_thresholds_at_which_its_real_facts_came_to_rest(
    tmp_path: Path,
) -> None:
    made = build(tmp_path / "atlas.duckdb", relations=1)
    with made.atlas.writing() as connection:
        connection.execute("UPDATE selection_relations SET sharing = 0.95, moves = 5")
    null = add_null(made, fewer_neurons=True)
    with made.atlas.reading() as connection:
        assert connection.execute(
            "SELECT sharing, moves FROM selection_relations WHERE selection_id = ?",
            [null.selection_id],
        ).fetchall() == [(0.95, 0)]
