"""A relation's neurons, layers and thresholds."""

from pathlib import Path

import duckdb
import pytest
from synthetic import (
    HUB,
    LAST,
    LAYERS,
    SKIPPED_BECAUSE,
    build,
)

from atlas.errors import NotFound
from atlas.queries.layers import LayerCount
from atlas.queries.relations import relation_report
from atlas.selection.chosen import (
    ChosenSelection,
    choose_selection,
)

Connection = duckdb.DuckDBPyConnection


@pytest.mark.parametrize("wanted", ["P36", "p36", "capital", "CAPITAL"])
def test_a_relation_is_found_by_id_or_label(
    connection: Connection, selection: ChosenSelection, wanted: str
) -> None:
    assert relation_report(connection, selection, wanted).relation_id == "P36"


def test_a_relation_reports_what_was_measured_and_chosen(
    connection: Connection, selection: ChosenSelection
) -> None:
    report = relation_report(connection, selection, "P37", limit=3)
    assert (report.facts, report.prompts, report.top1_share) == (6, 18, 1.0)
    assert report.mean_p_answer == pytest.approx(0.8)
    assert (report.mean_neurons, report.sharing, report.moves) == (3.0, 0.7, 0)
    assert (report.ratio, report.comparison, report.min_prompts) == (0.2, ">=", 3)
    assert [(s.reason, s.prompts) for s in report.skipped] == [(SKIPPED_BECAUSE, 6)]
    assert report.distinct_neurons == 8
    assert [(n.layer, n.neuron, n.facts, n.fact_share, n.relations) for n in report.neurons] == [
        (*HUB, 6, 1.0, 2),
        (LAST, 2, 6, 1.0, 1),
        (0, 6, 1, pytest.approx(1 / 6), 1),
    ]


def test_a_relation_counts_its_neurons_in_every_layer_of_the_model(
    connection: Connection, selection: ChosenSelection
) -> None:
    report = relation_report(connection, selection, "P36")
    assert report.layers == (
        LayerCount(0, 6, 6),
        LayerCount(1, 0, 0),
        LayerCount(2, 0, 0),
        LayerCount(3, 2, 12),
    )
    assert len(report.layers) == LAYERS


def test_an_unknown_relation_is_answered_with_near_ones(
    connection: Connection, selection: ChosenSelection
) -> None:
    with pytest.raises(NotFound, match=r"there is P36 \(capital\)$"):
        relation_report(connection, selection, "capitol")
    with pytest.raises(NotFound, match=r"there is P36 \(capital\), P37 \(official language\)$"):
        relation_report(connection, selection, "nonsense")


def test_a_label_of_two_relations_asks_for_an_id(tmp_path: Path) -> None:
    synthetic = build(tmp_path / "atlas.duckdb")
    with synthetic.atlas.writing() as connection:
        connection.execute("UPDATE relations SET label = 'capital'")
        with pytest.raises(
            NotFound, match="2 relations are called 'capital': name one of P36, P37"
        ):
            relation_report(connection, choose_selection(connection), "capital")
