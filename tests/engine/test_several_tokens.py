"""Answers of several tokens: the model's own, and scores of the whole answer.

The oracles share nothing with the engine: transformers' `generate`, a plain forward pass of a
masked model, and the naive loop of every token.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import mini_bert, question, references, tiny_language_model

from atlas.engine.attribution import attribute, attribute_targets
from atlas.engine.interventions import scaled
from atlas.engine.joint import joint_weights
from atlas.engine.probe import probe
from atlas.engine.quadrature import fixed
from atlas.engine.settings import Integration
from atlas.engine.suppression import Suppressed, ask_suppressed
from atlas.models.language_model import LanguageModel
from atlas.prompts import Prompt, Target, encode

CAUSAL = ["gpt2", "llama", "opt", "bloom"]
MASKED = ["bert", "albert", "roberta"]
ANSWERS = ("Paris", "Antananarivo", "Dublin Oslo Rome", "Paris Paris")

pytestmark = pytest.mark.usefixtures("one_thread")


def _asked(lm: LanguageModel) -> list[list[Target]]:
    texts = [question(lm.architecture), question(lm.architecture, "Oslo is in")]
    prompts = [Prompt(text, answer) for text in texts for answer in ANSWERS]
    return [encode(prompt, lm.tokenizer, lm.objective, 40) for prompt in prompts]


def _continuation(lm: LanguageModel, ids: tuple[int, ...], length: int) -> tuple[list[int], float]:
    """What transformers itself says behind a causal prompt, and its probability."""
    said = lm.model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        do_sample=False,
        max_new_tokens=length,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=0,
    )
    tokens = said.sequences[0, len(ids) :].tolist()
    log_p = [
        float(logits[0].double().log_softmax(-1)[token])
        for token, logits in zip(tokens, said.logits, strict=True)
    ]
    return tokens, float(np.exp(sum(log_p)))


@pytest.mark.parametrize("family", CAUSAL)
def test_a_causal_model_predicts_what_generate_says(family: str) -> None:
    lm = tiny_language_model(family)
    asked = _asked(lm)
    found = probe(lm, asked)
    how = Integration("riemann-right", 1)
    measured = attribute_targets(lm, asked, method="gradient-x-activation", how=how)
    lengths = {len(targets) for targets in asked}
    assert len(lengths) > 1
    for row, targets in enumerate(asked):
        ids, p = _continuation(lm, targets[0].token_ids, len(targets))
        for ours in (found, measured):
            assert ours.predicted[row] == lm.tokenizer.decode(ids).strip()
            assert ours.p_predicted[row] == pytest.approx(p, rel=1e-3)
            wanted = [target.token for target in targets]
            assert (ours.answer_rank[row] == 1) == (ids == wanted)


@pytest.mark.parametrize("family", CAUSAL)
def test_what_the_model_says_itself_is_its_top_answer(family: str) -> None:
    lm = tiny_language_model(family)
    for targets in _asked(lm)[::4]:
        prefix = targets[0].token_ids
        ids, p = _continuation(lm, prefix, 3)
        own = [
            Target((*prefix, *ids[:j]), len(prefix) + j - 1, token, j)
            for j, token in enumerate(ids)
        ]
        found = probe(lm, [own])
        assert found.answer_rank.tolist() == [1]
        assert found.p_answer[0] == found.p_predicted[0] == pytest.approx(p, rel=1e-3)
        assert ask_suppressed(lm, [Suppressed(own, ())]).on_top.tolist() == [True]


def test_nothing_is_said_behind_the_end_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_language_model("llama")
    targets = next(targets for targets in _asked(lm) if len(targets) > 2)
    ids, _ = _continuation(lm, targets[0].token_ids, len(targets))
    if ids[0] == targets[0].token:
        targets = [replace(target, token=5 + (target.token == 5)) for target in targets]
    assert ids[0] != ids[1]
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", [ids[1], 10**6])
    ended, p = _continuation(lm, targets[0].token_ids, len(targets))
    assert len(ended) == 2 < len(targets)
    found = probe(lm, [targets])
    assert found.predicted == (lm.tokenizer.decode(ended).strip(),)
    assert found.p_predicted[0] == pytest.approx(p, rel=1e-3)


@pytest.mark.parametrize("family", MASKED)
def test_a_masked_model_predicts_the_top_token_of_each_mask(family: str) -> None:
    lm = tiny_language_model(family)
    asked = _asked(lm)
    found = probe(lm, asked)
    how = Integration("riemann-right", 1)
    measured = attribute_targets(lm, asked, method="activation", how=how)
    for row, targets in enumerate(asked):
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([targets[0].token_ids])).logits[0]
        masks = [target.position for target in targets]
        tops = logits[masks].double().log_softmax(-1).max(-1)
        for ours in (found, measured):
            assert ours.predicted[row] == lm.tokenizer.decode(tops.indices).strip()
            assert ours.p_predicted[row] == pytest.approx(float(tops.values.sum().exp()), rel=1e-3)
            assert ours.p_answer[row] <= ours.p_predicted[row] * (1 + 1e-6)
            wanted = [target.token for target in targets]
            assert (ours.answer_rank[row] == 1) == (tops.indices.tolist() == wanted)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_with_neurons_suppressed_the_model_says_what_it_says_without_them(family: str) -> None:
    """At the answer position of every token that it says, step by step."""
    lm = tiny_language_model(family)
    neurons = [(0, 3), (1, 5), (2, 7)]
    asked = [targets for targets in _asked(lm) if len(targets) > 1]
    found = probe(lm, asked, neurons=neurons)
    on_top = ask_suppressed(lm, [Suppressed(targets, tuple(neurons)) for targets in asked]).on_top
    differs = 0
    for row, targets in enumerate(asked):
        said: list[int] = []
        log_p = 0.0
        while len(said) < len(targets) and lm.tokenizer.eos_token_id not in said:
            ids = (*targets[0].token_ids, *said)
            at = torch.tensor([len(ids) - 1])
            with torch.no_grad(), scaled(lm, neurons, 0.0, at):
                logits = lm.model(input_ids=torch.tensor([ids])).logits[0, -1].double()
            said.append(int(logits.argmax()))
            log_p += float(logits.log_softmax(-1).max())
        assert found.predicted[row] == lm.tokenizer.decode(said).strip()
        assert found.p_predicted[row] == pytest.approx(np.exp(log_p), rel=1e-3)
        assert on_top[row] == (said == [target.token for target in targets])
        differs += said[:-1] != [target.token for target in targets][:-1]
    assert differs  # else nothing would have been asked behind its own words


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "gemma2"])
def test_scores_of_several_tokens_add_up_to_what_the_whole_answer_loses(family: str) -> None:
    lm = tiny_language_model(family)
    prompt = Prompt(question(family), "Dublin Oslo")
    theirs = references(lm, prompt, fixed("gauss-legendre", 40))
    assert len(theirs) > 1
    ours = attribute(lm, [prompt], tolerance=1e-4)
    ends = np.array([t.p for t in theirs], np.float64)[:, None]
    starts = ends - [t.effect for t in theirs]
    loss = ends.prod(0) - starts.prod(0)  # [layer]
    largest = np.abs(loss).max()
    np.testing.assert_allclose(ours.effect[0], loss, atol=1e-4 * largest)
    np.testing.assert_allclose(ours.scores[0].sum(-1), loss, atol=1e-3 * largest)


def test_a_single_token_has_the_scores_of_the_token_bit_for_bit() -> None:
    lm = mini_bert()
    prompts = [Prompt("The capital of Ireland is [MASK].", "Dublin")]
    ours = attribute(lm, prompts)
    assert ours.answer_tokens[0] == 1
    assert ours.token_scores[0].shape == (1, *ours.scores[0].shape)
    assert (ours.token_scores[0][0] == ours.scores[0]).all()
    assert (joint_weights(np.log([0.3]), np.log([[0.2, 0.3, 1e-30]])) == 1).all()
    gap = ours.scores[0].sum(-1, dtype=np.float64) - ours.effect[0]
    np.testing.assert_allclose(ours.completeness_gap[0], gap, atol=1e-7)


def test_weights_are_logarithmic_means_also_where_nothing_changes() -> None:
    end, start = np.array([0.5, 0.2]), np.array([[0.5, 0.1], [0.2, 1e-38]])
    ours = joint_weights(np.log(end), np.log(start))
    np.testing.assert_allclose(ours[:, 0], [0.2, 0.5])  # P / P_j

    def mean(a: float, b: float) -> float:
        return (a - b) / (np.log(a) - np.log(b))

    whole = mean(0.1, 1e-39)
    np.testing.assert_allclose(ours[:, 1], [whole / mean(0.5, 0.1), whole / mean(0.2, 1e-38)])
    almost = joint_weights(np.log(end), np.log(end)[:, None] - 1e-13)
    np.testing.assert_allclose(almost[:, 0], [0.2, 0.5], rtol=1e-9)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_gaps_of_tokens_do_not_cancel(family: str) -> None:
    """The worst token's gap counts, beside that token's own largest effect."""
    lm = tiny_language_model(family)
    prompts = [Prompt(question(family), answer) for answer in ANSWERS]
    ours = attribute(lm, prompts, rule="riemann-right", points=1, tolerance=0.2)
    opposite = 0
    for row, prompt in enumerate(prompts):
        theirs = references(lm, prompt, fixed("riemann-right", 1))
        gaps = np.array([t.scores.sum(-1) - t.effect for t in theirs])  # [token, layer]
        largest = np.array([np.abs(t.effect).max() for t in theirs])
        worst = (np.abs(gaps).max(-1) / largest).argmax()
        atol = 1e-5 * np.abs(theirs[worst].scores).sum(-1).max()
        np.testing.assert_allclose(ours.completeness_gap[row], gaps[worst], atol=atol)
        assert ours.largest_effect[row] == pytest.approx(largest[worst], rel=1e-4)
        over = (np.abs(gaps).max(-1) > 0.2 * largest).any()
        assert ours.over_tolerance[row] == over
        opposite += bool((gaps.min(0) < 0).any() and (gaps.max(0) > 0).any() and len(gaps) > 1)
    assert opposite
