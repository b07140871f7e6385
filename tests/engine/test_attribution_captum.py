"""Captum, an independent implementation, against both the engine and the naive loop.

Captum sees a function of one layer's activations at the answer position: rows of activations in,
P(answer) out. Its `gausslegendre` and `riemann_*` take the same points and weights as our rules.
"""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, LayerActivation, LayerGradientXActivation
from oracle import (
    MINI_BERT,
    capital_of_france,
    captum_function,
    mini_bert,
    projections,
    references,
    relative_error,
    tiny_language_model,
)

from atlas.engine.attribution import attribute
from atlas.engine.quadrature import fixed
from atlas.prompts import encode

pytestmark = pytest.mark.usefixtures("one_thread")
MODELS = (MINI_BERT, "bert", "albert", "gpt2", "llama")
RULES = {
    "gauss-legendre": "gausslegendre",
    "riemann-left": "riemann_left",
    "riemann-right": "riemann_right",
}


@cache
def model_named(name):
    return mini_bert() if name == MINI_BERT else tiny_language_model(name)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rule", RULES)
def test_integrated_gradients_agree_with_captum_and_captum_with_the_naive_loop(name, rule):
    lm = model_named(name)
    prompt = capital_of_france(lm)
    (target,) = encode(prompt, lm.tokenizer, lm.objective, lm.context)
    ours = attribute(lm, [prompt], rule=rule, points=6)
    (naive,) = references(lm, prompt, fixed(rule, 6))
    captums = []
    for layer, (projection, call) in enumerate(projections(lm.model)):
        integrated = IntegratedGradients(captum_function(lm.model, target, projection, call))
        w = torch.tensor(naive.activations[layer : layer + 1], dtype=torch.float32)
        captums.append(integrated.attribute(w, n_steps=6, method=RULES[rule])[0].numpy())
    assert relative_error(ours.scores[0], captums) <= 1e-5
    assert relative_error(naive.scores, captums) <= 1e-5


@pytest.mark.parametrize("name", [name for name in MODELS if name != "albert"])
def test_the_other_methods_agree_with_captums(name):
    """ALBERT is left out: captum tells layers apart by module, and its layers share one."""
    lm = model_named(name)
    prompt = capital_of_france(lm)
    (target,) = encode(prompt, lm.tokenizer, lm.objective, lm.context)
    ids = torch.tensor([target.token_ids])
    # captum can differentiate nothing in a model that is all frozen
    model = copy.deepcopy(lm.model).requires_grad_(True)
    gradient_x_activation, activation = [], []

    def p(ids):
        return model(input_ids=ids).logits[:, target.position].softmax(-1)[:, target.token]

    for projection, _ in projections(model):
        for method, results in (
            (LayerGradientXActivation, gradient_x_activation),
            (LayerActivation, activation),
        ):
            at_all = method(p, projection).attribute(ids, attribute_to_layer_input=True)
            at_all = at_all[0] if isinstance(at_all, tuple) else at_all
            results.append(at_all.view(len(target.token_ids), -1)[target.position].detach().numpy())
    ours = attribute(lm, [prompt], method="gradient-x-activation")
    assert relative_error(ours.scores[0], gradient_x_activation) <= 1e-5
    ours = attribute(lm, [prompt], method="activation")
    assert relative_error(ours.scores[0], activation) <= 1e-5
    assert np.abs(ours.scores[0]).max() > 0
