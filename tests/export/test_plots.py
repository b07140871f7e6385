"""Figures: sound files that show what SQL says."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from synthetic import Synthetic, begin, build, synthetic_dataset

from atlas.atlas import Atlas, open_atlas
from atlas.errors import NotFound, SettingsError
from atlas.export.plot_queries import hub_points, layer_uses, suppression_effects
from atlas.export.plots import DRAWINGS, plot
from atlas.selection.chosen import ChosenSelection, choose_selection

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """The synthetic atlas with some measured interference."""
    made = build(tmp_path_factory.mktemp("plots") / "atlas.duckdb", relations=3)
    with made.atlas.writing() as connection:
        for i, (role, flips) in enumerate((("self", 3), ("predicted", 1), ("control", 0))):
            connection.execute(
                """
                INSERT INTO interference_measurements (
                    run_id, selection_id, source_fact, fact_id, role, predicted, prompts,
                    delta_log_p, flips, right_to_wrong
                )
                VALUES ($run_id, $selection_id, 'P36-0', $fact, $role, $predicted, 3, $delta, 0, $n)
                """,
                {
                    "run_id": made.run_id,
                    "selection_id": made.selection_id,
                    "fact": f"P36-{i}",
                    "role": role,
                    "predicted": 0.5 / (i + 1),
                    "delta": -1.0 / (i + 1),
                    "n": flips,
                },
            )
    return made


@pytest.fixture
def con(made: Synthetic) -> Iterator[duckdb.DuckDBPyConnection]:
    with made.atlas.reading() as connection:
        yield connection


@pytest.fixture
def selection(con: duckdb.DuckDBPyConnection) -> ChosenSelection:
    return choose_selection(con)


@pytest.mark.parametrize("what", DRAWINGS)
def test_every_figure_is_a_sound_svg_png_and_pdf(
    con: duckdb.DuckDBPyConnection, selection: ChosenSelection, what: str, tmp_path: Path
) -> None:
    for kind in ("svg", "png", "pdf"):
        drawn = plot(con, selection, what, tmp_path / f"figure.{kind}")
        assert drawn.points > 0
    root = ET.parse(tmp_path / "figure.svg").getroot()
    assert root.tag == f"{SVG}svg"
    text = " ".join("".join(node.itertext()) for node in root.iter(f"{SVG}text"))
    assert text.strip(), "text stays text"
    png = (tmp_path / "figure.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) > 5_000
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF-")
    assert {path.name for path in tmp_path.iterdir()} == {f"figure.{k}" for k in
                                                         ("svg", "png", "pdf")}  # fmt: skip


def test_the_same_picture_is_the_same_file(
    con: duckdb.DuckDBPyConnection, selection: ChosenSelection, tmp_path: Path
) -> None:
    for kind in ("svg", "pdf", "png"):
        file = tmp_path / f"hubs.{kind}"
        plot(con, selection, "hubs", file)
        before = file.read_bytes()
        plot(con, selection, "hubs", file)
        assert file.read_bytes() == before


def test_the_axes_are_labelled_with_units(
    con: duckdb.DuckDBPyConnection, selection: ChosenSelection, tmp_path: Path
) -> None:
    wanted = {
        "layers": ("Pairs of fact and neuron (%)", "Layer of synthetic"),
        "overlap": ("capital (P36)", "Shared knowledge neurons per pair of facts (mean)"),
        "hubs": ("Entropy over their relations (bits)", "Facts that it serves"),
        "effects": ("Measured Δ log P(answer) (nats)", "Predicted interference"),
    }
    for what, labels in wanted.items():
        plot(con, selection, what, tmp_path / "figure.svg")
        root = ET.parse(tmp_path / "figure.svg").getroot()
        text = " ".join("".join(node.itertext()) for node in root.iter(f"{SVG}text"))
        for label in labels:
            assert label in text, what


def test_layers_and_hubs_are_what_the_synthetic_atlas_was_made_of(
    con: duckdb.DuckDBPyConnection, selection: ChosenSelection
) -> None:
    # 18 facts, each with the hub and its relation's neuron in the last layer, its own in the first
    uses = layer_uses(con, selection)
    assert [(use.layer, use.uses, use.neurons) for use in uses] == [
        (0, 18, 18),
        (1, 0, 0),
        (2, 0, 0),
        (3, 36, 4),
    ]
    hub, *others = hub_points(con, selection)
    assert (hub.layer, hub.neuron, hub.facts) == (3, 0, 18)
    assert hub.entropy == pytest.approx(1.584962500721156)  # log2(3)
    assert {other.entropy for other in others} == {0.0}


def test_a_facts_effect_on_itself_is_not_among_the_effects_on_others(
    con: duckdb.DuckDBPyConnection, selection: ChosenSelection
) -> None:
    found = [(p.predicted, p.flipped) for p in suppression_effects(con, selection)]
    assert found == [(0.25, True), (pytest.approx(1 / 6), False)]


def test_an_edit_draws_only_what_it_did_to_other_facts(made: Synthetic, tmp_path: Path) -> None:
    path = tmp_path / "atlas.duckdb"
    own = build(path)
    with own.atlas.writing() as connection:
        connection.execute(
            """
            INSERT INTO edits
            SELECT 1, 'd', 'update', 'paper', r.model_id, 'w', r.run_id, $selection_id, 'P36',
                   'P36-0', 'Land 0', 'Town 0', 'Town 1', 3, 1.0, 'stored', '0', now()::TIMESTAMP,
                   0.1, '{}'
            FROM runs AS r
            """,
            {"selection_id": own.selection_id},
        )
        connection.execute(
            """
            INSERT INTO side_effects
            SELECT 1, prompt_id, 0.25, 0.5, 0.25, 1, 2, 'a', 'b'
            FROM prompts
            WHERE fact_id IN ('P36-0', 'P36-1', 'P37-1')
            """
        )
    with own.atlas.reading() as connection:
        chosen = choose_selection(connection)
        assert plot(connection, chosen, "effects", tmp_path / "e.svg", edit_id=1).points == 2
        with pytest.raises(NotFound, match="atlas edit check 2"):
            plot(connection, chosen, "effects", tmp_path / "e.svg", edit_id=2)


def test_an_empty_selection_is_one_line_and_no_file(tmp_path: Path) -> None:
    atlas: Atlas = open_atlas(tmp_path / "atlas.duckdb", create=True)
    with atlas.writing() as connection:
        run_id = begin(connection, synthetic_dataset())
        connection.execute(
            """
            INSERT INTO selections
            VALUES ('empty', $run_id, 'paper', 0.2, 0.7, '>=', 3, now()::TIMESTAMP,
                    now()::TIMESTAMP, '{}', 'paper', FALSE)
            """,
            {"run_id": run_id},
        )
    with atlas.reading() as connection:
        selection = choose_selection(connection)
        for what in DRAWINGS:
            with pytest.raises(NotFound) as error:
                plot(connection, selection, what, tmp_path / "figure.svg")
            assert "\n" not in str(error.value)
    assert not (tmp_path / "figure.svg").exists()


def test_another_format_or_place_is_refused(
    con: duckdb.DuckDBPyConnection, selection: ChosenSelection, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"\.svg, \.png or \.pdf"):
        plot(con, selection, "hubs", tmp_path / "figure.gif")
    with pytest.raises(SettingsError, match="there is no directory"):
        plot(con, selection, "hubs", tmp_path / "none" / "figure.svg")
