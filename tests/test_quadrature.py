"""Quadrature rules against integrals and sums done by hand."""

import numpy as np
import pytest

from atlas.errors import SettingsError
from atlas.quadrature import FIXED_RULES, RULES, SIMPSON, fixed


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


def test_simpsons_rule_is_exact_for_cubics_and_no_further():
    for degree in range(4):
        assert integral(SIMPSON, lambda a, d=degree: a**d) == pytest.approx(1 / (degree + 1))
    # f = a⁴ has f⁗ = 24, and the error is f⁗ / 2880
    assert integral(SIMPSON, lambda a: a**4) - 1 / 5 == pytest.approx(24 / 2880)


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
