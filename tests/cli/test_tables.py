"""Tables that fit, tables that must fold, and what is in their cells."""

from dataclasses import dataclass

import pytest
from atlas_cli import render, tables

COLUMNS = ("neuron", "prompt", "score")
TEXT = "The capital of Ireland is [Y], as everybody in Europe knows."
ROWS = [("3:117", TEXT, 0.5), ("12:5", "Łódź is in 波兰.", 0.25)]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if stdout were a terminal of 40 columns."""
    monkeypatch.setattr(tables, "available", lambda: 40)


def test_a_piped_table_is_as_wide_as_its_contents(capsys: pytest.CaptureFixture[str]) -> None:
    tables.draw_table(COLUMNS, ROWS, "Title [MASK]", grouped=True)
    assert capsys.readouterr().out == (
        "Title [MASK]\n"
        "neuron  prompt                                                        score\n"
        "───────────────────────────────────────────────────────────────────────────\n"
        " 3:117  The capital of Ireland is [Y], as everybody in Europe knows.  0.500\n"
        "  12:5  Łódź is in 波兰.                                              0.250\n"
    )


@pytest.mark.usefixtures("terminal")
def test_a_narrow_terminal_folds_text_and_keeps_numbers_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tables.draw_table(COLUMNS, ROWS, grouped=True)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[0] == "neuron  prompt                     score"
    assert " ".join(line[8:33].strip() for line in lines[2:5]) == TEXT
    assert [line[:6] + line[-5:] for line in lines if "0." in line] == [
        " 3:1170.500",
        "  12:50.250",
    ]


@pytest.mark.usefixtures("terminal")
def test_a_terminal_too_narrow_for_the_columns_says_which_it_leaves_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    columns = [f"column_{i}" for i in range(12)]
    tables.draw_table(columns, [range(12)], grouped=True, drop=("column_0",))
    head, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == columns[1:5]
    said = " ".join(line.strip() for line in rest[2:])
    assert said.startswith("Too narrow for column_0, column_5, ")
    assert said.endswith("--format csv shows them.")


@pytest.mark.usefixtures("terminal")
def test_a_head_of_several_words_goes_over_several_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    columns = ["neuron", "predicted interference", "mean score", "facts of it"]
    tables.draw_table(columns, [["5:153", 0.5, 0.25, 3]], grouped=True)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[0].split()[-3:] == ["predicted", "mean", "facts"]


@pytest.mark.usefixtures("terminal")
def test_a_long_line_is_folded_between_words_but_within_no_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tables.draw_line("  words that need more than forty columns, and `atlas query --fact Ireland`")
    assert capsys.readouterr().out.splitlines() == [
        "  words that need more than forty",
        "    columns, and",
        "    `atlas query --fact Ireland`",
    ]


def test_control_characters_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    tables.draw_table(["top answer"], [["\n"], ["a\tb"], ["\x1b[31m"]], grouped=True)
    assert capsys.readouterr().out.splitlines()[2:] == ["\\n", "a\\tb", "\\x1b[31m"]


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ([0.5, 12.0, 0.0], ["0.500", "12.000", "0.000"]),
        ([0.5, 0.00001], ["0.5", "1e-05"]),
        ([1234567, None], ["1,234,567", ""]),
        ([True, False], ["yes", "no"]),
        ([float("nan"), 0.25], ["nan", "0.250"]),
    ],
)
def test_numbers_are_rounded_for_reading(values: list[object], cells: list[str]) -> None:
    assert tables.written(values, grouped=True) == cells


def test_numbers_of_a_user_s_own_query_are_not_grouped() -> None:
    assert tables.written([20261122], grouped=False) == ["20261122"]


def test_bars_are_as_long_as_their_values(capsys: pytest.CaptureFixture[str]) -> None:
    tables.draw_bars(["layer 0", "layer 1"], [10, 5], "Layers")
    assert capsys.readouterr().out == f"Layers\nlayer 0  10  {'█' * 40}\nlayer 1   5  {'█' * 20}\n"


def test_bars_of_nothing_are_empty(capsys: pytest.CaptureFixture[str]) -> None:
    tables.draw_bars(["layer 0"], [0], "Layers")
    assert capsys.readouterr().out == "Layers\nlayer 0  0\n"


@dataclass(frozen=True)
class Row:
    layer: int
    neuron: int
    p_answer: float
    reason: str | None


def test_rows_of_a_dataclass_have_one_column_for_the_neuron_and_none_without_value(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.emit([Row(3, 117, 0.5, None)], "table", headers={"p_answer": "P(answer)"})
    assert capsys.readouterr().out == ("neuron  P(answer)\n─────────────────\n 3:117      0.500\n")


def test_json_and_csv_have_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    render.emit([Row(3, 117, 1 / 3, None)], "csv", hide=("p_answer",))
    assert capsys.readouterr().out == ("layer,neuron,p_answer,reason\n3,117,0.3333333333333333,\n")
    render.emit([], "csv", kind=Row)
    assert capsys.readouterr().out == "layer,neuron,p_answer,reason\n"


def test_an_empty_table_is_its_title(capsys: pytest.CaptureFixture[str]) -> None:
    render.emit([], "table", kind=Row, title="Nothing found")
    assert capsys.readouterr().out == "Nothing found\n"
    render.emit([], "table")
    assert capsys.readouterr().out == ""
