"""Quadrature rules against integrals and sums done by hand."""

import numpy as np
import pytest

from atlas.errors import SettingsError
from atlas.quadrature import FIXED_RULES, RULES, clenshaw_curtis, fixed

LEVELS = (2, 4, 8, 16, 32, 64, 128)


def integral(rule, function):
    """What a rule makes of ∫₀¹ function."""
    return float(rule.weights @ function(rule.alphas))


@pytest.mark.parametrize("points", [1, 2, 3, 8, 20])
def test_gauss_legendre_is_exact_up_to_degree_2m_minus_1_and_no_further(points):
    rule = fixed("gauss-legendre", points)
    for degree in range(2 * points):
        exact = 1 / (degree + 1)
        assert integral(rule, lambda a, d=degree: a**d) == pytest.approx(exact, rel=1e-12)
    # The error for the next monomial is known: (m!)⁴ / ((2m)!² (2m+1)), 1/180 for two points.
    if points <= 3:
        error = 1 / (2 * points + 1) - integral(rule, lambda a: a ** (2 * points))
        assert error == pytest.approx({1: 1 / 12, 2: 1 / 180, 3: 1 / 2800}[points], rel=1e-9)


@pytest.mark.parametrize("intervals", LEVELS)
def test_clenshaw_curtis_is_exact_up_to_its_number_of_intervals(intervals):
    rule = clenshaw_curtis(intervals)
    for degree in {0, 1, 2, intervals // 2, intervals - 1, intervals, intervals + 1}:
        exact = 1 / (degree + 1)
        assert integral(rule, lambda a, d=degree: a**d) == pytest.approx(exact, rel=1e-12)
    # exactness stops at degree intervals + 1, which symmetry about ½ grants
    if intervals <= 8:
        degree = intervals + 2
        assert abs(integral(rule, lambda a: a**degree) - 1 / (degree + 1)) > 1e-8


def test_clenshaw_curtis_with_two_intervals_is_simpsons_rule():
    rule = clenshaw_curtis(2)
    np.testing.assert_allclose(rule.alphas, [0, 1 / 2, 1], atol=1e-15)
    np.testing.assert_allclose(rule.weights, [1 / 6, 4 / 6, 1 / 6], atol=1e-15)


def test_clenshaw_curtis_with_four_intervals_by_hand():
    rule = clenshaw_curtis(4)
    quarter = (1 - np.sqrt(1 / 2)) / 2
    np.testing.assert_allclose(rule.alphas, [0, quarter, 1 / 2, 1 - quarter, 1], atol=1e-15)
    np.testing.assert_allclose(
        rule.weights, np.array([1 / 15, 8 / 15, 4 / 5, 8 / 15, 1 / 15]) / 2, atol=1e-15
    )


def test_each_clenshaw_curtis_level_keeps_the_points_of_the_one_before():
    for intervals in LEVELS[:-1]:
        coarse, fine = clenshaw_curtis(intervals), clenshaw_curtis(2 * intervals)
        np.testing.assert_allclose(fine.alphas[::2], coarse.alphas, atol=1e-15)


def test_clenshaw_curtis_includes_both_ends_exactly():
    for intervals in LEVELS:
        rule = clenshaw_curtis(intervals)
        assert rule.alphas[0] == 0
        assert rule.alphas[-1] == 1


def test_the_finest_clenshaw_curtis_level_integrates_a_steep_sigmoid():
    def slope(a):
        return 50 / (2 + 2 * np.cosh(50 * (a - 0.3)))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    exact = sigmoid(50 * 0.7) - sigmoid(-50 * 0.3)
    assert integral(clenshaw_curtis(128), slope) == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize("rule", FIXED_RULES)
@pytest.mark.parametrize("points", [1, 2, 7, 20])
def test_points_ascend_within_0_and_1_and_weights_sum_to_1(rule, points):
    made = fixed(rule, points)
    assert made.alphas.shape == made.weights.shape == (points,)
    assert (np.diff(made.alphas) > 0).all()
    assert made.alphas.min() >= 0
    assert made.alphas.max() <= 1
    assert (made.weights > 0).all()
    assert made.weights.sum() == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("intervals", LEVELS)
def test_clenshaw_curtis_weights_are_positive_and_sum_to_1(intervals):
    rule = clenshaw_curtis(intervals)
    assert rule.alphas.shape == rule.weights.shape == (intervals + 1,)
    assert (np.diff(rule.alphas) > 0).all()
    assert (rule.weights > 0).all()
    assert rule.weights.sum() == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize(
    ("rule", "alphas"),
    [
        ("riemann-left", [0, 1 / 4, 2 / 4, 3 / 4]),
        ("riemann-right", [1 / 4, 2 / 4, 3 / 4, 1]),
        ("riemann-linspace", [0, 1 / 3, 2 / 3, 1]),
    ],
)
def test_a_riemann_rule_takes_these_four_points_with_equal_weights(rule, alphas):
    made = fixed(rule, 4)
    np.testing.assert_allclose(made.alphas, alphas, atol=1e-15)
    np.testing.assert_array_equal(made.weights, [1 / 4] * 4)


def test_riemann_sums_of_a_square_by_hand():
    # ∫₀¹ α² dα = 1/3, by four points: (0 + 1 + 4 + 9)/64, (1 + 4 + 9 + 16)/64, (0 + 1 + 4 + 9)/36
    for rule, expected in [
        ("riemann-left", 14 / 64),
        ("riemann-right", 30 / 64),
        ("riemann-linspace", 14 / 36),
    ]:
        assert integral(fixed(rule, 4), np.square) == pytest.approx(expected, rel=1e-14)


def test_the_papers_rule_takes_the_right_end_point_and_twenty_steps():
    made = fixed("riemann-right", 20)
    np.testing.assert_allclose(made.alphas, np.arange(1, 21) / 20, atol=1e-15)
    assert made.alphas[-1] == 1


def test_rules_with_a_right_end_point_reach_1_exactly_so_that_the_clean_pass_serves_it():
    for points in range(2, 200):
        assert fixed("riemann-right", points).alphas[-1] == 1
        assert fixed("riemann-linspace", points).alphas[-1] == 1


@pytest.mark.parametrize("rule", FIXED_RULES)
@pytest.mark.parametrize("points", [0, -1, -20])
def test_points_below_one_are_refused(rule, points):
    with pytest.raises(SettingsError, match=f"points must be at least 1, got {points}$"):
        fixed(rule, points)


@pytest.mark.parametrize("rule", ["simpson", "", "adaptive", "Riemann-Left"])
def test_an_unknown_fixed_rule_is_refused_with_the_rules_there_are(rule):
    with pytest.raises(SettingsError) as refusal:
        fixed(rule, 4)
    assert f"'{rule}'" in str(refusal.value)
    assert all(known in str(refusal.value) for known in RULES)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("intervals", [-2, 0, 1, 3, 7])
def test_clenshaw_curtis_needs_an_even_number_of_intervals(intervals):
    with pytest.raises(SettingsError, match="even and at least 2"):
        clenshaw_curtis(intervals)
