"""Selections have names, one of them is the default, and what is derived from one goes with it."""

from pathlib import Path
from typing import Any

import duckdb
import pytest
from atlas_content import content, rows
from synthetic import Synthetic, build, synthetic_results

from atlas.errors import NotFound, SettingsError
from atlas.indexing import records
from atlas.selection.chosen import choose_selection, default_selection
from atlas.selection.derived import DERIVED
from atlas.selection.recorded import make_default
from atlas.selection.select import Thresholds, select
from atlas.selection.selections import (
    delete_selection,
    make_selection,
    selections,
    use_selection,
)

EMPTY = Thresholds("fixed", min_prompts=50)
STRICT = Thresholds("fixed", ratio=0.9)


@pytest.fixture
def own(tmp_path: Path) -> Synthetic:
    return build(tmp_path / "atlas.duckdb")


def other_run(connection: duckdb.DuckDBPyConnection, own: Synthetic) -> str:
    """A second run with the same scores; returns its id."""
    connection.execute("INSERT INTO runs SELECT * REPLACE ('other' AS run_id) FROM runs")
    for number in range(len(own.dataset.relations)):
        records.record_results(connection, "other", synthetic_results(own.dataset, number))
    return "other"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "paper"),
        ({"preset": "fixed"}, "ratio-0.2-sharing-0.7"),
        ({"preset": "fixed", "ratio": 0.3}, "ratio-0.3-sharing-0.7"),
        ({"preset": "paper", "ratio": 0.3}, "paper-ratio-0.3"),
        ({"preset": "fixed", "comparison": ">"}, "ratio-0.2-sharing-0.7-above"),
        ({"preset": "fixed", "min_prompts": 1}, "ratio-0.2-sharing-0.7-prompts-1"),
        ({"preset": "paper", "target_high": 3.0}, "paper-target-2-3"),
        ({"preset": "paper", "max_moves": 2}, "paper-moves-2-0.05"),
        ({"known_only": False}, "paper-all-facts"),
        ({"stops": "last", "known_only": False}, "paper-last-all-facts"),
        ({"templates": 3}, "paper-templates-3"),
    ],
)
def test_a_selection_that_nobody_named_is_called_after_its_thresholds(
    own: Synthetic, changes: dict[str, Any], name: str
) -> None:
    with own.atlas.writing() as connection:
        selection_id = select(connection, own.run_id, Thresholds(**changes))
        assert choose_selection(connection, selection_id).name == name


def test_a_taken_automatic_name_gets_a_number_behind(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        select(connection, own.run_id, EMPTY, name="ratio-0.9-sharing-0.7")
        for number, name in (
            (3, "ratio-0.9-sharing-0.7-known-facts"),
            (2, "ratio-0.9-sharing-0.7-prompts-2"),
        ):
            made = select(
                connection, own.run_id, Thresholds("fixed", ratio=0.9, min_prompts=number)
            )
            assert choose_selection(connection, made).name == name


def test_a_name_may_be_given_and_changed_but_not_taken_twice(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        made = select(connection, own.run_id, STRICT, name="strict")
        assert choose_selection(connection, "strict").selection_id == made
        assert select(connection, own.run_id, STRICT) == made  # without a name it keeps its own
        assert choose_selection(connection, made).name == "strict"
        assert select(connection, own.run_id, STRICT, name="stricter") == made
        assert choose_selection(connection, "stricter").selection_id == made
        with pytest.raises(SettingsError, match=f"selection {made} .* is called stricter already"):
            select(connection, own.run_id, Thresholds(), name="stricter")


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "ä", "x" * 61, "a\n"])
def test_a_malformed_name_is_refused(own: Synthetic, name: str) -> None:
    with (
        pytest.raises(SettingsError, match="cannot name a selection"),
        own.atlas.writing() as connection,
    ):
        select(connection, own.run_id, STRICT, name=name)
    assert rows(own.atlas.path, "SELECT name FROM selections") == [("paper",)]


def test_the_default_may_be_kept(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        made = make_selection(connection, own.run_id, STRICT, make_default=False)
        assert (made.selection.is_default, made.default.now.name) == (False, "paper")
        assert made.default.previous is None
        assert (
            choose_selection(connection, made.selection.name).selection_id
            == made.selection.selection_id
        )


def test_an_empty_selection_is_stored_but_never_silently_the_default(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        made = make_selection(connection, own.run_id, EMPTY)
        assert made.selection.mean_neurons == 0
        assert (made.selection.is_default, made.default.now.name) == (False, "paper")
        used = use_selection(connection, made.selection.name)
        assert (used.now.name, used.previous, used.distinct_neurons) == (
            made.selection.name,
            "paper",
            0,
        )


def test_an_empty_selection_is_the_default_where_there_is_no_other(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        connection.execute("DELETE FROM selections")
        made = make_selection(connection, own.run_id, EMPTY, make_default=False)
        assert made.selection.is_default


def test_using_another_selection_says_how_to_go_back(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        made = make_selection(connection, own.run_id, STRICT, name="strict")
        assert (made.default.now.name, made.default.previous) == ("strict", "paper")
        assert use_selection(connection, "paper").previous == "strict"
        assert use_selection(connection, "paper").previous is None
        assert default_selection(connection) == choose_selection(connection, "paper")
        assert [(s.name, s.is_default) for s in selections(connection)] == [
            ("paper", True),
            ("strict", False),
        ]
        assert [s.distinct_neurons for s in selections(connection)] == [15, 1]


def test_a_name_means_the_selection_of_the_defaults_run(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        run_id = other_run(connection, own)
        made = make_selection(connection, run_id, Thresholds())
        assert made.selection.name == "paper"
        # Its name would find the new one: only its id leads back.
        assert made.default.previous == own.selection_id
        assert choose_selection(connection, "paper").run_id == run_id
        assert choose_selection(connection, "paper", own.run_id).selection_id == own.selection_id
        select(connection, run_id, STRICT, name="only-there")
        use_selection(connection, own.selection_id)
        assert choose_selection(connection, "paper").selection_id == own.selection_id
        assert choose_selection(connection, "only-there").run_id == run_id


def test_a_name_of_several_runs_is_refused_where_the_defaults_run_has_none(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        select(connection, own.run_id, STRICT)
        select(connection, other_run(connection, own), STRICT)
        connection.execute(
            "INSERT INTO runs SELECT * REPLACE ('third' AS run_id) FROM runs LIMIT 1"
        )
        for number in range(2):
            records.record_results(connection, "third", synthetic_results(own.dataset, number))
        select(connection, "third", Thresholds())
        with pytest.raises(NotFound, match="2 selections are called 'ratio-") as e:
            choose_selection(connection, "ratio-0.9-sharing-0.7")
        assert "run other, synthetic" in str(e.value)


def test_the_default_is_not_deleted(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        with pytest.raises(SettingsError, match="is the default: make another the default first"):
            delete_selection(connection, "paper")
        select(connection, own.run_id, STRICT, make_default=False)
        with pytest.raises(SettingsError, match=r"for example ratio-0\.9-sharing"):
            delete_selection(connection, own.selection_id)


def derive(connection: duckdb.DuckDBPyConnection, selection_id: str, run_id: str) -> None:
    """Rows of all that is derived later, for every fact with a neuron."""
    connection.execute(
        """
        INSERT INTO interactions
        SELECT $selection_id, fact_id, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0
        FROM (SELECT DISTINCT fact_id FROM knowledge_neurons WHERE selection_id = $selection_id)
        """,
        {"selection_id": selection_id},
    )
    connection.execute(
        """
        INSERT INTO fact_interactions (selection_id, fact_id, neurons, prompts, asked)
        SELECT DISTINCT selection_id, fact_id, 2, 3, 'digest'
        FROM interactions
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    )
    connection.execute(
        """
        INSERT INTO interference_measurements
        SELECT DISTINCT $run_id, selection_id, fact_id, fact_id, 'self', 1, 3, 0, 0, 0, 0
        FROM interactions
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id, "run_id": run_id},
    )
    connection.execute(
        """
        INSERT INTO neuron_associations (
            selection_id, layer, neuron, aspect, value, facts, expected, p_value, q_value
        )
        VALUES ($selection_id, 0, 0, 'relation', 'P36', 1, 0.5, 0.01, 0.01)
        """,
        {"selection_id": selection_id},
    )
    connection.execute(
        """
        INSERT INTO specificity_facts
        SELECT DISTINCT selection_id, fact_id, 2, 3, 10, 0, 'digest'
        FROM interactions
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    )
    connection.execute(
        """
        INSERT INTO specificity_effects
        SELECT DISTINCT selection_id, fact_id, 'own', 0, 'own', 3, 0, 0, 3, 0
        FROM interactions
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    )
    connection.execute(
        """
        INSERT INTO neuron_specificity
        SELECT DISTINCT selection_id, fact_id, 0, 0, 'unclear', 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0
        FROM interactions
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    )
    for values in (
        "experiments VALUES ($selection_id, 'suppress', 0, 5, 1, 0.5, '0.1.0')",
        "experiment_items VALUES ($selection_id, 'suppress', 'item', NULL, 'digest', 0.5)",
        "experiment_rows VALUES ($selection_id, 'suppress', 'item', NULL, 'loss', 'own', 1, 0.2)",
        "experiment_claims (selection_id, experiment, place, claim, statement, source, unit, n, "
        "against, expected, verdict) "
        "VALUES ($selection_id, 'suppress', 0, 'c', 's', 'o', 'u', 1, 'a', 'higher', 'holds')",
    ):
        connection.execute(f"INSERT INTO {values}", {"selection_id": selection_id})
    connection.execute(
        "UPDATE selections SET associated = TRUE WHERE selection_id = ?", [selection_id]
    )


def test_deleting_leaves_nothing_of_a_selection_and_everything_of_others(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        derive(connection, own.selection_id, own.run_id)
    before = content(own.atlas.path)
    with own.atlas.writing() as connection:
        made = select(connection, own.run_id, STRICT, make_default=False)
        derive(connection, made, own.run_id)
        for table in DERIVED:
            counted = f"SELECT count(*) FROM {table} WHERE selection_id = ?"
            assert connection.execute(counted, [made]).fetchall()[0][0] > 0, table
        assert delete_selection(connection, made[:8]).selection_id == made
    assert content(own.atlas.path) == before


def test_every_table_about_a_selection_is_derived_from_it_or_said_not_to_be(own: Synthetic) -> None:
    tables = rows(
        own.atlas.path,
        """
        SELECT DISTINCT t.table_name
        FROM duckdb_tables() AS t
        JOIN duckdb_columns() AS c USING (table_name)
        WHERE c.column_name = 'selection_id'
        """,
    )
    assert {table for (table,) in tables} == {*DERIVED, "selections", "edits"}


def test_selecting_anew_forgets_what_was_derived_of_facts_whose_neurons_changed(
    own: Synthetic,
) -> None:
    with own.atlas.writing() as connection:
        derive(connection, own.selection_id, own.run_id)
        # P36-1 loses its own neuron in every prompt, P37-0 nothing; both relations are measured
        # further, and P37 comes out the same.
        connection.execute(
            """
            DELETE FROM attributions
            WHERE layer = 0
              AND neuron = 1
            """
        )
        connection.execute(
            """
            UPDATE selection_relations
            SET prompts = prompts - 1
            """
        )
        select(connection, own.run_id, Thresholds())
        facts = {f.fact_id for relation in own.dataset.relations for f in relation.facts}
        for table, column in (
            ("interactions", "fact_id"),
            ("fact_interactions", "fact_id"),
            ("interference_measurements", "source_fact"),
        ):
            found = connection.execute(f"SELECT {column} FROM {table}").fetchall()
            assert {fact_id for (fact_id,) in found} == facts - {"P36-1"}, table
        assert connection.execute("SELECT count(*) FROM neuron_associations").fetchall() == [(0,)]
        assert connection.execute("SELECT associated FROM selections").fetchall() == [(False,)]


def test_views_count_a_fact_once_however_many_selections_have_it(own: Synthetic) -> None:
    def degree(view: str) -> list[tuple[Any, ...]]:
        return rows(
            own.atlas.path,
            f"SELECT sum(facts) FROM {view} WHERE layer = 3 AND neuron = 0",
        )

    with own.atlas.writing() as connection:
        select(connection, own.run_id, STRICT)
    assert degree("neuron_degrees") == [(12,)]
    assert degree("all_neuron_degrees") == [(24,)]
    assert degree("neuron_degrees JOIN latest_selection USING (selection_id)") == [(12,)]


@pytest.mark.parametrize(
    "view",
    [
        "neuron_facts",
        "neuron_degrees",
        "fact_sharing",
        "relation_sharing",
        "overlap_summary",
        "relation_interference",
    ],
)
def test_a_view_is_the_default_selections_part_of_the_view_over_all(
    own: Synthetic, view: str
) -> None:
    with own.atlas.writing() as connection:
        select(connection, own.run_id, STRICT)
        run_id = other_run(connection, own)
        for thresholds in (STRICT, Thresholds()):
            select(connection, run_id, thresholds)
        for selection in selections(connection):
            use_selection(connection, selection.selection_id)
            found = connection.execute(f"FROM {view} ORDER BY ALL").fetchall()
            expected = connection.execute(
                f"""
                FROM all_{view}
                WHERE selection_id = ?
                ORDER BY ALL
                """,
                [selection.selection_id],
            ).fetchall()
            assert found
            for row, wanted in zip(found, expected, strict=True):
                assert row == pytest.approx(wanted)


def test_selecting_again_is_of_the_default_selections_run(own: Synthetic) -> None:
    with own.atlas.writing() as connection:
        later = other_run(connection, own)
        select(connection, later, STRICT)
        make_default(connection, own.selection_id)
    made = own.atlas.select(ratio=0.3, sharing=0.7)
    assert made.selection.run_id == own.run_id
    assert own.atlas.select(run=later, ratio=0.3, sharing=0.7).selection.run_id == later
