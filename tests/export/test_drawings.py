"""What each figure shows, against what the synthetic atlas was made of."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import duckdb
import numpy as np
import pytest
from plotted import build_plotted, store_edit
from synthetic import Synthetic, build

from atlas.errors import NoScores, NotFound
from atlas.export.captions import model_name
from atlas.export.drawings.edit import template_shifts
from atlas.export.drawings.effects import MOST, edit_effects, suppression_effects
from atlas.export.drawings.fact import prompt_scores
from atlas.export.drawings.hubs import hub_points
from atlas.export.drawings.layers import layer_uses
from atlas.export.drawings.overlap import clustered, overlap_cells
from atlas.export.figures import layer_ticks
from atlas.export.plots import plot
from atlas.selection.chosen import ChosenSelection, choose_selection
from atlas.side_effects.by_relation import relation_damage
from atlas.side_effects.report import gather_effects
from atlas.side_effects.scopes import checked_by, relate_facts


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return build_plotted(tmp_path_factory.mktemp("drawings") / "atlas.duckdb")


@pytest.fixture
def connection(made: Synthetic) -> Iterator[duckdb.DuckDBPyConnection]:
    with made.atlas.reading() as connection:
        yield connection


@pytest.fixture
def selection(connection: duckdb.DuckDBPyConnection) -> ChosenSelection:
    return choose_selection(connection)


def written(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))


def as_written(rows: list[object]) -> list[dict[str, str]]:
    """Dataclasses as the CSV file has them."""
    return [
        {
            field.name: "" if (value := getattr(row, field.name)) is None else str(value).lower()
            for field in fields(row)  # type: ignore[arg-type]
        }
        for row in rows
    ]


def test_the_data_beside_a_figure_are_what_sql_answers(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, tmp_path: Path
) -> None:
    answers: dict[str, list[object]] = {
        "layers": [*layer_uses(connection, selection)],
        "overlap": [*overlap_cells(connection, selection)],
        "hubs": [*hub_points(connection, selection)],
    }
    for what, rows in answers.items():
        plot(connection, selection, what, tmp_path / "figure.svg")
        found = [
            {name: value.lower() for name, value in list(row.items())[5:]}
            for row in written(tmp_path / "figure.csv")
        ]
        assert found == as_written(rows), what


def test_layers_and_hubs_are_what_the_synthetic_atlas_was_made_of(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection
) -> None:
    # 18 facts, each with the hub and its relation's neuron in the last layer, its own in the first
    uses = layer_uses(connection, selection)
    assert [(use.layer, use.uses, use.neurons) for use in uses] == [
        (0, 18, 18),
        (1, 0, 0),
        (2, 0, 0),
        (3, 36, 4),
    ]
    assert [use.share for use in uses] == pytest.approx([1 / 3, 0, 0, 2 / 3])
    assert {use.neurons_by_chance for use in uses} == {22 / 4}
    hub, *others = hub_points(connection, selection)
    assert (hub.layer, hub.neuron, hub.facts, hub.relations) == (3, 0, 18, 3)
    assert hub.entropy == pytest.approx(1.584962500721156)  # log2(3)
    assert {other.entropy for other in others} == {0.0}


def test_layers_of_a_relation_are_those_of_its_facts(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, tmp_path: Path
) -> None:
    drawn = plot(connection, selection, "layers", tmp_path / "f.svg", relation="capital")
    assert [(row["uses"], row["neurons"]) for row in written(tmp_path / "f.csv")] == [
        ("6", "6"), ("0", "0"), ("0", "0"), ("12", "2"),
    ]  # fmt: skip
    assert "of capital (P36) (n = 6 facts)" in drawn.caption
    with pytest.raises(NotFound, match="no relation 'P99'"):
        plot(connection, selection, "layers", tmp_path / "f.svg", relation="P99")


@pytest.mark.parametrize(
    ("layers", "ticks"),
    [
        (1, [0]),
        (2, [0, 1]),
        (6, [0, 1, 2, 3, 4, 5]),
        (30, [0, 5, 10, 15, 20, 25, 29]),
        (32, [0, 5, 10, 15, 20, 25, 31]),
        (80, [0, 10, 20, 30, 40, 50, 60, 70, 79]),
    ],
)
def test_the_first_and_the_last_layer_have_a_tick(layers: int, ticks: list[int]) -> None:
    assert layer_ticks(layers) == ticks


def test_blocks_of_relations_that_share_lie_together_whatever_their_order_was() -> None:
    block = np.arange(10) % 2  # the relations of two blocks, alternating
    shared = np.where(block[:, None] == block[None, :], 1.5, 0.1)
    np.fill_diagonal(shared, 2.0)
    for seed in range(5):
        mixed = np.random.default_rng(seed).permutation(10)
        order = [block[mixed[i]] for i in clustered(shared[np.ix_(mixed, mixed)])]
        assert sorted(order) in (order, order[::-1])


def test_relations_of_which_nothing_is_known_do_not_stop_the_clustering() -> None:
    shared = np.array([[1.0, np.nan, 0.5], [np.nan, np.nan, np.nan], [0.5, np.nan, 1.0]])
    order = clustered(shared)
    assert sorted(order) == [0, 1, 2]
    assert abs(order.index(0) - order.index(2)) == 1
    assert sorted(clustered(np.zeros((4, 4)))) == [0, 1, 2, 3]


def test_a_single_relation_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    made = build(tmp_path / "atlas.duckdb", relations=1)
    with made.atlas.reading() as connection:
        chosen = choose_selection(connection)
        with pytest.raises(NotFound, match=r"one relation, P36, .* share 2 neurons a pair"):
            plot(connection, chosen, "overlap", tmp_path / "f.svg")


def test_a_facts_effect_on_itself_is_not_among_the_effects_on_others(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection
) -> None:
    found = [
        (p.predicted, p.right_to_wrong) for p in suppression_effects(connection, selection, "P36-0")
    ]
    assert found == [(0.25, 1), (pytest.approx(1 / 6), 0)]
    effects = edit_effects(connection, 1)
    assert len(effects) == 17  # of 18 facts
    assert "P36-0" not in {point.fact_id for point in effects}
    assert [p.delta_log_p for p in effects] == pytest.approx([-np.log(2)] * 17)
    assert [p.fact_id for p in effects if p.right_to_wrong] == ["P37-1"]


def test_a_fact_that_is_predicted_and_drawn_at_random_is_one_point(tmp_path: Path) -> None:
    own = build_plotted(tmp_path / "atlas.duckdb")
    with own.atlas.writing() as connection:
        connection.execute(
            """
            INSERT INTO interference_measurements
            SELECT * REPLACE ('random' AS role)
            FROM interference_measurements
            WHERE role <> 'self'
            UNION ALL
            SELECT * REPLACE ('random' AS role, 'P37-1' AS fact_id, 0.1 AS predicted)
            FROM interference_measurements
            WHERE role = 'control'
            """
        )
    with own.atlas.reading() as connection:
        chosen = choose_selection(connection)
        points = suppression_effects(connection, chosen, "P36-0")
        drawn = plot(connection, chosen, "effects", tmp_path / "f.svg", fact="P36-0")
    assert sorted(point.fact_id for point in points) == ["P36-1", "P36-2", "P37-1"]
    assert all(point.sampled for point in points)
    assert "over the 3 facts among them that were drawn at random" in drawn.caption


def test_no_fact_occurs_twice_in_a_panel_of_effects(tmp_path: Path) -> None:
    made = build_plotted(tmp_path / "atlas.duckdb")
    for edit_id in range(2, 9):
        store_edit(made, edit_id, f"P36-{edit_id % 6}")
    with made.atlas.reading() as connection:
        chosen = choose_selection(connection)
        drawn = plot(connection, chosen, "effects", tmp_path / "f.svg")
        assert [panel.panel for panel in drawn.panels] == list("abcdef"[:MOST])
        seen = Counter((row["panel"], row["fact_id"]) for row in written(tmp_path / "f.csv"))
        assert set(seen.values()) == {1}
        assert "3 further changes not drawn" in drawn.caption  # of 8 edits and a suppression
        one = plot(connection, chosen, "effects", tmp_path / "f.svg", edit_id=2)
        assert (one.points, len(one.panels)) == (17, 1)
        of_fact = plot(connection, chosen, "effects", tmp_path / "f.svg", fact="P36-0")
        names = {(row["change"], row["name"]) for row in written(tmp_path / "f.csv")}
        assert names == {("suppression", "P36-0"), ("edit", "1"), ("edit", "6")}
        assert len(of_fact.panels) == 3


def test_an_edit_of_a_whole_relation_did_nothing_to_other_facts_of_its_own(
    tmp_path: Path,
) -> None:
    made = build(tmp_path / "atlas.duckdb", relations=3)
    store_edit(made, 1, None)
    with made.atlas.reading() as connection:
        assert {point.relation_id for point in edit_effects(connection, 1)} == {"P37", "P30"}
        relate_facts(connection, checked_by(connection, 1))
        gather_effects(connection, 1)
        damage = relation_damage(connection)
        assert [d.relation_id for d in damage] == ["P37", "P30"]
        shifts = template_shifts(connection, 1)
        assert [(s.held_out, s.prompts, s.p_new_after) for s in shifts] == [
            (False, 6, None),
            (False, 6, None),
            (False, 6, None),
            (True, 6, None),
        ]
        assert {shift.template.split(" of ")[1] for shift in shifts} == {"[X] is [Y]."}
        assert plot(connection, choose_selection(connection), "edit", tmp_path / "f.svg", edit_id=1)


def test_an_edit_is_drawn_with_what_there_is_of_it(made: Synthetic, tmp_path: Path) -> None:
    own = build_plotted(tmp_path / "atlas.duckdb")
    with own.atlas.reading() as connection:
        chosen = choose_selection(connection)
        drawn = plot(connection, chosen, "edit", tmp_path / "f.svg", edit_id=1)
        assert [(panel.panel, panel.rows) for panel in drawn.panels] == [("a", 4), ("b", 3)]
        assert "update of Land 0 (P36) to Town 1" in drawn.caption
        assert "3 of 51 in n = 51 checked prompts; 0 became right" in drawn.caption
        damage = [row for row in written(tmp_path / "f.csv") if row["panel"] == "b"]
        assert [
            (row["relation_id"], row["right_to_wrong"], row["right_before"]) for row in damage
        ] == [("P37", "3", "18"), ("P30", "0", "18"), ("P36", "0", "15")]
        assert "Checked were" not in drawn.caption
        with pytest.raises(NotFound, match="no edit 2"):
            plot(connection, chosen, "edit", tmp_path / "f.svg", edit_id=2)
    with own.atlas.writing() as connection:
        connection.execute(
            """
            DELETE FROM side_effects
            WHERE prompt_id IN (
                SELECT prompt_id
                FROM prompts
                JOIN facts USING (fact_id)
                WHERE relation_id <> 'P36'
            )
            """
        )
    with own.atlas.reading() as connection:
        drawn = plot(connection, chosen, "edit", tmp_path / "f.svg", edit_id=1)
        assert "Checked were 5 of the 17 other facts" in drawn.caption
    with own.atlas.writing() as connection:
        connection.execute("DELETE FROM side_effects")
    with own.atlas.reading() as connection:
        drawn = plot(connection, chosen, "edit", tmp_path / "f.svg", edit_id=1)
        assert [(panel.panel, panel.rows) for panel in drawn.panels] == [("a", 4)]
        assert "No side effect of it was measured yet." in drawn.caption
        with pytest.raises(NotFound, match="atlas edit check 1"):
            plot(connection, chosen, "effects", tmp_path / "f.svg", edit_id=1)
    with own.atlas.writing() as connection:
        connection.execute("DELETE FROM edit_outcomes")
    with own.atlas.reading() as connection, pytest.raises(NotFound, match="atlas edit check 1"):
        plot(connection, chosen, "edit", tmp_path / "f.svg", edit_id=1)


def test_a_facts_scores_are_shares_of_the_prompts_largest(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, tmp_path: Path
) -> None:
    rows = prompt_scores(connection, selection, "P36-0")
    assert len(rows) == 9  # three measured prompts, three neurons
    assert [(r.layer, r.neuron) for r in rows[:3]] == [(3, 0), (3, 1), (0, 0)]
    assert [r.share_of_largest for r in rows[:3]] == pytest.approx([1, 0.25 / 0.3, 0.2 / 0.3])
    drawn = plot(connection, selection, "fact", tmp_path / "f.svg", fact="Land 0:P36")
    assert "9 of 9 cells reach" in drawn.caption
    assert "n = 3 prompts" in drawn.caption
    with pytest.raises(NotFound, match="no fact"):
        plot(connection, selection, "fact", tmp_path / "f.svg", fact="Atlantis")


def test_published_neurons_have_no_scores_to_draw(made: Synthetic, tmp_path: Path) -> None:
    own = build(tmp_path / "atlas.duckdb")
    with own.atlas.writing() as connection:
        connection.execute("UPDATE selections SET ratio = NULL, sharing = NULL")
    with own.atlas.reading() as connection:
        chosen = choose_selection(connection)
        with pytest.raises(NoScores):
            plot(connection, chosen, "fact", tmp_path / "f.svg", fact="P36-0")
        assert "published neurons" in plot(connection, chosen, "hubs", tmp_path / "f.svg").caption


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("mini-bert", "mini-bert"),
        ("SmolLM2-135M-Instruct.Q8_0.gguf", "SmolLM2-135M-Instruct.Q8_0"),
        ("/home/me/models/SmolLM2-135M-Instruct.Q8_0.gguf", "SmolLM2-135M-Instruct.Q8_0"),
        ("models/tiny.safetensors", "tiny"),
        ("./models/my-bert/", "my-bert"),
        ("C:\\models\\my-bert", "my-bert"),
        ("openai-community/gpt2", "openai-community/gpt2"),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B"),
    ],
)
def test_a_model_is_named_without_directory_and_file_ending(name: str, shown: str) -> None:
    assert model_name(name) == shown
