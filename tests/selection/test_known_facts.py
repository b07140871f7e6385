"""Facts that the run's model knows, and selections of them."""

from pathlib import Path
from typing import Any

import duckdb
import pytest
from invocation import run
from synthetic import Synthetic, build

from atlas.atlas import Atlas
from atlas.errors import NotFound

KNOWN = "P36-0"  # in 2 of 3 measured prompts; the other is skipped
HALF_KNOWN = "P36-1"  # in 2 of 4 that are measured
UNKNOWN = "P36-2"  # in 1 of 3


def rank(connection: duckdb.DuckDBPyConnection, fact_id: str, wrong: int) -> None:
    """Let the object of the fact not be the top answer in so many of its measured prompts."""
    connection.execute(
        """
        UPDATE prompt_results
        SET answer_rank = 2
        WHERE prompt_id IN (
            SELECT prompt_id
            FROM prompt_results
            JOIN prompts USING (prompt_id)
            WHERE fact_id = $fact_id
              AND skipped_because IS NULL
            ORDER BY prompt_id
            LIMIT $wrong
        )
        """,
        {"fact_id": fact_id, "wrong": wrong},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """Six facts of P36, of which P36-2 is not known, and six of P37, of which none is."""
    made = build(tmp_path_factory.mktemp("known") / "atlas.duckdb")
    with made.atlas.writing() as connection:
        connection.execute(
            """
            UPDATE prompt_results
            SET skipped_because = NULL,
                answer_rank = 1,
                max_score = 0.3
            WHERE prompt_id IN (SELECT prompt_id FROM prompts WHERE fact_id = $fact_id)
              AND skipped_because IS NOT NULL
            """,
            {"fact_id": HALF_KNOWN},
        )
        rank(connection, KNOWN, 1)
        rank(connection, HALF_KNOWN, 2)
        rank(connection, UNKNOWN, 2)
        for number in range(6):
            rank(connection, f"P37-{number}", 3)
        connection.execute("DELETE FROM selections")
        for table in ("knowledge_neurons", "selection_relations", "relation_overlaps"):
            connection.execute(f"DELETE FROM {table}")
    made.atlas.select(known_only=False)
    made.atlas.select()
    return made


def rows(atlas: Atlas, statement: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in atlas.sql(statement).rows]


def test_a_fact_is_known_if_its_object_is_on_top_in_half_of_its_measured_prompts(
    made: Synthetic,
) -> None:
    found = {
        fact_id: numbers
        for fact_id, *numbers in rows(
            made.atlas, "SELECT fact_id, prompts, right_prompts, known FROM fact_knowledge"
        )
    }
    assert len(found) == 12
    assert found[KNOWN] == [3, 2, True]
    assert found[HALF_KNOWN] == [4, 2, True]
    assert found[UNKNOWN] == [3, 1, False]
    assert found["P37-0"] == [3, 0, False]


def test_selections_are_of_known_facts_unless_all_are_wanted(made: Synthetic) -> None:
    report = made.atlas.select().selection
    assert (report.name, report.facts, report.known_facts, report.measured_facts) == (
        "paper",
        5,
        5,
        12,
    )
    assert [(r.relation_id, r.facts, r.mean_neurons, r.target_met) for r in report.relations] == [
        ("P36", 5, 3.0, True),
        ("P37", 0, None, None),
    ]
    assert report.mean_neurons == 3.0
    facts = {f for (f,) in rows(made.atlas, "SELECT DISTINCT fact_id FROM neuron_facts")}
    assert facts == {f"P36-{number}" for number in (0, 1, 3, 4, 5)}
    everything = made.atlas.select(known_only=False, make_default=False).selection
    assert (everything.name, everything.facts, everything.known_facts) == (
        "paper-all-facts",
        12,
        5,
    )


def test_overlap_and_associations_are_over_the_known_facts(made: Synthetic) -> None:
    of_known = made.atlas.overlap()
    assert (of_known.within.fact_pairs, of_known.across.fact_pairs) == (10, 0)
    by_object = made.atlas.overlap(by="object")
    assert by_object.facts == 5  # type: ignore[union-attr]
    of_all = made.atlas.overlap(selection="paper-all-facts")
    assert (of_all.within.fact_pairs, of_all.across.fact_pairs) == (30, 36)


def test_selections_are_compared_over_the_facts_that_both_are_made_from(made: Synthetic) -> None:
    found = made.atlas.diff("paper", "paper-all-facts")
    assert (found.compared, found.jaccard, len(found.facts)) == (5, 1.0, 0)


def test_every_answer_says_how_many_facts_are_known(made: Synthetic) -> None:
    said = made.atlas.hubs().to_json()["selection"]
    assert (said["known_only"], said["facts"], said["known_facts"], said["measured_facts"]) == (
        True,
        5,
        5,
        12,
    )
    (run,) = made.atlas.info().runs
    assert (run.known_facts, run.measured_facts) == (5, 12)
    relation = made.atlas.relation("P36")
    assert (relation.known_facts, relation.selected_facts, relation.facts) == (5, 5, 6)


def test_a_fact_that_is_not_known_is_said_to_be_left_out(made: Synthetic) -> None:
    report = made.atlas.fact(UNKNOWN)
    assert (report.known, report.right, report.measured, report.chosen) == (False, 1, 3, 0)
    assert report.near_miss is None
    assert made.atlas.fact(UNKNOWN, selection="paper-all-facts").chosen == 3
    with pytest.raises(NotFound, match=r"not known \(right in 1 of 3 prompts\) and selection"):
        made.atlas.interactions(UNKNOWN)


def command(made: Synthetic, *arguments: str) -> tuple[str, str]:
    result = run(*arguments, on=made)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_the_command_line_says_it_in_one_line_each(made: Synthetic) -> None:
    _, stderr = command(made, "query", "--fact", UNKNOWN)
    assert "not known, right in 1 of 3 prompts" in stderr
    assert "atlas select --all-facts --keep-default" in stderr
    stdout, _ = command(made, "query", "--hubs")
    assert "5 known facts of 12" in stdout
    stdout, _ = command(made, "overlap", "--selection", "paper-all-facts")
    assert "all 12 facts, 5 known" in stdout
    stdout, stderr = command(made, "query", "--relation", "P37")
    assert "6 facts, 0 known" in stdout
    assert "None of the 6 facts of P37 is known" in stderr
    stdout, _ = command(made, "info")
    assert "5 of 12 measured facts" in stdout


def test_where_nothing_is_known_selecting_says_what_to_do(tmp_path: Path) -> None:
    made = build(tmp_path / "atlas.duckdb")
    with made.atlas.writing() as connection:
        connection.execute("UPDATE prompt_results SET answer_rank = 2")
    _, stderr = command(made, "select", "--ratio", "0.3")
    assert "None of the 12 measured facts is known" in stderr
    assert "`atlas select --all-facts` selects from all of them" in stderr
    _, stderr = command(made, "select", "--ratio", "0.3", "--all-facts")
    assert "over all 12 facts, 0 known" in stderr


def test_a_missed_target_is_told(tmp_path: Path) -> None:
    made = build(tmp_path / "atlas.duckdb", facts=3)
    _, stderr = command(made, "select", "--preset", "paper", "--ratio", "0.9")
    assert "target 2 to 5 missed in 2 of 2 relations" in stderr
    stdout, _ = command(made, "query", "--relation", "P36")
    assert "1.00 knowledge neurons a known fact, outside the preset's target" in stdout
    assert rows(made.atlas, "SELECT count(*) FROM selection_relations WHERE NOT target_met") == [
        (2,)
    ]


def test_unlike_numbers_of_templates_are_told_and_can_be_made_equal(tmp_path: Path) -> None:
    made = build(tmp_path / "atlas.duckdb", templates=6)
    with made.atlas.writing() as connection:
        connection.execute(
            """
            UPDATE prompt_results
            SET skipped_because = 'left out'
            WHERE prompt_id IN (
                SELECT prompt_id
                FROM prompts
                JOIN templates USING (template_id)
                WHERE relation_id = 'P36'
                QUALIFY row_number() OVER (PARTITION BY fact_id ORDER BY template_id) <= 2
            )
            """
        )
    _, stderr = command(made, "select", "--ratio", "0.3")
    ((fewest, most),) = rows(
        made.atlas,
        "SELECT min(templates), max(templates) FROM "
        "selection_relations WHERE sharing = 0.7 AND moves = 0 "
        "AND target_met IS NULL",
    )
    assert fewest < most
    assert f"asked with {fewest} to {most} templates" in stderr
    _, stderr = command(made, "select", "--templates", str(fewest))
    assert "templates, and facts" not in stderr
    assert made.atlas.hubs().to_json()["selection"]["most_templates"] == fewest


def test_a_name_taken_by_a_selection_of_all_facts_is_not_given_twice(tmp_path: Path) -> None:
    made = build(tmp_path / "atlas.duckdb")
    with made.atlas.writing() as connection:
        connection.execute("UPDATE selections SET selection_id = 'older', known_only = FALSE")
    report = made.atlas.select().selection
    assert report.name == "paper-known-facts"
    assert made.atlas.select().selection.selection_id == report.selection_id
