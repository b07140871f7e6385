"""Which intervals of a path the adaptive rule halves."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from atlas.engine.integration import _to_halve

GAPS = st.lists(
    st.tuples(st.integers(0, 3), st.floats(-1, 1).filter(lambda gap: abs(gap) > 1e-6)),
    min_size=1,
    max_size=20,
)
ALLOWED = [0.3, 0.5, 1.0, 2.0]


def halved(cells, allowed=ALLOWED):
    """The mask for cells (pair, gap)."""
    pair, gap = (np.array(column) for column in zip(*cells, strict=True))
    chosen = _to_halve(
        torch.tensor(pair), torch.tensor(gap, dtype=torch.float32), torch.tensor(allowed)
    )
    return chosen.tolist()


def test_a_path_within_what_is_allowed_is_left_alone():
    assert halved([(0, 0.2), (0, -0.2), (1, 0.49)]) == [False, False, False]


def test_large_gaps_that_cancel_are_no_excuse():
    assert halved([(2, 0.9), (2, -0.9)]) == [True, True]


def test_small_gaps_that_add_up_are_no_excuse_either():
    # Of nine gaps the root of the sum of squares is 0.45, the sum 1.35.
    chosen = halved([(2, 0.15 + 0.001 * i) for i in range(9)])
    assert 0 < sum(chosen) < 9
    assert chosen == sorted(chosen)  # the largest are halved


def test_the_best_are_kept_as_far_as_half_of_what_is_allowed_goes():
    # Squares 0.01, 0.09, 0.36, 0.81 of a path allowed 1: 0.01 + 0.09 + 0.36 fit 0.5, 0.81 does not.
    assert halved([(2, 0.9), (2, -0.1), (2, 0.3), (2, -0.6)]) == [True, False, False, False]


def test_effects_whose_square_float32_cannot_hold_are_judged_like_any():
    cells = [(2, 0.9), (2, -0.1), (2, 0.3), (2, -0.6), (1, 0.2)]
    small = [(pair, 1e-25 * gap) for pair, gap in cells]
    assert halved(small, [1e-25 * allowed for allowed in ALLOWED]) == halved(cells)


@given(GAPS)
def test_something_is_halved_exactly_where_a_path_is_over_and_then_its_largest(cells):
    chosen = halved(cells)
    for pair, allowed in enumerate(ALLOWED):
        gaps = np.array([gap for number, gap in cells if number == pair], np.float32)
        theirs = np.array(
            [c for c, (number, _) in zip(chosen, cells, strict=True) if number == pair]
        )
        size = max(abs(gaps.sum(dtype=float)), np.sqrt((gaps.astype(float) ** 2).sum()))
        if abs(size - allowed) < 1e-5:
            continue  # rounding decides
        assert theirs.any() == (size > allowed)
        if theirs.any() and not theirs.all():
            assert abs(gaps[theirs]).min() >= abs(gaps[~theirs]).max()


@given(GAPS, st.randoms(use_true_random=False))
def test_the_order_of_intervals_does_not_matter(cells, random):
    cells = list({abs(gap): (pair, gap) for pair, gap in cells}.values())  # no ties
    places = list(range(len(cells)))
    random.shuffle(places)
    chosen = halved(cells)
    assert halved([cells[place] for place in places]) == [chosen[place] for place in places]
