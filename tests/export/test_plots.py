"""Figures: sound files, with the data and the caption that belong to them."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from figure_texts import faults, svg_sizes, svg_text
from plotted import OF, build_plotted
from synthetic import Synthetic, begin, build, synthetic_dataset

from atlas.atlas import Atlas, open_atlas
from atlas.errors import DiskFull, NotFound, SettingsError
from atlas.export import figure_files
from atlas.export.drawings.drawing import Request
from atlas.export.figures import parse_size, styled
from atlas.export.plots import DRAWINGS, Plotted, plot
from atlas.selection.chosen import ChosenSelection, choose_selection


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return build_plotted(tmp_path_factory.mktemp("plots") / "atlas.duckdb")


@pytest.fixture
def connection(made: Synthetic) -> Iterator[duckdb.DuckDBPyConnection]:
    with made.atlas.reading() as connection:
        yield connection


@pytest.fixture
def selection(connection: duckdb.DuckDBPyConnection) -> ChosenSelection:
    return choose_selection(connection)


def rows_of(drawn: Plotted) -> list[dict[str, str]]:
    with Path(drawn.data_file).open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))


@pytest.mark.parametrize("what", DRAWINGS)
def test_every_figure_is_a_sound_svg_png_and_pdf(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, what: str, tmp_path: Path
) -> None:
    for kind in ("svg", "png", "pdf"):
        drawn = plot(connection, selection, what, tmp_path / f"figure.{kind}", **OF.get(what, {}))
        assert drawn.points > 0
    assert svg_text(tmp_path / "figure.svg").strip(), "text stays text"
    assert min(svg_sizes(tmp_path / "figure.svg")) >= 6
    png = (tmp_path / "figure.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) > 5_000
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF-")
    assert {path.name for path in tmp_path.iterdir()} == {f"figure.{k}" for k in
                                                         ("svg", "png", "pdf", "csv")}  # fmt: skip


@pytest.mark.parametrize("what", DRAWINGS)
def test_the_data_beside_a_figure_say_where_they_come_from(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, what: str, tmp_path: Path
) -> None:
    drawn = plot(connection, selection, what, tmp_path / "figure.svg", **OF.get(what, {}))
    assert drawn.data_file == str(tmp_path / "figure.csv")
    rows = rows_of(drawn)
    assert len(rows) == drawn.points == sum(panel.rows for panel in drawn.panels)
    assert {(row["figure"], row["model"], row["run_id"], row["selection_id"]) for row in rows} == {
        (what, "synthetic", selection.run_id, selection.selection_id)
    }
    assert [panel.panel for panel in drawn.panels] == list(
        dict.fromkeys(row["panel"] for row in rows)
    )


@pytest.mark.parametrize("what", DRAWINGS)
def test_a_caption_names_n_model_run_and_selection(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, what: str, tmp_path: Path
) -> None:
    drawn = plot(connection, selection, what, tmp_path / "figure.svg", **OF.get(what, {}))
    assert "n = " in drawn.caption
    assert "\n" not in drawn.caption
    assert drawn.caption.endswith(
        f"Model synthetic, run {selection.run_id}, selection paper ({selection.selection_id}): "
        "score >= 0.2 of a prompt's largest, in >= 0.7 of a fact's prompts and at least 3, "
        "preset paper."
    )
    assert drawn.caption.split("(")[0] in (tmp_path / "figure.svg").read_text()


@pytest.mark.parametrize("size", ["column", "page"])
@pytest.mark.parametrize("what", DRAWINGS)
@pytest.mark.parametrize("relations", [2, 4])
def test_no_text_touches_other_text_or_leaves_the_figure(
    tmp_path: Path, what: str, size: str, relations: int
) -> None:
    made = build_plotted(tmp_path / "atlas.duckdb", relations, facts=relations * 2)
    with made.atlas.reading() as connection, styled():
        chosen = choose_selection(connection)
        request = Request(
            connection, chosen, size=parse_size(size), title="A title", **OF.get(what, {})
        )
        assert faults(DRAWINGS[what].draw(request).figure) == []


def test_a_hundred_neurons_in_thirty_layers_have_ticks_and_names_that_do_not_touch(
    tmp_path: Path,
) -> None:
    made = build(tmp_path / "atlas.duckdb", relations=4, facts=25)
    with made.atlas.writing() as connection:
        connection.execute("UPDATE models SET layers = 30, name = '/models/SmolLM2.Q8_0.gguf'")
        connection.execute(
            """
            UPDATE knowledge_neurons
            SET layer = (neuron * 7) % 30
            WHERE layer = 0
            """
        )
    with made.atlas.reading() as connection, styled():
        chosen = choose_selection(connection)
        for what in ("hubs", "layers"):
            for size in ("column", "page"):
                request = Request(connection, chosen, size=parse_size(size))
                drawn = DRAWINGS[what].draw(request)
                assert faults(drawn.figure) == []
                assert "SmolLM2.Q8_0" in drawn.caption + drawn.source.sentence
                assert ".gguf" not in drawn.caption + drawn.source.sentence
                labels = [
                    label.get_text()
                    for axes in drawn.figure.axes
                    for label in (*axes.get_xticklabels(), *axes.get_yticklabels())
                ]
                assert "29" in labels, "the last layer is named"


def test_panels_have_letters_and_the_figure_a_title(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, tmp_path: Path
) -> None:
    for what in DRAWINGS:
        drawn = plot(
            connection,
            selection,
            what,
            tmp_path / "figure.svg",
            title="Own words",
            **OF.get(what, {}),
        )
        assert "Own words" in svg_text(tmp_path / "figure.svg")
        letters = "".join(panel.panel for panel in drawn.panels)
        assert letters == "ab"
        for letter in letters:
            assert f" {letter} " in f" {svg_text(tmp_path / 'figure.svg')} ", what


@pytest.mark.parametrize(
    ("size", "inches"),
    [("column", 3.5), ("page", 7.2), ("90x60mm", 90 / 25.4), ("4.5x3", 4.5), ("10 x 6 cm", 3.937)],
)
def test_a_figure_has_the_size_asked_for(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    tmp_path: Path,
    size: str,
    inches: float,
) -> None:
    plot(connection, selection, "layers", tmp_path / "figure.svg", size=size)
    assert f'width="{72 * inches:.3f}'[:10] in (tmp_path / "figure.svg").read_text()


@pytest.mark.parametrize("size", ["huge", "3", "0x0", "90x60ft", "1x1", "100x100", "2x1.5"])
def test_a_size_that_cannot_be_is_refused_in_one_line(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, tmp_path: Path, size: str
) -> None:
    with pytest.raises(SettingsError) as error:
        plot(connection, selection, "overlap", tmp_path / "figure.svg", size=size)
    assert "\n" not in str(error.value)
    assert error.value.parameters == ("size",)
    assert list(tmp_path.iterdir()) == []


def test_a_figure_too_low_for_its_rows_is_refused(tmp_path: Path) -> None:
    made = build_plotted(tmp_path / "atlas.duckdb", templates=24)
    with made.atlas.reading() as connection:
        chosen = choose_selection(connection)
        for what in ("edit", "fact"):
            plot(connection, chosen, what, tmp_path / "figure.svg", **OF[what])
            with pytest.raises(SettingsError, match="wider or higher"):
                plot(connection, chosen, what, tmp_path / "low.svg", size="7x2", **OF[what])
    assert not list(tmp_path.glob("low*"))


def test_the_same_picture_is_the_same_file(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, tmp_path: Path
) -> None:
    for what, kind in [*((what, "svg") for what in DRAWINGS), ("hubs", "pdf"), ("hubs", "png")]:
        file = tmp_path / f"figure.{kind}"
        plot(connection, selection, what, file, **OF.get(what, {}))
        before = file.read_bytes(), (tmp_path / "figure.csv").read_bytes()
        plot(connection, selection, what, file, **OF.get(what, {}))
        assert (file.read_bytes(), (tmp_path / "figure.csv").read_bytes()) == before


def test_the_axes_are_labelled_with_units(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, tmp_path: Path
) -> None:
    wanted = {
        "layers": ("Share of all pairs (%)", "Layer of synthetic", "chance"),
        "overlap": ("capital (P36)", "Shared neurons per pair of facts", "square-root scale"),
        "hubs": ("Entropy over their relations (bits)", "Facts that it serves"),
        "effects": ("Measured Δ log P(answer) (nats)", "Predicted interference (%"),
        "fact": ("Score / largest score of the prompt", "P(answer)", "Capital 0 of Land 0 is [Y]."),
        "edit": ("P(object)", "Right answers lost (%)", "Town 0 (old)", "Town 1 (new)"),
    }
    assert set(wanted) == set(DRAWINGS)
    for what, labels in wanted.items():
        plot(connection, selection, what, tmp_path / "figure.svg", **OF.get(what, {}))
        for label in labels:
            assert label in svg_text(tmp_path / "figure.svg"), what


def test_an_empty_selection_is_one_line_and_no_file(tmp_path: Path) -> None:
    atlas: Atlas = open_atlas(tmp_path / "atlas.duckdb", create=True)
    with atlas.writing() as connection:
        run_id = begin(connection, synthetic_dataset())
        connection.execute(
            """
            INSERT INTO selections (selection_id, run_id, preset, ratio, sharing, comparison,
                                    min_prompts, created_at, asked_at, settings, name,
                                    associated, known_only)
            VALUES ('empty', $run_id, 'paper', 0.2, 0.7, '>=', 3, now()::TIMESTAMP,
                    now()::TIMESTAMP, '{}', 'paper', FALSE, TRUE)
            """,
            {"run_id": run_id},
        )
    (tmp_path / "out").mkdir()
    with atlas.reading() as connection:
        selection = choose_selection(connection)
        for what in DRAWINGS:
            with pytest.raises(NotFound) as error:
                plot(connection, selection, what, tmp_path / "out/f.svg", **OF.get(what, {}))
            assert "\n" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_another_figure_format_or_place_is_refused(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"no figure 'hub'; there are layers, overlap, hubs"):
        plot(connection, selection, "hub", tmp_path / "figure.svg")
    with pytest.raises(SettingsError, match=r"\.svg, \.png or \.pdf"):
        plot(connection, selection, "hubs", tmp_path / "figure.gif")
    with pytest.raises(SettingsError, match="there is no directory"):
        plot(connection, selection, "hubs", tmp_path / "none" / "figure.svg")
    (tmp_path / "taken.svg").mkdir()
    with pytest.raises(SettingsError, match="is a directory"):
        plot(connection, selection, "hubs", tmp_path / "taken.svg")


@pytest.mark.parametrize(
    ("what", "given", "parameter"),
    [
        ("layers", {"edit_id": 1}, "edit_id"),
        ("hubs", {"relation": "P36"}, "relation"),
        ("overlap", {"fact": "P36-0"}, "fact"),
        ("fact", {}, "fact"),
        ("edit", {}, "edit_id"),
    ],
)
def test_what_a_figure_does_not_take_or_cannot_do_without_is_said(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    tmp_path: Path,
    what: str,
    given: dict[str, Any],
    parameter: str,
) -> None:
    with pytest.raises(SettingsError, match=f"^{what} is (not )?drawn of one") as error:
        plot(connection, selection, what, tmp_path / "figure.svg", **given)
    assert error.value.parameters == (parameter,)


def test_a_table_of_somebody_elses_is_not_replaced_by_a_figures_data(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, tmp_path: Path
) -> None:
    (tmp_path / "facts.csv").write_text("subject,object\nFrance,Paris\n")
    with pytest.raises(SettingsError, match="which no figure wrote"):
        plot(connection, selection, "hubs", tmp_path / "facts.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["facts.csv"]
    assert (tmp_path / "facts.csv").read_text() == "subject,object\nFrance,Paris\n"


@pytest.mark.parametrize("broken", ["savefig", "_write_rows"])
def test_what_cannot_be_written_leaves_the_earlier_figure_as_it_was(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    from matplotlib.figure import Figure

    plot(connection, selection, "hubs", tmp_path / "figure.svg")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Figure if broken == "savefig" else figure_files, broken, full)
    with pytest.raises(DiskFull, match="disk is full"):
        plot(connection, selection, "layers", tmp_path / "figure.svg")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
