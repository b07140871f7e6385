"""Pages by themselves, as a notebook shows them, and the tables of answers."""

import pytest
from synthetic import Synthetic

from atlas.answers import Listed
from atlas.errors import SettingsError
from atlas.facts import FactColumns
from atlas.html_tables import number, table


@pytest.mark.parametrize(
    ("what", "name", "said"),
    [
        ("overview", "", "15 knowledge neurons"),
        ("relation", "capital", "6 of 6 measured facts known"),
        ("fact", "Land 0:P36", "Land 0"),
        ("neuron", "3:0", "Serves 12 facts in 2 relations"),
    ],
)
def test_a_page_by_itself_needs_nothing_else(
    synthetic: Synthetic, what: str, name: str, said: str
) -> None:
    page = synthetic.atlas.page(what, name)  # type: ignore[arg-type]
    assert said in page.html
    assert "<style>" in page.html
    assert "<script" not in page.html
    assert "href=" not in page.html
    shown = page._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "sandbox" in shown
    assert repr(page).startswith(f"ShownPage({what!r}, ")


def test_there_is_no_other_page(synthetic: Synthetic) -> None:
    with pytest.raises(SettingsError, match="there is no page 'facts': choose overview, relation"):
        synthetic.atlas.page("facts")  # type: ignore[arg-type]


def test_an_answer_shows_the_pages_own_table(synthetic: Synthetic) -> None:
    shown = synthetic.atlas.neuron(3, 0)._repr_html_()
    assert '<th scope="col" class="n">mean score</th>' in shown
    assert "<td>Land 0</td>" in shown
    assert "0.300" in shown


def test_text_in_any_script_stays_in_its_cell() -> None:
    row = FactColumns("P1", "<b>", "P1-0", "\u202eabc", "x" * 300)
    shown = table([row], [("fact", "fact"), ("relation", "relation")])
    assert "<bdi>\u202eabc</bdi>" in shown
    assert "&lt;b&gt;" in shown
    assert "x" * 199 + "…" in shown
    assert "<b>" not in Listed((row,))._repr_html_().replace("<b>Listed</b>", "")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (1234567, "1,234,567"),
        (0.0, "0"),
        (0.018934, "0.0189"),
        (-0.5, "-0.500"),
        (123.456, "123"),
        (12345.6, "12,346"),
        (0.000012, "1.2e-05"),
        (float("nan"), "–"),
    ],
)
def test_numbers_have_three_digits(value: float, said: str) -> None:
    assert number(value) == said
