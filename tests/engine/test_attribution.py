"""Attribution: the adaptive rule, the other methods, and bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import (
    language_model,
    projections,
    question,
    relative_error,
    tiny_language_model,
)
from reference import activation, naive_attribution, probability, replaced
from tiny_models import tiny

from atlas.edits.making.methods import EDIT_METHODS
from atlas.edits.making.settings import METHODS as EDIT_NAMES
from atlas.engine import attribution, clean_pass, integration, wave
from atlas.engine.answer import ask_head
from atlas.engine.attribution import SCORING, attribute
from atlas.engine.quadrature import FIXED_RULES, RULES
from atlas.engine.settings import DTYPES, METHODS
from atlas.errors import ModelError, SettingsError
from atlas.models import device
from atlas.prompts import Prompt, UnusablePrompt, encode

pytestmark = pytest.mark.usefixtures("one_thread")

LONG = "The capital of Norway is Oslo and the capital of Italy is Rome and the capital of France is"
ASKED = [
    (LONG, "Paris"),
    (LONG, "Rome"),
    ("The capital of France is", "Paris"),
    ("The capital of France is", "Oslo"),
]


def prompts_for(family):
    return [Prompt(question(family, before), answer) for before, answer in ASKED]


def one_line(error):
    return "\n" not in str(error.value) and len(str(error.value)) > 10


# --- the adaptive rule


@pytest.mark.parametrize(
    "family", ["bert", "albert", "gpt2", "gptj", "llama", "gemma2", "gemma3_text", "olmo2"]
)
@pytest.mark.parametrize("tolerance", [0.05, 0.01, 0.001])
def test_adaptive_leaves_no_gap_over_the_tolerance(family, tolerance):
    ours = attribute(tiny_language_model(family), prompts_for(family), tolerance=tolerance)
    allowed = tolerance * ours.largest_effect[:, None]
    assert (np.abs(ours.completeness_gap) <= allowed * 1.001).all()
    assert not ours.over_tolerance.any()
    np.testing.assert_allclose(ours.largest_effect, np.abs(ours.effect).max(-1), rtol=1e-6)
    gap = ours.scores.sum(-1, dtype=np.float64) - ours.effect
    np.testing.assert_allclose(ours.completeness_gap, gap, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "albert", "gpt2", "gptj", "llama"])
def test_adaptive_scores_approach_those_of_200_points(family):
    lm, prompts = tiny_language_model(family), prompts_for(family)
    exact = attribute(lm, prompts, rule="gauss-legendre", points=200)
    assert (np.abs(exact.completeness_gap) <= 1e-4 * exact.largest_effect[:, None]).all()
    errors = []
    for tolerance in (0.01, 0.0001):
        ours = attribute(lm, prompts, tolerance=tolerance)
        errors.append(relative_error(ours.scores, exact.scores))
        np.testing.assert_allclose(ours.effect, exact.effect, rtol=1e-4, atol=1e-6)
    # The gap bounds the sum over a layer; a single neuron may be off by a few times as much.
    assert errors[0] <= 0.1
    assert errors[1] <= 0.002


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("cap", [3, 5, 20])
def test_at_the_cap_of_evaluations_adaptive_stops_and_flags_the_prompt(family, cap):
    ours = attribute(
        tiny_language_model(family), prompts_for(family), tolerance=1e-4, max_evaluations=cap
    )
    assert ours.evaluations.max() <= cap
    over = (np.abs(ours.completeness_gap) > 1e-4 * ours.largest_effect[:, None]).any(-1)
    np.testing.assert_array_equal(ours.over_tolerance, over)
    assert over.any()


def test_adaptive_spends_more_on_a_smaller_tolerance_and_only_where_it_is_needed():
    lm, prompts = tiny_language_model("llama"), prompts_for("llama")
    loose, strict = (attribute(lm, prompts, tolerance=t).evaluations for t in (0.05, 0.001))
    assert (strict >= loose).all()
    assert strict.sum() > loose.sum()
    assert strict.min() < strict.max()


def test_adaptive_begins_with_more_points_where_the_ffn_outweighs_the_residual_stream():
    lm, prompts = tiny_language_model("gemma2"), prompts_for("gemma2")  # its FFN is normed alone
    loose = attribute(lm, prompts, tolerance=0.99).evaluations
    assert (loose >= 9).all()
    lm, prompts = tiny_language_model("gpt2"), prompts_for("gpt2")
    assert attribute(lm, prompts, tolerance=0.99).evaluations.min() == 3


def norm_ratio(model, target, layer):
    """|W_out w| / |the rest of the residual stream behind a Llama's layer|, at the position."""
    block, seen = model.model.layers[layer], []
    hooks = [
        module.register_forward_hook(lambda _, __, out: seen.append(out[0, target.position]))
        for module in (block.mlp.down_proj, block)
    ]
    with torch.no_grad():
        model(input_ids=torch.tensor([target.token_ids]))
    for hook in hooks:
        hook.remove()
    ffn, output = (tensor.double() for tensor in seen)
    return float(ffn.norm() / (output - ffn).norm())


def naive_points(model, module, target, alphas):
    """P and the scores of a single evaluation, w ⊙ dP/dw, at each α: [point], [point, neuron]."""
    ids, call = torch.tensor([list(target.token_ids)]), (module, 0, target.position)
    w = activation(model, ids, *call)
    p, scores = [], []
    for alpha in alphas:
        with torch.no_grad(), replaced(*call, alpha * w):
            p.append(probability(model, ids, target.position, target.token).item())
        one = naive_attribution(
            model, [call[:2]], list(target.token_ids), target.position, target.token, [alpha], [1.0]
        )
        scores.append(one.scores[0])
    return np.array(p), np.array(scores)


def odds_sum(alphas, p, scores, ratio):
    """What adaptive makes of points: per interval the gradient of the log-odds as a parabola.

    The path is α = sinh(u·t) / sinh(u), u = asinh(ratio); `alphas` holds the intervals' ends and
    middles in order, so every second point is a middle. The log-odds that turn it into a gradient
    of P are the polynomial with their values and slopes; everything by 4,001 steps of a fine sum.
    """
    u = np.arcsinh(ratio)
    t = np.arcsinh(alphas * np.sinh(u)) / u
    np.testing.assert_allclose(t[1::2], (t[:-1:2] + t[2::2]) / 2, atol=1e-5)
    scores = scores * (u * np.cosh(u * t) / np.sinh(u))[:, None]  # per t
    slopes = scores.sum(1) / (p * (1 - p))
    total = np.zeros(scores.shape[1])
    for start in range(0, len(t) - 1, 2):
        here = slice(start, start + 3)
        x = t[here] - t[here][1]
        odds = np.log(p[here] / (1 - p[here]))
        rows = np.concatenate(
            [np.vander(x, 6), np.vander(x, 5) * np.arange(5, 0, -1) @ np.eye(5, 6)]
        )
        quintic = np.linalg.solve(rows, np.concatenate([odds, slopes[here]]))
        fine = np.linspace(x[0], x[2], 4001)
        likely = 1 / (1 + np.exp(-np.polyval(quintic, fine)))
        of_odds = np.linalg.solve(
            np.vander(x, 3), scores[here] / (p[here] * (1 - p[here]))[:, None]
        )
        gradient = (likely * (1 - likely))[:, None] * (np.vander(fine, 3) @ of_odds)
        total += np.trapezoid(gradient, fine, axis=0)
    return total


def test_what_adaptive_refined_in_steps_equals_a_naive_sum_over_the_same_points(monkeypatch):
    lm, prompt = tiny_language_model("llama"), prompts_for("llama")[2]
    (target,) = encode(prompt, lm.tokenizer, lm.objective, lm.context)
    visited = {layer: [1.0] for layer in range(lm.layers)}  # α = 1 is the clean pass's
    run_pairs = integration.run_pairs

    def noted(clean, layer, targets, alphas, memory_budget):
        for number, row in zip(layer.tolist(), alphas.tolist(), strict=True):
            visited[number] += row
        return run_pairs(clean, layer, targets, alphas, memory_budget)

    monkeypatch.setattr(integration, "run_pairs", noted)
    ours = attribute(lm, [prompt], tolerance=0.001)
    assert len(set(ours.evaluations[0].tolist())) > 1
    for layer, points in visited.items():
        assert len(set(points)) == len(points) == ours.evaluations[0, layer]
        alphas, module = np.sort(points), projections(lm.model)[layer][0]
        p, scores = naive_points(lm.model, module, target, alphas)
        theirs = odds_sum(alphas, p, scores, norm_ratio(lm.model, target, layer))
        difference = np.abs(ours.scores[0, layer] - theirs).max()
        assert difference <= 1e-5 * np.abs(ours.scores).max()


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("rule", RULES)
def test_evaluations_are_the_rows_that_a_gradient_was_taken_of(family, rule, monkeypatch):
    lm, prompts = tiny_language_model(family), prompts_for(family)
    rows = {"clean": 0, "wave": 0, "wave without gradient": 0}

    def counting(kind):
        def counted(lm, hidden, tokens, *, gradients=True):
            rows[kind if gradients else f"{kind} without gradient"] += len(hidden)
            return ask_head(lm, hidden, tokens, gradients=gradients)

        return counted

    monkeypatch.setattr(clean_pass, "ask_head", counting("clean"))
    monkeypatch.setattr(wave, "ask_head", counting("wave"))
    ours = attribute(lm, prompts, rule=rule, points=4)
    pairs = len(prompts) * lm.layers
    # At α = 1 the clean pass serves all layers. F(0) costs a row where no rule has the point 0.
    at_one = pairs if rule in ("riemann-right", "riemann-linspace", "adaptive") else 0
    assert rows == {
        "clean": len(prompts),
        "wave": ours.evaluations.sum() - at_one,
        "wave without gradient": pairs if rule in ("riemann-right", "gauss-legendre") else 0,
    }
    if rule in FIXED_RULES:
        assert (ours.evaluations == 4).all()


# --- what is not integrated gradients


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_activation_scores_are_the_activations_and_cost_no_gradient(family):
    lm, prompts = tiny_language_model(family), prompts_for(family)
    ours = attribute(lm, prompts, method="activation")
    integrated = attribute(lm, prompts, rule="gauss-legendre", points=1)
    np.testing.assert_array_equal(ours.scores, ours.activations)
    np.testing.assert_array_equal(ours.activations, integrated.activations)
    assert (ours.evaluations == 0).all()


@pytest.mark.parametrize("method", ["activation", "gradient-x-activation"])
def test_methods_that_measure_no_effect_say_so_and_flag_nothing(method):
    ours = attribute(tiny_language_model("bert"), prompts_for("bert"), method=method)
    assert np.isnan(ours.effect).all()
    assert np.isnan(ours.completeness_gap).all()
    assert np.isnan(ours.largest_effect).all()
    assert not ours.over_tolerance.any()
    assert (ours.p_answer > 0).all()
    assert (ours.evaluations == (0 if method == "activation" else 1)).all()


def test_no_prompts_give_an_empty_attribution():
    lm = tiny_language_model("bert")
    for method in METHODS:
        ours = attribute(lm, [], method=method)
        assert ours.scores.shape == (0, lm.layers, lm.neurons_per_layer)
        assert ours.predicted == ()


def test_the_same_prompt_twice_gets_the_same_scores_twice():
    prompt = Prompt(question("bert"), "Paris")
    ours = attribute(tiny_language_model("bert"), [prompt, prompt])
    assert relative_error(ours.scores[0], ours.scores[1]) <= 1e-6


# --- bad input


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("points", [0, -1])
def test_points_below_one_are_refused(rule, points):
    with pytest.raises(SettingsError, match="points must be at least 1") as refusal:
        attribute(tiny_language_model("bert"), prompts_for("bert"), rule=rule, points=points)
    assert one_line(refusal)


@pytest.mark.parametrize(
    ("name", "given", "known"), [("rule", "simpson", RULES), ("method", "shapley", METHODS)]
)
def test_an_unknown_rule_or_method_is_refused_with_those_there_are(name, given, known):
    with pytest.raises(SettingsError) as refusal:
        attribute(tiny_language_model("bert"), prompts_for("bert"), **{name: given})
    assert one_line(refusal)
    assert all(word in str(refusal.value) for word in (given, *known))


@pytest.mark.parametrize("tolerance", [0, 1, -0.01, 1.5, float("nan"), float("inf")])
def test_a_tolerance_outside_0_to_1_is_refused(tolerance):
    with pytest.raises(SettingsError, match=f"between 0 and 1, got {tolerance}") as refusal:
        attribute(tiny_language_model("bert"), prompts_for("bert"), tolerance=tolerance)
    assert one_line(refusal)


@pytest.mark.parametrize("cap", [-1, 0, 2])
def test_a_cap_below_the_coarsest_rule_is_refused(cap):
    with pytest.raises(SettingsError, match="max evaluations") as refusal:
        attribute(tiny_language_model("bert"), prompts_for("bert"), max_evaluations=cap)
    assert one_line(refusal)


def test_a_prompt_that_cannot_be_asked_is_refused_before_any_work(monkeypatch):
    lm = language_model(*tiny("bert"))
    monkeypatch.setattr(lm.model, "forward", None)
    with pytest.raises(UnusablePrompt):
        attribute(lm, [*prompts_for("bert"), Prompt("no mask", "Paris")])


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_returns_nan_is_refused_with_one_line(family, value):
    model, tokenizer = tiny(family)
    lm = language_model(model, tokenizer)
    lm.value_vectors(1)[:] = value
    with pytest.raises(ModelError, match="NaN or infinity") as refusal:
        attribute(lm, prompts_for(family))
    assert one_line(refusal)


def test_a_method_is_a_function_and_its_rows(monkeypatch):
    def twice(clean, how, budget, told):
        once = SCORING["activation"](clean, how, budget, told)
        return replace(once, scores=2 * once.scores)

    monkeypatch.setitem(SCORING, "twice", twice)
    monkeypatch.setattr(attribution, "METHODS", (*METHODS, "twice"))
    lm = tiny_language_model("bert")
    once, found = (attribute(lm, prompts_for("bert"), method=m) for m in ("activation", "twice"))
    assert np.array_equal(found.scores, 2 * once.scores)
    assert np.array_equal(found.activations, once.activations)


def test_the_names_that_are_read_without_torch_are_those_of_the_tables():
    assert set(SCORING) == set(METHODS)
    assert set(device.DTYPES) == set(DTYPES)
    assert set(EDIT_METHODS) == set(EDIT_NAMES)
