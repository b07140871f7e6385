"""A null is looked at by the very rule that chose the real neurons, else it would be none."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from synthetic import Synthetic, build, scatter_scores
from synthetic_null import SyntheticNull, add_null

from atlas.errors import NotFound
from atlas.selection.nulls import null_selection_id, select_null
from atlas.selection.select import select
from atlas.selection.selections import selections
from atlas.selection.thresholds import Thresholds

PLAIN: dict[str, Any] = {"preset": "paper", "min_prompts": 2, "known_only": False}
OPTIONS: dict[str, dict[str, Any]] = {
    "as it stands": {},
    "against": {"against": "answer"},
    "negatives": {"against": "template"},
    "frequency": {"frequency": 0.9},
    "templates": {"templates": 2},
    "all at once": {"against": "answer", "frequency": 0.9, "templates": 4},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return build(tmp_path_factory.mktemp("null") / "atlas.duckdb", facts=5, templates=6)


@pytest.fixture(scope="module")
def null(made: Synthetic) -> SyntheticNull:
    """Scores differ from prompt to prompt; some facts have an object in common."""
    null = add_null(made)
    with made.atlas.writing() as connection:
        scatter_scores(connection, 0.4, "concat(run_id, prompt_id, neuron)")
        connection.execute(
            """
            UPDATE facts
            SET object = CASE WHEN subject IN ('Land 0', 'Realm 0') THEN 'Here' ELSE 'There' END
            WHERE subject IN ('Land 0', 'Realm 0', 'Land 1', 'Land 2', 'Land 3');
            """
        )
    return null


@pytest.fixture
def connection(made: Synthetic, null: SyntheticNull) -> Iterator[duckdb.DuckDBPyConnection]:
    with made.atlas.writing() as connection:
        yield connection
        connection.execute("ROLLBACK")
        connection.execute("BEGIN TRANSACTION")


def chosen(connection: duckdb.DuckDBPyConnection, selection_id: str) -> set[tuple[Any, ...]]:
    return set(
        connection.execute(
            """
            SELECT fact_id, layer, neuron, prompt_share, mean_score
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
            """,
            {"selection_id": selection_id},
        ).fetchall()
    )


def of_null(
    connection: duckdb.DuckDBPyConnection, made: Synthetic, null: SyntheticNull, option: str
) -> str:
    """The null's selection by these thresholds, which the real run is selected by."""
    thresholds = Thresholds(**PLAIN | OPTIONS[option])
    selection_id = select(connection, made.run_id, thresholds, make_default=False)
    return null_selection_id(selection_id, null.run_id)


@pytest.mark.parametrize("option", OPTIONS)
def test_null_facts_have_the_neurons_that_they_would_have_as_real_ones(
    connection: duckdb.DuckDBPyConnection, made: Synthetic, null: SyntheticNull, option: str
) -> None:
    null_id = of_null(connection, made, null, option)
    found = chosen(connection, null_id)
    assert found
    rests = connection.execute(
        """
        SELECT relation_id, sharing
        FROM selection_relations
        WHERE selection_id = $null_id
        """,
        {"null_id": null_id},
    ).fetchall()
    assert len({sharing for _, sharing in rests}) == 1  # so that one selection serves them all
    connection.execute("UPDATE runs SET null_of = NULL")
    alone = Thresholds(
        "fixed",
        sharing=rests[0][1],
        **{name: value for name, value in (PLAIN | OPTIONS[option]).items() if name != "preset"},
    )
    assert found == chosen(connection, select(connection, null.run_id, alone))
    if OPTIONS[option]:
        assert found != chosen(connection, of_null(connection, made, null, "as it stands"))


def test_a_null_has_no_specificity_and_says_why(made: Synthetic, null: SyntheticNull) -> None:
    with pytest.raises(NotFound, match="is of a null, whose facts are false"):
        made.atlas.specificity(selection=null.selection_id, lm="no such model")


def test_what_the_null_leaves_out_is_stored_beside_it(
    connection: duckdb.DuckDBPyConnection, made: Synthetic, null: SyntheticNull
) -> None:
    null_id = of_null(connection, made, null, "against")

    def left_out() -> list[tuple[Any, ...]]:
        return connection.execute(
            f"""
            SELECT left_out > 0, unjudged > 0, facts, mean_neurons
            FROM selection_relations
            WHERE selection_id = '{null_id}'
            ORDER BY relation_id
            """
        ).fetchall()

    stored = left_out()
    assert [row[:3] for row in stored] == [(True, True, 5)] * 2
    neurons = len(chosen(connection, null_id))
    assert sum(row[3] * row[2] for row in stored) == pytest.approx(neurons)
    # as an atlas is that was indexed when nulls were not judged
    connection.execute(
        f"UPDATE selection_relations SET left_out = NULL WHERE selection_id = '{null_id}'"
    )
    (real_id,) = (s.null_of for s in selections(connection) if s.selection_id == null_id)
    assert real_id is not None
    select_null(connection, real_id, null.run_id)
    assert left_out() == stored


def test_one_relation_measured_later_has_all_of_the_null_judged_anew(
    connection: duckdb.DuckDBPyConnection, made: Synthetic, null: SyntheticNull
) -> None:
    null_id = of_null(connection, made, null, "against")
    whole = chosen(connection, null_id)
    (real_id,) = (s.null_of for s in selections(connection) if s.selection_id == null_id)
    assert real_id is not None
    connection.execute(
        f"""
        CREATE TEMPORARY TABLE later AS
        FROM prompt_results
        WHERE run_id = '{null.run_id}'
          AND prompt_id IN (
              SELECT prompt_id
              FROM prompts
              JOIN facts USING (fact_id)
              WHERE relation_id = 'P37'
          );
        DELETE FROM prompt_results
        WHERE run_id = '{null.run_id}'
          AND prompt_id IN (SELECT prompt_id FROM later);
        DELETE FROM knowledge_neurons WHERE selection_id = '{null_id}';
        DELETE FROM selection_relations WHERE selection_id = '{null_id}';
        """
    )
    select_null(connection, real_id, null.run_id)
    half = chosen(connection, null_id)
    assert half
    assert not half <= whole  # fewer others that a neuron may serve
    connection.execute("INSERT INTO prompt_results FROM later")
    select_null(connection, real_id, null.run_id)
    assert chosen(connection, null_id) == whole
