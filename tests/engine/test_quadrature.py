"""Quadrature rules against integrals and sums done by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.engine.quadrature import FIXED_RULES, RULES, SIMPSON, fixed, odds_weights
from atlas.errors import SettingsError


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


# --- the adaptive rule's weights


def sigmoid(odds):
    return 1 / (1 + np.exp(-odds))


def weights_along(odds, slope, width=1.0):
    """`odds_weights` of one interval whose log-odds at t in [0, 1] are odds(t), of slope(t)."""
    t = SIMPSON.alphas
    p = sigmoid(odds(t))
    return p, odds_weights(p[None], (p * (1 - p) * slope(t) / width)[None], np.array([[width]]))[0]


@pytest.mark.parametrize("steep", [0.0, 0.5, -3.0, 12.0, 40.0])
@pytest.mark.parametrize("width", [1.0, 0.125])
def test_a_straight_line_of_log_odds_is_integrated_exactly(steep, width):
    # P = sigmoid(steep·(t − 0.8)) and a gradient of the log-odds that does not change: what is
    # left is ∫ P(1 − P) dt = (P(1) − P(0)) / steep, however sharply P rises between the points.
    p, weights = weights_along(lambda t: steep * (t - 0.8), lambda t: steep + 0 * t, width)
    integral = (p[2] - p[0]) / steep if steep else p[0] * (1 - p[0])
    assert weights @ (p * (1 - p)) == pytest.approx(width * integral, rel=1e-6)


@pytest.mark.parametrize("top", [-8.0, 0.0, 6.0])
def test_a_peak_between_the_points_is_seen_from_values_and_slopes(top):
    def odds(t):
        return top - 60 * (t - 0.3) ** 2

    def of_odds(t):  # the gradient of the log-odds: a parabola
        return 1 + 2 * t - 3 * t**2

    p, weights = weights_along(odds, lambda t: -120 * (t - 0.3))
    fine = (np.arange(100_000) + 0.5) / 100_000
    likely = sigmoid(odds(fine))
    exact = (likely * (1 - likely) * of_odds(fine)).mean()
    values = p * (1 - p) * of_odds(SIMPSON.alphas)
    assert weights @ values == pytest.approx(exact, rel=2e-3)
    assert abs(SIMPSON.weights @ values / exact - 1) > 0.2  # what the points alone would say


def test_without_slope_the_weights_are_simpsons():
    p = np.full((2, 3), 0.3)
    width = np.array([[1.0], [0.25]])
    np.testing.assert_allclose(
        odds_weights(p, np.zeros((2, 3)), width), width * SIMPSON.weights, rtol=1e-12
    )


@pytest.mark.parametrize(
    "p", [[0.0, 0.1, 0.2], [0.9, 1.0, 1.0], [1e-38, 0.5, 0.5], [0.5, 0.9, 0.999999]]
)
def test_where_log_odds_say_nothing_the_weights_are_simpsons(p):
    one = [0.2, 0.3, 0.4]
    weights = odds_weights(np.array([p, one]), np.ones((2, 3)), np.array([[0.5], [0.5]]))
    np.testing.assert_array_equal(weights[0], 0.5 * SIMPSON.weights)
    alone = odds_weights(np.array([one]), np.ones((1, 3)), np.array([[0.5]]))
    np.testing.assert_allclose(weights[1], alone[0], rtol=1e-14)


@given(
    odds=st.lists(st.floats(-60, 30), min_size=3, max_size=3),
    slopes=st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3),
)
def test_weights_are_finite_whatever_the_course(odds, slopes):
    p = sigmoid(np.array([odds]))
    weights = odds_weights(p, p * (1 - p) * np.array([slopes]), np.ones((1, 1)))
    assert np.isfinite(weights).all()
