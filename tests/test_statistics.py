"""Rank correlation and separation, against what they are by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_ranks import naive_spearman

from atlas import statistics
from atlas.statistics import separation, spearman


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([1, 2, 3], [10, 20, 21], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 2, 3], [1, 2, 3, 4], 3 / math.sqrt(10)),  # ranks 1 2.5 2.5 4 against 1 2 3 4
        ([0, 0, 1, 1], [1, 2, 3, 4], 2 / math.sqrt(5)),  # ranks 1.5 1.5 3.5 3.5
    ],
)
def test_spearman_of_small_samples_is_what_it_is_by_hand(
    x: list[float], y: list[float], expected: float
) -> None:
    assert spearman(x, y) == pytest.approx(expected)


def test_spearman_agrees_with_counting_ranks_pair_by_pair_also_with_many_ties() -> None:
    x = [(7 * i) % 5 for i in range(60)]
    y = [(i * i) % 11 - x[i] / 2 for i in range(60)]
    assert spearman(x, y) == pytest.approx(naive_spearman(x, y))


@pytest.mark.parametrize(("x", "y"), [([], []), ([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3])])
def test_spearman_of_too_few_pairs_or_of_equal_values_is_none(x: list[int], y: list[int]) -> None:
    assert spearman(x, y) is None


@given(st.lists(st.integers(0, 5)), st.lists(st.integers(0, 5)))
def test_the_separation_is_the_area_under_the_roc_curve(
    first: list[int], second: list[int]
) -> None:
    found = separation(first, second)
    if not first or not second:
        assert found is None
        return
    # trapezia under the curve of true against false positive rates, threshold by threshold
    thresholds = sorted({*first, *second}, reverse=True)
    hits = [0.0, *(sum(a >= t for a in first) / len(first) for t in thresholds)]
    alarms = [0.0, *(sum(b >= t for b in second) / len(second) for t in thresholds)]
    area = np.trapezoid(hits, alarms)
    assert found == pytest.approx(float(area))


def test_an_interval_does_not_depend_on_how_many_values_are_drawn_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = np.random.default_rng(3)
    above, below = draw.normal(2, 1, 37).tolist(), draw.normal(1, 0.1, 37).tolist()
    whole = statistics.ratio_interval(above, below, seed=5)
    for at_once in (1, 37, 1000, 37 * 700):
        monkeypatch.setattr(statistics, "AT_ONCE", at_once)
        assert statistics.ratio_interval(above, below, seed=5) == whole
