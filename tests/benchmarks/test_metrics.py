"""Numbers of an evaluation that can be worked out on paper."""

from math import log2

import pytest

from atlas.benchmarks.metrics import begins_with, ngram_entropy


def test_entropy_weighs_bigrams_and_trigrams_as_rome_does() -> None:
    assert ngram_entropy("a b a b") == pytest.approx(
        (2 / 3 * (2 / 3 * log2(3 / 2) + 1 / 3 * log2(3)) + 4 / 3 * 1) / 2
    )
    assert ngram_entropy("no no no no no") == 0
    assert ngram_entropy("a b, c") == pytest.approx((2 / 3 * log2(3) + 4 / 3 * 1) / 2)
    assert ngram_entropy("two words") is None


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        (" Paris, of course", "Paris", True),
        ("paris", "Paris", True),
        ("Parisian life", "Paris", False),
        ("New York", "New York City", False),
        ("the city of Paris", "Paris", False),
        ("東京都です", "東京", True),
        ("", "Paris", False),
    ],
)
def test_an_answer_is_said_where_a_text_begins_with_it(text: str, answer: str, right: bool) -> None:
    assert begins_with(text, answer) is right
