"""What a neuron serves, and the hubs."""

import math
from dataclasses import replace

import duckdb
import pytest
from store_of_neurons import empty_atlas
from synthetic import (
    HUB,
    SCORES,
)

from atlas.errors import NotFound, SettingsError
from atlas.queries.neurons import HUB_ORDERS, Hub, hubs_report, neuron_report, parse_neuron
from atlas.selection.chosen import (
    ChosenSelection,
    choose_selection,
)

Connection = duckdb.DuckDBPyConnection


def test_a_neuron_is_written_as_layer_colon_neuron() -> None:
    assert parse_neuron("3:117") == (3, 117)


@pytest.mark.parametrize("text", ["9-2047", "9.2047", "9 2047", "L9N2047"])
def test_another_notation_of_a_neuron_is_answered_with_the_right_one(text: str) -> None:
    with pytest.raises(SettingsError, match=r"write LAYER:NEURON.*e.g. 9:2047$"):
        parse_neuron(text)


@pytest.mark.parametrize("text", ["", "3", "3:", ":7", "-1:5", "3:1:2", "three:4", "3:1\n", "³:1"])
def test_what_is_no_neuron_is_refused_with_the_notation(text: str) -> None:
    with pytest.raises(SettingsError, match="write LAYER:NEURON"):
        parse_neuron(text)


def test_the_hub_serves_every_fact(connection: Connection, selection: ChosenSelection) -> None:
    report = neuron_report(connection, selection, *HUB)
    assert (report.facts, report.relations) == (12, 2)
    assert [fact.fact_id for fact in report.served] == [
        f"{relation}-{i}" for relation in ("P36", "P37") for i in range(6)
    ]
    assert report.served[0].mean_score == pytest.approx(SCORES[0])
    assert report.served[0].prompt_share == 1.0


def test_a_limit_cuts_the_facts_but_not_the_degree(
    connection: Connection, selection: ChosenSelection
) -> None:
    report = neuron_report(connection, selection, *HUB, limit=5)
    assert (report.facts, len(report.served)) == (12, 5)


def test_a_neuron_without_facts_is_an_answer(
    connection: Connection, selection: ChosenSelection
) -> None:
    report = neuron_report(connection, selection, 2, 63)
    assert (report.facts, report.relations, report.served) == (0, 0, ())


@pytest.mark.parametrize(("layer", "neuron"), [(9, 99999), (4, 0), (0, 64), (0, 10**30)])
def test_a_neuron_outside_the_model_is_told_the_valid_range(
    connection: Connection, selection: ChosenSelection, layer: int, neuron: int
) -> None:
    with pytest.raises(NotFound, match="its layers are 0 to 3, its neurons 0 to 63"):
        neuron_report(connection, selection, layer, neuron)


def test_hubs_are_ordered_by_facts_then_relations(
    connection: Connection, selection: ChosenSelection
) -> None:
    report = hubs_report(connection, selection, limit=4)
    assert report.neurons == 1 + 2 + 12
    assert [(h.layer, h.neuron, h.facts, h.relations) for h in report.hubs] == [
        (3, 0, 12, 2),
        (3, 1, 6, 1),
        (3, 2, 6, 1),
        (0, 0, 1, 1),
    ]
    assert report.hubs[1] == Hub(
        3, 1, 6, 1, pytest.approx(0.25), "P36", "capital", 1.0, 0.0, 0.5, None
    )


def test_hubs_can_be_ordered_by_relations_and_by_their_entropy(connection: Connection) -> None:
    """Neuron 1 serves six facts of one relation, 2 one of each of two, 3 three and one of two."""
    with empty_atlas() as memory:
        memory.execute("""
            INSERT INTO relations (relation_id, label)
                SELECT 'P' || range AS relation_id, 'label' AS label
                FROM range(2);
            INSERT INTO facts (fact_id, relation_id, subject, object)
                SELECT 'F' || range, 'P' || range // 6, 'subject', 'object'
                FROM range(12);
            INSERT INTO knowledge_neurons (selection_id, layer, neuron, fact_id, mean_score)
                SELECT 's', 0, neuron, 'F' || f, 1.0
                FROM (VALUES (1, [0, 1, 2, 3, 4, 5]), (2, [0, 6]), (3, [0, 1, 2, 6]))
                    AS served (neuron, numbers),
                     unnest(numbers) AS n (f)
        """)
        chosen = replace(choose_selection(connection), selection_id="s")
        hubs = {by: hubs_report(memory, chosen, None, by).hubs for by in HUB_ORDERS}
    assert {by: [hub.neuron for hub in found] for by, found in hubs.items()} == {
        "facts": [1, 3, 2],
        "relations": [3, 2, 1],
        "entropy": [2, 3, 1],
    }
    assert [hub.entropy for hub in hubs["entropy"]] == pytest.approx(
        [1, 0.75 * math.log2(4 / 3) + 0.25 * 2, 0]
    )
