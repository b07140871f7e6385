"""Neurons of one fact alone over ratios, against selections made with each ratio."""

from collections import Counter
from pathlib import Path

import pytest
from synthetic import Synthetic, build

from atlas.errors import NoScores, SettingsError
from atlas.queries.single_facts import single_facts_report
from atlas.selection.chosen import choose_selection

Degrees = dict[tuple[int, int], int]
RATIOS = (0.01, 0.1, 0.3, 0.7, 0.9)


@pytest.fixture
def made(tmp_path: Path) -> Synthetic:
    """Every fact has a neuron of its own, that of P36-0 also a weak score in P37-0's prompts."""
    made = build(tmp_path / "atlas.duckdb", relations=3)
    with made.atlas.writing() as connection:
        connection.execute(
            """
            INSERT INTO attributions
            SELECT DISTINCT a.run_id, a.prompt_id, 0, 0, 0.045, 1
            FROM attributions AS a
            JOIN prompts AS p USING (prompt_id)
            WHERE p.fact_id = 'P37-0'
            """
        )
    return made


def _degrees(made: Synthetic, ratio: float) -> Degrees:
    """Facts by neuron in a selection of its own with this ratio."""
    chosen = made.atlas.select(ratio=ratio, sharing=0.7, make_default=False)
    with made.atlas.reading() as connection:
        rows = connection.execute(
            """
            SELECT layer, neuron, facts
            FROM all_neuron_degrees
            WHERE selection_id = ?
            """,
            [chosen.selection.selection_id],
        ).fetchall()
    return {(layer, neuron): facts for layer, neuron, facts in rows}


def test_counts_at_each_ratio_are_those_of_a_selection_made_with_it(made: Synthetic) -> None:
    made.atlas.select(ratio=0.2, sharing=0.7)
    report = made.atlas.single_facts(ratios=RATIOS)
    assert [row.ratio for row in report.ratios] == [0.1, 0.2, 0.3, 0.7, 0.9]  # floor 0.05
    by_ratio = {row.ratio: _degrees(made, row.ratio) for row in report.ratios}
    of_one = {neuron for neuron, facts in by_ratio[0.2].items() if facts == 1}
    assert (report.neurons, report.of_one_fact) == (len(by_ratio[0.2]), len(of_one))
    assert report.of_one_fact == 18
    for row in report.ratios:
        degrees = by_ratio[row.ratio]
        kept = Counter(min(degrees.get(neuron, 0), 2) for neuron in of_one)
        assert row.neurons == len(degrees)
        assert row.of_one_fact == sum(facts == 1 for facts in degrees.values())
        assert (row.of_none, row.still, row.of_several) == (kept[0], kept[1], kept[2])
    assert report.ratios[0].of_several == 1
    assert report.ratios[3].of_none == 18
    assert report.throughout == 0
    assert made.atlas.single_facts(ratios=(0.1, 0.3)).throughout == 17


def test_the_preset_paper_is_tried_with_the_sharing_that_it_settled_on(made: Synthetic) -> None:
    report = made.atlas.single_facts()
    (own,) = [row for row in report.ratios if row.ratio == 0.2]
    with made.atlas.reading() as connection:
        (counts,) = connection.execute(
            "SELECT count(*), count(*) FILTER (facts = 1) FROM neuron_degrees"
        ).fetchall()
    assert (own.neurons, own.of_one_fact) == (report.neurons, report.of_one_fact) == counts


def test_ratios_that_cannot_be_tried_are_refused(made: Synthetic) -> None:
    with pytest.raises(SettingsError, match=r"ratio is 1\.5: use more than 0"):
        made.atlas.single_facts(ratios=(0.2, 1.5))
    with made.atlas.writing() as connection:
        connection.execute("UPDATE selections SET ratio = NULL")
        chosen = choose_selection(connection)
        with pytest.raises(NoScores, match="other ratios cannot be tried"):
            single_facts_report(connection, chosen)
