"""Probing, against one plain forward pass per prompt and against attribution's own numbers."""

import numpy as np
import pytest
import torch
from edit_models import language_model

from atlas.engine.attribution import attribute
from atlas.engine.interventions import scaled
from atlas.engine.probe import probe
from atlas.models.language_model import LanguageModel
from atlas.prompts import Prompt, Target, encode

MASKED = [
    Prompt("The capital of France is [MASK].", "Paris"),
    Prompt("Rome is the capital of [MASK]", "Antananarivo"),
    Prompt("Oslo is in [MASK]", "Dublin"),
]
CAUSAL = [
    Prompt("The capital of France is", "Paris"),
    Prompt("Rome is the capital of", "Antananarivo"),
    Prompt("Oslo is in", "Dublin"),
]


def _encoded(lm: LanguageModel) -> list[list[Target]]:
    prompts = MASKED if lm.objective == "masked" else CAUSAL
    return [encode(prompt, lm.tokenizer, lm.objective, 40) for prompt in prompts]


@pytest.mark.parametrize("family", ["bert", "albert", "roberta", "gpt2", "llama", "opt", "bloom"])
def test_numbers_are_those_of_one_forward_pass_per_token(family: str) -> None:
    lm = language_model(family)
    encoded = _encoded(lm)
    found = probe(lm, encoded)
    for row, targets in enumerate(encoded):
        logs, ranks = [], []
        for target in targets:
            with torch.no_grad():
                logits = lm.model(input_ids=torch.tensor([target.token_ids])).logits
            logits = logits[0, target.position].double()
            logs.append(float(logits.log_softmax(-1)[target.token]))
            ranks.append(1 + int((logits > logits[target.token]).sum()))
        assert found.log_p[row] == pytest.approx(sum(logs), abs=1e-4)
        assert found.p_answer[row] == pytest.approx(np.exp(sum(logs)), rel=1e-3)
        assert found.answer_rank[row] == max(ranks)
        assert found.answer_tokens[row] == len(targets)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_numbers_are_those_of_attribution(family: str) -> None:
    lm = language_model(family)
    prompts = MASKED if lm.objective == "masked" else CAUSAL
    measured = attribute(lm, prompts, method="activation")
    found = probe(lm, [encode(p, lm.tokenizer, lm.objective, 40) for p in prompts])
    np.testing.assert_allclose(found.p_answer, measured.p_answer, rtol=1e-4)
    np.testing.assert_allclose(found.p_predicted, measured.p_predicted, rtol=1e-4)
    assert found.answer_rank.tolist() == measured.answer_rank.tolist()
    assert found.predicted == measured.predicted


@pytest.mark.parametrize("family", ["bert", "albert", "gpt2", "llama", "opt", "bloom"])
def test_rows_of_one_prompt_may_differ_in_factors(family: str) -> None:
    lm = language_model(family)
    neurons = [(0, 3), (2, 7)]
    factors = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    targets = _encoded(lm)[0]
    found = probe(lm, [targets] * 4, neurons=neurons, factors=factors)
    (target,) = targets
    for row in range(4):
        at = torch.tensor([target.position])
        with torch.no_grad(), scaled(lm, neurons, factors[row : row + 1], at):
            logits = lm.model(input_ids=torch.tensor([target.token_ids])).logits
        expected = logits[0, target.position].log_softmax(-1)[target.token]
        assert found.log_p[row] == pytest.approx(float(expected), abs=1e-4)
    assert len(set(found.log_p.round(6))) == 4


def test_batches_do_not_change_the_numbers() -> None:
    lm = language_model("llama")
    encoded = _encoded(lm) * 3
    one, many = probe(lm, encoded, batch_tokens=1), probe(lm, encoded)
    np.testing.assert_allclose(one.log_p, many.log_p, atol=1e-5)
    assert one.predicted == many.predicted


def test_no_prompts_give_no_answers() -> None:
    assert probe(language_model("bert"), []).predicted == ()
