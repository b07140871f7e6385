"""The engine against the naive loop, for every architecture of the table.

Errors are relative to the largest score of the prompt. float32 is held to 1e-5, the project's
promise. In float64, where rounding is out of the way, every layer is held to 1e-5 of its own
largest score, so that a mistake in a layer of little effect shows too.
"""

import copy

import numpy as np
import pytest
import torch
from oracle import (
    PROJECTIONS,
    language_model,
    projections,
    question,
    reference,
    references,
    relative_error,
    tiny_language_model,
)
from reference import naive_attribution
from tiny_models import FAMILIES, MASKED, tiny

from atlas.engine.attribution import attribute, attribute_targets
from atlas.engine.quadrature import FIXED_RULES, fixed
from atlas.engine.settings import Integration
from atlas.models.architectures import TABLE
from atlas.prompts import Prompt, Target, encode

SHORT = "The capital of France is"
# Asked with "Rome", for which no model here is ill-conditioned. GPT-Neo does not scale its
# attention; asked with "Oslo", a change of α by 1e-7 moves its scores by 1e-5 of the largest.
LONG = "The capital of Norway is Oslo and the capital of Italy is Rome and the capital of France is"

pytestmark = pytest.mark.usefixtures("one_thread")
every_family = pytest.mark.parametrize("family", FAMILIES)


def several_tokens(family):
    """An answer of two or three tokens."""
    return (
        "Romes" if "ĠRome" in tiny_language_model(family).tokenizer.get_vocab() else "Antananarivo"
    )


def test_every_architecture_of_the_table_is_tested():
    assert set(TABLE) == set(FAMILIES) == set(PROJECTIONS)


@every_family
@pytest.mark.parametrize("rule", FIXED_RULES)
def test_scores_effects_and_p_match_the_naive_loop(family, rule):
    lm = tiny_language_model(family)
    prompt = Prompt(question(family, SHORT), "Paris")
    ours = attribute(lm, [prompt], rule=rule, points=2)
    (theirs,) = references(lm, prompt, fixed(rule, 2))
    assert ours.scores.dtype == np.float32
    assert relative_error(ours.scores[0], theirs.scores) <= 1e-5
    assert relative_error(ours.effect[0], theirs.effect) <= 1e-5
    assert relative_error(ours.activations[0], theirs.activations) <= 1e-5
    assert ours.p_answer[0] == pytest.approx(theirs.p, rel=1e-5)
    gap = theirs.scores.sum(-1) - theirs.effect
    assert (
        np.abs(ours.completeness_gap[0] - gap).max() <= 1e-5 * np.abs(theirs.scores).sum(-1).max()
    )


@every_family
def test_a_prompt_longer_than_every_attention_window_matches_the_naive_loop(family):
    lm = tiny_language_model(family)
    prompt = Prompt(question(family, LONG), "Rome")
    ours = attribute(lm, [prompt], rule="gauss-legendre", points=2)
    (theirs,) = references(lm, prompt, fixed("gauss-legendre", 2))
    assert relative_error(ours.scores[0], theirs.scores) <= 1e-5
    assert relative_error(ours.effect[0], theirs.effect) <= 1e-5


@every_family
def test_without_rounding_every_layer_by_itself_matches_the_naive_loop(family):
    model, tokenizer = tiny(family)
    lm = language_model(model.double(), tokenizer, "float64")
    prompt = Prompt(question(family, LONG), "Rome")
    ours = attribute(lm, [prompt], rule="gauss-legendre", points=2)
    (theirs,) = references(lm, prompt, fixed("gauss-legendre", 2))
    for layer in range(lm.layers):
        assert relative_error(ours.scores[0, layer], theirs.scores[layer]) <= 1e-5


@every_family
def test_an_answer_of_several_tokens_is_attributed_as_a_whole(family):
    lm = tiny_language_model(family)
    prompt = Prompt(question(family, SHORT), several_tokens(family))
    ours = attribute(lm, [prompt], rule="riemann-right", points=2)
    theirs = references(lm, prompt, fixed("riemann-right", 2))
    assert ours.answer_tokens[0] == len(theirs) >= 2
    ends = np.array([t.p for t in theirs], np.float64)[:, None]  # [token, layer]
    starts = ends - [t.effect for t in theirs]
    of_tokens = (ends - starts) / np.log(ends / starts)
    of_answer = (ends.prod(0) - starts.prod(0)) / np.log(ends / starts).sum(0)
    weights = (of_answer / of_tokens)[:, :, None]
    wanted = (weights * [t.scores for t in theirs]).sum(0)
    assert relative_error(ours.scores[0], wanted) <= 1e-4
    assert relative_error(ours.effect[0], ends.prod(0) - starts.prod(0)) <= 1e-4
    for own, token in zip(ours.token_scores[0], theirs, strict=True):
        assert relative_error(own, token.scores) <= 1e-5
    assert relative_error(ours.activations[0], np.mean([t.activations for t in theirs], 0)) <= 1e-5
    assert ours.p_answer[0] == pytest.approx(np.prod([t.p for t in theirs]), rel=1e-5 * len(theirs))
    assert (ours.evaluations == 2 * len(theirs)).all()


@every_family
def test_a_batch_of_several_lengths_gives_each_prompt_its_own_scores(family):
    lm = tiny_language_model(family)
    asked = [
        (SHORT, "Paris"),
        (LONG, "Rome"),
        (SHORT, several_tokens(family)),
        ("The city of Rome is in", "Oslo"),
        (SHORT, "Dublin"),
        (LONG, "Paris"),
    ]
    prompts = [Prompt(question(family, before), answer) for before, answer in asked]
    assert (
        len({len(t.token_ids) for p in prompts for t in encode(p, lm.tokenizer, lm.objective, 99)})
        > 2
    )
    together = attribute(lm, prompts, rule="riemann-linspace", points=2)
    for i, prompt in enumerate(prompts):
        alone = attribute(lm, [prompt], rule="riemann-linspace", points=2)
        assert relative_error(together.scores[i], alone.scores[0]) <= 1e-5
        assert relative_error(together.effect[i], alone.effect[0]) <= 1e-5
        assert together.p_answer[i] == pytest.approx(alone.p_answer[0], rel=1e-5)
        assert together.answer_rank[i] == alone.answer_rank[0]
        assert together.predicted[i] == alone.predicted[0]


@every_family
def test_gradient_x_activation_is_the_naive_gradient_at_1(family):
    lm = tiny_language_model(family)
    prompt = Prompt(question(family, LONG), "Rome")
    ours = attribute(lm, [prompt], method="gradient-x-activation")
    # the right-endpoint rule with one point is w · ∂P/∂w at α = 1
    (theirs,) = references(lm, prompt, fixed("riemann-right", 1))
    assert relative_error(ours.scores[0], theirs.scores) <= 1e-5


@every_family
def test_an_input_as_long_as_the_context_is_answered(family):
    lm = tiny_language_model(family)
    length = min(lm.context, 40)
    assert length == (38 if "roberta" in family else 40)
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(6, len(lm.tokenizer), (length,), generator=generator).tolist()
    position = length - 1 if lm.objective == "causal" else length // 2
    target = Target(tuple(ids), position, 20)
    how = Integration("gauss-legendre", 2)
    ours = attribute_targets(lm, [[target]], method="integrated-gradients", how=how)
    theirs = reference(lm.model, target, fixed("gauss-legendre", 2))
    assert relative_error(ours.scores[0], theirs.scores) <= 1e-5


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in MASKED])
def test_a_causal_prompt_of_one_token_has_no_prefix_and_is_answered(family):
    lm = tiny_language_model(family)
    target = Target((12,), 0, 20)
    how = Integration("gauss-legendre", 2)
    ours = attribute_targets(lm, [[target]], method="integrated-gradients", how=how)
    theirs = reference(lm.model, target, fixed("gauss-legendre", 2))
    assert relative_error(ours.scores[0], theirs.scores) <= 1e-5


@pytest.mark.parametrize(
    "family", ["bert", "gpt2", "opt", "llama", "mistral", "gemma2", "gemma3_text"]
)
def test_eager_attention_with_its_explicit_masks_gives_the_same_scores(family):
    model, tokenizer = tiny(family)
    model.set_attn_implementation("eager")
    lm = language_model(model, tokenizer)
    prompts = [Prompt(question(family, text), "Paris") for text in (LONG, SHORT)]
    ours = attribute(lm, prompts, rule="gauss-legendre", points=2)
    for i, prompt in enumerate(prompts):
        (theirs,) = references(lm, prompt, fixed("gauss-legendre", 2))
        assert relative_error(ours.scores[i], theirs.scores) <= 1e-5


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("opt", {"do_layer_norm_before": False}),  # opt-350m: the norm follows the FFN
        ("opt", {"enable_bias": False}),  # Galactica
        ("gpt_neox", {"use_parallel_residual": False}),
        ("stablelm", {"use_parallel_residual": True}),
        ("stablelm", {"qk_layernorm": True}),
        ("phi", {"qk_layernorm": True}),
        ("bloom", {"apply_residual_connection_post_layernorm": True}),
        ("gpt2", {"n_inner": 52, "tie_word_embeddings": False}),
        ("llama", {"tie_word_embeddings": True, "mlp_bias": True}),
        ("bert", {"hidden_act": "relu", "tie_word_embeddings": False}),
        ("modernbert", {"mlp_bias": True, "norm_bias": True}),
        ("distilbert", {"sinusoidal_pos_embds": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_familys_other_forms_match_the_naive_loop_too(family, changes):
    lm = language_model(*tiny(family, **changes))
    prompt = Prompt(question(family, LONG), "Rome")
    ours = attribute(lm, [prompt], rule="riemann-linspace", points=3)
    (theirs,) = references(lm, prompt, fixed("riemann-linspace", 3))
    assert relative_error(ours.scores[0], theirs.scores) <= 1e-5
    assert relative_error(ours.effect[0], theirs.effect) <= 1e-5


def test_an_albert_of_two_groups_of_two_layers_has_a_layer_for_each_call():
    model, tokenizer = tiny("albert", num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2)
    lm = language_model(model, tokenizer)
    prompt = Prompt(question("albert", SHORT), "Paris")
    (target,) = encode(prompt, tokenizer, "masked", 40)
    ours = attribute(lm, [prompt], rule="gauss-legendre", points=2)
    groups = model.albert.encoder.albert_layer_groups
    rule = fixed("gauss-legendre", 2)
    theirs = naive_attribution(
        model,
        [
            (groups[group].albert_layers[inner].ffn_output, call)
            for group in (0, 1)
            for call in (0, 1)
            for inner in (0, 1)
        ],
        list(target.token_ids),
        target.position,
        target.token,
        rule.alphas.tolist(),
        rule.weights.tolist(),
    )
    assert lm.layers == 8
    assert relative_error(ours.scores[0], theirs.scores) <= 1e-5


def test_alberts_layers_share_one_module_and_each_has_its_own_scores():
    lm = tiny_language_model("albert")
    assert lm.layers == 3
    assert len({id(block.value_projection) for block in lm.blocks}) == 1
    assert [call for _, call in projections(lm.model)] == [0, 1, 2]
    scores = attribute(lm, [Prompt(question("albert"), "Paris")]).scores[0]
    for a, b in [(0, 1), (1, 2), (0, 2)]:
        assert relative_error(scores[a], scores[b]) > 0.1


def test_the_window_of_a_sliding_attention_matters_to_these_prompts():
    """Else the windowed families would be tested as if they had none."""
    for family in ("mistral", "phi3", "gemma2", "gemma3_text", "gpt_neo", "modernbert"):
        model, tokenizer = tiny(family)
        wide = copy.deepcopy(model.config)
        for name in ("sliding_window", "window_size", "local_attention"):
            if hasattr(wide, name):
                setattr(wide, name, 64)
        unlimited = type(model)(wide).eval()
        unlimited.load_state_dict(model.state_dict())
        ids = torch.tensor([tokenizer(LONG)["input_ids"]])
        here, there = model(input_ids=ids).logits[0, -1], unlimited(input_ids=ids).logits[0, -1]
        assert relative_error(here, there.detach()) > 1e-3, family
