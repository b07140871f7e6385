"""Neurons measured and changed at the subject's last token, for every architecture of the table."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from oracle import (
    captum_function,
    language_model,
    mini_bert,
    projections,
    question,
    reference,
    relative_error,
    tiny_language_model,
)
from tiny_models import FAMILIES, tiny

from atlas.engine.attribution import attribute_targets
from atlas.engine.interventions import scaled
from atlas.engine.probe import probe
from atlas.engine.quadrature import fixed
from atlas.engine.settings import Integration
from atlas.engine.suppression import Suppressed, ask_suppressed
from atlas.models.language_model import LanguageModel
from atlas.prompts import Prompt, Target

pytestmark = pytest.mark.usefixtures("one_thread")
every_family = pytest.mark.parametrize("family", FAMILIES)
TWO = Integration("gauss-legendre", 2)
ASKED = (
    ("The capital of France is", "France", "Paris"),
    ("France has the capital", "France", "Rome"),
    ("The capital of Norway is Oslo and the capital of Italy is", "Italy", "Rome"),
    ("The capital of Norway is Oslo and the capital of Italy is", "Norway", "Rome"),
)


def at_subject(lm: LanguageModel, text: str, subject: str, answer: str) -> list[Target]:
    before = question("bert" if lm.objective == "masked" else "llama", text)
    return lm.encode(Prompt(before, answer, subject_end=before.index(subject) + len(subject)))


def asked(lm: LanguageModel) -> list[list[Target]]:
    return [at_subject(lm, *some) for some in ASKED]


def assert_alike(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Within 1e-5 of the largest; all are 0 where no attention window reaches back that far."""
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max() + 1e-12


@every_family
def test_scores_effects_and_activations_are_those_of_the_naive_loop_there(family):
    lm = tiny_language_model(family)
    encoded = asked(lm)
    assert all(target.site < target.position for targets in encoded[:1] for target in targets)
    together = attribute_targets(lm, encoded, method="integrated-gradients", how=TWO)
    for row, (target,) in enumerate(encoded):
        theirs = reference(lm.model, target, fixed("gauss-legendre", 2))
        assert_alike(together.scores[row], theirs.scores)
        assert relative_error(together.activations[row], theirs.activations) <= 1e-5
        # an effect is a difference of two P, of which the suppressed one may be the larger
        largest = np.maximum(theirs.p, np.abs(theirs.p - theirs.effect))
        assert (np.abs(together.effect[row] - theirs.effect) <= 2e-5 * largest).all()
        assert together.p_answer[row] == pytest.approx(theirs.p, rel=1e-5)


@every_family
def test_without_rounding_every_layer_by_itself_matches_and_the_last_one_says_nothing(family):
    model, tokenizer = tiny(family)
    lm = language_model(model.double(), tokenizer, "float64")
    (target,) = at_subject(lm, *ASKED[2])
    ours = attribute_targets(lm, [[target]], method="integrated-gradients", how=TWO)
    theirs = reference(lm.model, target, fixed("gauss-legendre", 2))
    for layer in range(lm.layers - 1):
        assert relative_error(ours.scores[0, layer], theirs.scores[layer]) <= 1e-5
    # what the last block gives at another position, no answer can see
    assert not ours.scores[0, -1].any()
    assert not theirs.scores[-1].any()


@every_family
def test_the_adaptive_rule_closes_the_gap_there_too(family):
    lm = tiny_language_model(family)
    found = attribute_targets(lm, asked(lm), method="integrated-gradients", how=Integration())
    assert not found.over_tolerance.any()
    total = found.scores.sum(-1, dtype=np.float64)
    assert (np.abs(total - found.effect).max(-1) <= 0.01 * found.largest_effect).all()


@every_family
def test_answer_and_subject_of_one_prompt_may_go_through_one_call(family):
    lm = tiny_language_model(family)
    (subject,) = at_subject(lm, *ASKED[2])
    answer = replace(subject, subject_token=None)
    both = attribute_targets(lm, [[subject], [answer]], method="integrated-gradients", how=TWO)
    for row, target in enumerate((subject, answer)):
        alone = attribute_targets(lm, [[target]], method="integrated-gradients", how=TWO)
        assert relative_error(both.scores[row], alone.scores[0]) <= 1e-5


@every_family
def test_suppressing_there_is_what_hooks_on_the_plain_model_do(family):
    lm = tiny_language_model(family)
    last = lm.layers - 1
    sets = [(), ((0, 3),), ((1, 5), (1, 6)), ((0, 3), (last, 7)), ((last, 0),)]
    encoded = asked(lm)
    questions = [Suppressed(own, some) for own in encoded for some in sets]
    found = ask_suppressed(lm, questions)
    for row, one in enumerate(questions):
        (target,) = one.targets
        with torch.no_grad(), scaled(lm, one.neurons, 0.0, torch.tensor([target.site])):
            logits = lm.model(input_ids=torch.tensor([target.token_ids])).logits
        expected = logits[0, target.position].log_softmax(-1)[target.token]
        assert found.log_p[row] == pytest.approx(float(expected), abs=2e-5)
    neurons = [(0, 3), (1, 5), (last, 7)]
    factors = torch.rand(len(encoded), 3, generator=torch.Generator().manual_seed(3))
    probed = probe(lm, encoded, neurons=neurons, factors=factors)
    for row, (target,) in enumerate(encoded):
        where = torch.tensor([target.site])
        with torch.no_grad(), scaled(lm, neurons, factors[row : row + 1], where):
            logits = lm.model(input_ids=torch.tensor([target.token_ids])).logits
        expected = logits[0, target.position].log_softmax(-1)[target.token]
        assert probed.log_p[row] == pytest.approx(float(expected), abs=2e-5)


def test_an_answer_of_several_tokens_has_its_subject_at_one_place():
    for family in ("bert", "llama", "gpt2"):
        lm = tiny_language_model(family)
        several = "Romes" if family == "gpt2" else "Antananarivo"
        targets = at_subject(lm, "The capital of France is", "France", several)
        assert len(targets) > 1
        assert len({target.site for target in targets}) == 1
        for target in (replace(target, index=0) for target in targets):
            ours = attribute_targets(lm, [[target]], method="integrated-gradients", how=TWO)
            theirs = reference(lm.model, target, fixed("gauss-legendre", 2))
            assert relative_error(ours.scores[0], theirs.scores) <= 1e-5


@cache
def model_named(name: str) -> LanguageModel:
    return mini_bert() if name == "mini-bert" else tiny_language_model(name)


@pytest.mark.parametrize("name", ["mini-bert", "bert", "gpt2", "llama"])
def test_captum_agrees(name):
    lm = model_named(name)
    (target,) = at_subject(lm, *ASKED[0])
    how = Integration("gauss-legendre", 6)
    ours = attribute_targets(lm, [[target]], method="integrated-gradients", how=how)
    captums = []
    for layer, (projection, call) in enumerate(projections(lm.model)):
        integrated = IntegratedGradients(captum_function(lm.model, target, projection, call))
        w = torch.tensor(ours.activations[0, layer : layer + 1])
        captums.append(integrated.attribute(w, n_steps=6, method="gausslegendre")[0].numpy())
    assert relative_error(ours.scores[0], captums) <= 1e-5


@pytest.mark.parametrize("family", ["bert", "gpt2", "opt", "llama", "mistral", "gemma2"])
def test_eager_attention_with_its_explicit_masks_gives_the_same_scores(family):
    model, tokenizer = tiny(family)
    model.set_attn_implementation("eager")
    lm = language_model(model, tokenizer)
    encoded = asked(lm)
    ours = attribute_targets(lm, encoded, method="integrated-gradients", how=TWO)
    for row, (target,) in enumerate(encoded):
        theirs = reference(lm.model, target, fixed("gauss-legendre", 2))
        assert_alike(ours.scores[row], theirs.scores)
