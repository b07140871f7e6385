"""SmolLM2-135M: the engine against the naive loop and captum, on a few of its 30 layers.

Layer 0 makes the massive activation of this model, so it is the hardest to integrate.
"""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from oracle import captum_function, projections, relative_error
from reference import naive_attribution

from atlas.engine.attribution import attribute
from atlas.engine.quadrature import fixed
from atlas.models.load import load_model
from atlas.prompts import Prompt, encode

# Of P: float32 products of other shapes round differently, and by how much depends on the processor
# (2e-5 to 8e-5 seen on one, below 1e-5 on another, with the same code).
ROUNDING = 2e-4

# One thread, for the naive loop's sake: with two, MKL's product of its few rows with SmolLM2's
# 49,152 output embeddings is 1e-4 off (the engine never takes it on so few rows).
pytestmark = [pytest.mark.real_model, pytest.mark.usefixtures("one_thread")]

LAYERS = [0, 1, 29]
FRANCE = Prompt("The capital of France is", "Paris")
BRAZIL = Prompt("The official language of Brazil is", "Portuguese")
CAPITALS = [("Italy", "Rome"), ("Japan", "Tokyo"), ("Spain", "Madrid"), ("Egypt", "Cairo")]
MADAGASCAR = Prompt("The capital of Madagascar is", "Antananarivo")  # four tokens


@pytest.fixture(scope="module")
def smollm2(smollm2_path):
    return load_model(str(smollm2_path), device="cpu")


def naive(lm, target, rule, layers):
    calls = projections(lm.model)
    return naive_attribution(
        lm.model,
        [calls[layer] for layer in layers],
        list(target.token_ids),
        target.position,
        target.token,
        rule.alphas.tolist(),
        rule.weights.tolist(),
        target.site,
    )


def targets_of(lm, prompt):
    return encode(prompt, lm.tokenizer, lm.objective, lm.context)


def test_p_of_the_capital_of_france_is_what_the_design_states(smollm2):
    ours = attribute(smollm2, [FRANCE, BRAZIL], method="activation")
    assert ours.p_answer == pytest.approx([0.77, 0.10], abs=0.01)
    assert ours.answer_rank[0] == 1
    assert ours.predicted[0] == "Paris"
    assert ours.scores.shape == (2, 30, 1536)


@pytest.mark.parametrize(
    ("rule", "prompt"), [("gauss-legendre", FRANCE), ("riemann-left", BRAZIL)], ids=str
)
def test_scores_effects_and_p_match_the_naive_loop(smollm2, rule, prompt):
    (target,) = targets_of(smollm2, prompt)
    ours = attribute(smollm2, [prompt], rule=rule, points=3)
    theirs = naive(smollm2, target, fixed(rule, 3), LAYERS)
    assert relative_error(ours.scores[0, LAYERS], theirs.scores) <= 1e-5
    assert relative_error(ours.effect[0, LAYERS], theirs.effect) <= 1e-5
    assert ours.p_answer[0] == pytest.approx(theirs.p, rel=ROUNDING)
    for i, layer in enumerate(LAYERS):  # each by itself, however small its scores
        assert relative_error(ours.scores[0, layer], theirs.scores[i]) <= 3e-5


def test_each_of_an_answer_s_four_tokens_is_attributed_as_the_naive_loop_does(smollm2):
    targets = targets_of(smollm2, MADAGASCAR)
    assert len(targets) == 4
    ours = attribute(smollm2, [MADAGASCAR], rule="gauss-legendre", points=2)
    theirs = [naive(smollm2, target, fixed("gauss-legendre", 2), [29]) for target in targets]
    tokens = np.array([t.scores for t in theirs])
    assert relative_error(ours.token_scores[0][:, [29]], tokens) <= 1e-5
    assert ours.p_answer[0] == pytest.approx(np.prod([t.p for t in theirs]), rel=ROUNDING)


@pytest.mark.parametrize(
    ("rule", "captums"), [("gauss-legendre", "gausslegendre"), ("riemann-left", "riemann_left")]
)
def test_captum_agrees(smollm2, rule, captums):
    (target,) = targets_of(smollm2, FRANCE)
    ours = attribute(smollm2, [FRANCE], rule=rule, points=4)
    theirs = []
    for layer in (0, 29):
        projection, call = projections(smollm2.model)[layer]
        integrated = IntegratedGradients(captum_function(smollm2.model, target, projection, call))
        w = torch.tensor(ours.activations[0, layer : layer + 1])
        theirs.append(integrated.attribute(w, n_steps=4, method=captums)[0].numpy())
    assert relative_error(ours.scores[0, [0, 29]], theirs) <= 1e-5


@pytest.mark.parametrize("rule", ["riemann-right", "adaptive"])
def test_a_prompt_alone_and_in_a_batch_has_the_same_scores(smollm2, rule):
    """The right end point's gradient comes from a pass of as many rows as there are prompts."""
    prompts = [FRANCE, *(Prompt(f"The capital of {a} is", b) for a, b in CAPITALS)]
    together = attribute(smollm2, prompts, rule=rule, points=2)
    alone = attribute(smollm2, [FRANCE], rule=rule, points=2)
    assert relative_error(together.scores[0], alone.scores[0]) <= 1e-5
    np.testing.assert_array_equal(together.evaluations[0], alone.evaluations[0])


def test_adaptive_stays_within_its_tolerance_where_twenty_left_steps_do_not(smollm2):
    ours = attribute(smollm2, [FRANCE, BRAZIL])
    allowed = 0.01 * ours.largest_effect[:, None]
    assert (np.abs(ours.completeness_gap) <= allowed * 1.001).all()
    assert not ours.over_tolerance.any()
    usual = attribute(smollm2, [FRANCE, BRAZIL], rule="riemann-left", points=20)
    assert (np.abs(usual.completeness_gap) > allowed).any()


def test_bfloat16_selects_nearly_the_same_neurons(smollm2_path, smollm2):
    exact = attribute(smollm2, [FRANCE], rule="gauss-legendre", points=8)
    lm = load_model(str(smollm2_path), dtype="bfloat16", device="cpu")
    ours = attribute(lm, [FRANCE], rule="gauss-legendre", points=8)
    chosen = [scores >= 0.2 * scores.max() for scores in (ours.scores, exact.scores)]
    assert (chosen[0] & chosen[1]).sum() / (chosen[0] | chosen[1]).sum() >= 0.7
    a, b = ours.scores.ravel(), exact.scores.ravel()
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.98
