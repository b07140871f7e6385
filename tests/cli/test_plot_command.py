"""`atlas plot`."""

from pathlib import Path

from invocation import run
from synthetic import Synthetic


def test_a_figure_is_drawn_and_named(asked: Synthetic, tmp_path: Path) -> None:
    file = tmp_path / "layers.svg"
    result = run("plot", "layers", "--to", str(file), on=asked)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"Drew layers of selection paper ({asked.selection_id}) into {file}.\n"
    assert file.read_text().startswith("<?xml")


def test_what_cannot_be_drawn_is_one_line(asked: Synthetic, tmp_path: Path) -> None:
    for words, code in (
        (("effects", "--to", "x.svg"), 1),
        (("layers", "--to", "x.gif"), 1),
        (("layers", "--to", "x.svg", "--selection", "zz"), 1),
        (("layers", "--to", "x.svg", "--edit", "1"), 2),
        (("layer", "--to", "x.svg"), 2),
        (("layers",), 2),
    ):
        result = run("plot", *words, on=asked)
        assert (result.exit_code, result.stderr.count("\n")) == (code, 1), words
