"""`atlas plot`."""

from pathlib import Path

import pytest
from invocation import run
from synthetic import Synthetic

from atlas.export.plots import DRAWINGS


def test_a_figure_is_drawn_and_named(asked: Synthetic, tmp_path: Path) -> None:
    file = tmp_path / "layers.svg"
    result = run("plot", "layers", "--to", str(file), on=asked)
    assert result.exit_code == 0
    assert result.stdout.startswith("Layers of the knowledge neurons of all relations (n = 12 ")
    assert result.stdout.count("\n") == 1, "the caption, to paste"
    assert result.stderr == (
        f"Drew layers of selection {asked.selection_id} into {file}, "
        f"its data into {tmp_path / 'layers.csv'}.\n"
    )
    assert file.read_text().startswith("<?xml")
    assert (tmp_path / "layers.csv").read_text().startswith("figure,panel,model,run_id,")


def test_a_figure_takes_a_title_a_size_and_what_it_is_about(
    asked: Synthetic, tmp_path: Path
) -> None:
    for words in (
        ("layers", "--relation", "capital", "--title", "Own words", "--size", "column"),
        ("fact", "--fact", "P36-0", "--title", "Own words", "--size", "120x80mm"),
    ):
        result = run("plot", *words, "--to", str(tmp_path / "f.svg"), on=asked)
        assert result.exit_code == 0, result.stderr
        assert "Own words" in (tmp_path / "f.svg").read_text()


def test_help_has_a_line_for_every_figure(asked: Synthetic) -> None:
    printed = run("plot", "--help", on=asked).stdout
    width = 2 + max(map(len, DRAWINGS))
    for name, drawing in DRAWINGS.items():
        assert f"  {name:<{width}}{drawing.about}\n" in printed


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("effects", "--to", "x.svg"), 1, "nothing to draw"),
        (("layers", "--to", "x.gif"), 1, "(--to FILE)"),
        (("layers", "--to", "x.svg", "--selection", "zz"), 1, "zz"),
        (("layers", "--to", "x.svg", "--edit", "1"), 1, "(--edit EDIT)"),
        (("fact", "--to", "x.svg"), 1, "(--fact FACT)"),
        (("layers", "--to", "x.svg", "--size", "big"), 1, "(--size SIZE)"),
        (("layer", "--to", "x.svg"), 2, "layer"),
        (("layers",), 2, "--to"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    asked: Synthetic, words: tuple[str, ...], code: int, says: str
) -> None:
    result = run("plot", *words, on=asked)
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1), words
    assert says in result.stderr
