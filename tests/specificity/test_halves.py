"""What halves of templates choose, against selections of runs that have those prompts alone."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from synthetic import Synthetic, build, scatter_scores

from atlas.selection.select import select
from atlas.selection.thresholds import Thresholds
from atlas.specificity.halves import chosen_by_half

FIXED: dict[str, Any] = {
    "preset": "fixed",
    "ratio": 0.3,
    "sharing": 0.6,
    "min_prompts": 4,
    "known_only": False,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "as it stands": {},
    "above the ratio": {"comparison": ">"},
    "against": {"against": "answer"},
    "negatives": {"against": "template"},
    "frequency": {"frequency": 0.8},
    "templates": {"templates": 4},
    "known facts": {"known_only": True},
    "all at once": {"against": "answer", "frequency": 0.8, "templates": 6, "known_only": True},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """Eight measured templates; scores differ, some facts have one object, some are not known."""
    made = build(tmp_path_factory.mktemp("halves") / "atlas.duckdb", facts=5, templates=9)
    with made.atlas.writing() as connection:
        scatter_scores(connection, 0.02, "concat(prompt_id, neuron)")
        connection.execute(
            """
            UPDATE facts
            SET object = 'Everywhere'
            WHERE fact_id IN ('P36-0', 'P36-1', 'P36-2', 'P37-0', 'P37-1');
            UPDATE prompt_results
            SET answer_rank = 2
            WHERE prompt_id IN (
                SELECT prompt_id
                FROM prompts
                WHERE fact_id IN ('P36-2', 'P37-4')
            );
            """
        )
    return made


@pytest.fixture
def connection(made: Synthetic) -> Iterator[duckdb.DuckDBPyConnection]:
    with made.atlas.writing() as connection:
        yield connection
        connection.execute("ROLLBACK")
        connection.execute("BEGIN TRANSACTION")


def keep_templates(connection: duckdb.DuckDBPyConnection, measured: int, half: int) -> None:
    """As if of the first so many templates of each relation only every second was measured."""
    connection.execute(
        """
        DELETE FROM prompt_results
        WHERE prompt_id NOT IN (
            SELECT prompt_id
            FROM (
                SELECT p.prompt_id,
                       row_number() OVER (PARTITION BY p.fact_id ORDER BY p.template_id) - 1
                           AS place
                FROM prompts AS p
                JOIN prompt_results AS r USING (prompt_id)
                WHERE r.skipped_because IS NULL
            )
            WHERE place < $measured
              AND place % 2 = $half
        )
        """,
        {"measured": measured, "half": half},
    )


def chosen(connection: duckdb.DuckDBPyConnection, selection_id: str) -> dict[str, Any]:
    return dict(
        connection.execute(
            """
            SELECT fact_id, list((layer::INTEGER, neuron) ORDER BY layer, neuron)
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
            GROUP BY fact_id
            """,
            {"selection_id": selection_id},
        ).fetchall()
    )


@pytest.mark.parametrize("option", OPTIONS)
def test_a_half_chooses_as_a_selection_of_its_prompts_alone_does(
    connection: duckdb.DuckDBPyConnection, made: Synthetic, option: str
) -> None:
    asked = FIXED | OPTIONS[option]
    selection_id = select(connection, made.run_id, Thresholds(**asked))
    facts = [fact.fact_id for relation in made.dataset.relations for fact in relation.facts]
    found = chosen_by_half(connection, made.run_id, selection_id, facts)
    assert list(found) == facts
    some = chosen_by_half(connection, made.run_id, selection_id, facts[:3])
    assert some == {fact_id: found[fact_id] for fact_id in facts[:3]}
    measured = asked.pop("templates", 8)
    alone = Thresholds(**asked | {"min_prompts": 4 * (measured // 2) // measured})
    for half in range(2):
        connection.execute("ROLLBACK")
        connection.execute("BEGIN TRANSACTION")
        keep_templates(connection, measured, half)
        expected = chosen(connection, select(connection, made.run_id, alone))
        assert expected
        assert {fact: list(of[half]) for fact, of in found.items() if of[half]} == expected


def test_each_of_these_settings_changes_what_halves_choose(
    connection: duckdb.DuckDBPyConnection, made: Synthetic
) -> None:
    facts = [fact.fact_id for relation in made.dataset.relations for fact in relation.facts]
    found = {}
    for option in ("as it stands", "against", "frequency", "templates", "known facts"):
        selection_id = select(connection, made.run_id, Thresholds(**FIXED | OPTIONS[option]))
        found[option] = chosen_by_half(connection, made.run_id, selection_id, facts)
    plain = found.pop("as it stands")
    assert [option for option, of in found.items() if of == plain] == []


def test_halves_are_asked_of_a_file_that_is_only_read(made: Synthetic) -> None:
    selection_id = made.atlas.select(against="answer", frequency=0.5).selection.selection_id
    with made.atlas.reading() as connection:
        found = chosen_by_half(connection, made.run_id, selection_id, ["P36-3"])
    assert any(found["P36-3"])


def test_a_half_moves_no_sharing_of_its_own(
    connection: duckdb.DuckDBPyConnection, made: Synthetic
) -> None:
    moving = Thresholds(min_prompts=2, target_high=2.01, max_moves=1, known_only=False)
    selection_id = select(connection, made.run_id, moving)
    rests = connection.execute("SELECT DISTINCT sharing FROM selection_relations WHERE moves = 1")
    ((sharing,),) = rests.fetchall()
    fixed = Thresholds("fixed", sharing=sharing, min_prompts=2, known_only=False)
    facts = [fact.fact_id for relation in made.dataset.relations for fact in relation.facts]
    moved = chosen_by_half(connection, made.run_id, selection_id, facts)
    resting = select(connection, made.run_id, fixed)
    assert moved == chosen_by_half(connection, made.run_id, resting, facts)
