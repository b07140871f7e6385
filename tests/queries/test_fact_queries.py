"""Facts found by name, with their prompts and neurons."""

from pathlib import Path

import duckdb
import pytest
from synthetic import (
    HUB,
    LAST,
    SKIPPED_BECAUSE,
    build,
)

from atlas.errors import AmbiguousFact, NotFound
from atlas.queries.facts import fact_reports
from atlas.queries.named_facts import one_fact
from atlas.selection.chosen import (
    ChosenSelection,
    choose_selection,
)

Connection = duckdb.DuckDBPyConnection


@pytest.mark.parametrize(
    "wanted", ["P36-1", "p36-1", "Land 1", "LAND 1", " Land 1 ", "Land 1:P36", "land 1:Capital"]
)
def test_a_fact_is_found_by_id_subject_or_subject_and_relation(
    connection: Connection, selection: ChosenSelection, wanted: str
) -> None:
    assert [fact.fact_id for fact in fact_reports(connection, selection, wanted)] == ["P36-1"]


def test_a_fact_has_its_prompts_and_its_neurons(
    connection: Connection, selection: ChosenSelection
) -> None:
    (fact,) = fact_reports(connection, selection, "P37-2")
    assert (fact.subject, fact.relation, fact.object) == (
        "Realm 2",
        "official language",
        "Tongue 2",
    )
    assert fact.unmeasured == 0
    assert [prompt.skipped_because for prompt in fact.prompts] == [
        None,
        None,
        None,
        SKIPPED_BECAUSE,
    ]
    assert fact.prompts[0].text == "Official language 0 of Realm 2 is [Y]."
    assert fact.prompts[0].predicted == "Tongue 2"
    assert [(n.layer, n.neuron, n.facts, n.relations) for n in fact.neurons] == [
        (*HUB, 12, 2),
        (LAST, 2, 6, 1),
        (0, 8, 1, 1),
    ]


def test_all_facts_of_a_subject_are_found_and_each_keeps_its_own_rows(tmp_path: Path) -> None:
    synthetic = build(tmp_path / "atlas.duckdb")
    with synthetic.atlas.writing() as connection:
        connection.execute("UPDATE facts SET subject = 'Ireland: island' WHERE fact_id LIKE '%-0'")
        facts = fact_reports(connection, choose_selection(connection), "ireland: island")
        one = fact_reports(connection, choose_selection(connection), "Ireland: island:P37")
    assert [fact.fact_id for fact in facts] == ["P36-0", "P37-0"]
    assert [fact.fact_id for fact in one] == ["P37-0"]
    for fact in facts:
        assert {row.fact_id for row in (*fact.prompts, *fact.neurons)} == {fact.fact_id}
        assert (len(fact.prompts), len(fact.neurons)) == (4, 3)


def test_a_limit_cuts_prompts_and_neurons_of_a_fact(
    connection: Connection, selection: ChosenSelection
) -> None:
    (fact,) = fact_reports(connection, selection, "P36-0", limit=2)
    assert (len(fact.prompts), len(fact.neurons), fact.unmeasured) == (2, 2, 0)
    assert (fact.known, fact.right, fact.measured, fact.chosen) == (True, 3, 3, 3)


@pytest.mark.parametrize(("wrong", "known"), [(0, True), (1, True), (2, False), (3, False)])
def test_a_fact_is_known_if_its_object_is_on_top_in_half_of_its_prompts_or_more(
    tmp_path: Path, wrong: int, known: bool
) -> None:
    synthetic = build(tmp_path / "atlas.duckdb")
    with synthetic.atlas.writing() as connection:
        connection.execute(
            """
            UPDATE prompt_results
            SET answer_rank = 2
            WHERE prompt_id IN (
                SELECT prompt_id
                FROM prompts
                JOIN prompt_results AS r USING (prompt_id)
                WHERE fact_id = 'P36-0'
                  AND r.skipped_because IS NULL
                ORDER BY prompt_id
                LIMIT ?
            )
            """,
            [wrong],
        )
        (fact,) = fact_reports(connection, choose_selection(connection), "P36-0")
    assert (fact.known, fact.right, fact.measured) == (known, 3 - wrong, 3)


def test_an_unknown_fact_is_answered_with_near_subjects(
    connection: Connection, selection: ChosenSelection
) -> None:
    with pytest.raises(NotFound, match="near: Realm 3"):
        fact_reports(connection, selection, "raelm 3")
    with pytest.raises(NotFound, match="near: Realm 3"):
        fact_reports(connection, selection, "raelm 3:P37")
    with pytest.raises(NotFound, match="among the 12 subjects of this atlas"):
        fact_reports(connection, selection, "Zzyzx")


def test_a_subject_in_another_relation_is_answered_with_its_relations(
    connection: Connection, selection: ChosenSelection
) -> None:
    with pytest.raises(NotFound, match=r"the atlas has Land 1 in P36 \(capital\)"):
        fact_reports(connection, selection, "land 1:P37")


@pytest.mark.parametrize("wanted", ["P36-1", " land 1 ", "Land 1:P36", "land 1:CAPITAL"])
def test_one_fact_is_found_by_every_name_that_leads_to_it_alone(
    connection: Connection, wanted: str
) -> None:
    fact = one_fact(connection, wanted)
    assert (fact.fact_id, fact.relation, fact.object, fact.prompts) == (
        "P36-1",
        "capital",
        "Town 1",
        4,
    )


def test_a_subject_of_several_relations_is_ambiguous_until_one_is_named(tmp_path: Path) -> None:
    synthetic = build(tmp_path / "atlas.duckdb")
    with synthetic.atlas.writing() as connection:
        connection.execute("UPDATE facts SET subject = 'Ireland' WHERE fact_id LIKE '%-0'")
        with pytest.raises(
            AmbiguousFact, match=r"2 facts, in P36 \(capital\), P37 \(official language\): write"
        ):
            one_fact(connection, "ireland")
        assert one_fact(connection, "ireland", "P37").fact_id == "P37-0"
        assert one_fact(connection, "ireland", "Capital").fact_id == "P36-0"
        with pytest.raises(NotFound, match="no fact 'ireland' in P30: the atlas has Ireland in P3"):
            one_fact(connection, "ireland", "P30")
        connection.execute("UPDATE facts SET subject = 'Ireland' WHERE fact_id = 'P36-1'")
        with pytest.raises(AmbiguousFact, match=r"the id, one of P36-0 \(Town 0\), P36-1 \(Town 1"):
            one_fact(connection, "Ireland:P36")
        connection.execute("UPDATE facts SET subject = 'P37-0' WHERE fact_id = 'P36-1'")
        assert one_fact(connection, "p37-0").fact_id == "P37-0"


def test_one_fact_that_is_not_there_is_answered_with_near_subjects(connection: Connection) -> None:
    with pytest.raises(NotFound, match="near: Realm 3"):
        one_fact(connection, "raelm 3")
