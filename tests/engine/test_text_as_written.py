"""What is measured is the text as it stands: P against transformers' own forward pass."""

import pytest
import torch
from oracle import tiny_language_model
from reference import probability

from atlas.engine.probe import probe
from atlas.facts import Fact, Template
from atlas.prompts import cloze, fill

FACT = Fact("france", "P36", "France", "Paris")


def plain_p(lm, text, answer):
    """P of an answer of one token behind a text, tokenised as one string."""
    ids = lm.tokenizer(text + answer, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        return probability(lm.model, torch.tensor([ids[:-1]]), -1, ids[-1]).item()


@pytest.mark.parametrize(
    ("template", "text", "answer"),
    [
        ("The capital of [X] is [Y].", "The capital of France is", " Paris"),
        ("The capital of [X]\nis [Y].", "The capital of France\nis", " Paris"),
        ("The capital of [X]  is [Y]", "The capital of France  is", " Paris"),
        ("The capital of [X] is [Y]。", "The capital of France is", " Paris"),
    ],
)
def test_a_causal_template_is_asked_with_its_own_white_space(template, text, answer):
    lm = tiny_language_model("gpt2")
    prompt = cloze(fill(Template("P36", template), FACT), FACT.object, "causal")
    (targets,) = [lm.encode(prompt)]
    assert len(targets) == 1
    found = float(probe(lm, [targets]).p_answer[0])
    assert found == pytest.approx(plain_p(lm, text, answer), rel=1e-5)


def test_a_newline_is_no_blank():
    lm = tiny_language_model("gpt2")
    broken, flat = (plain_p(lm, f"The capital of France{mark}is", " Paris") for mark in "\n ")
    assert broken != pytest.approx(flat, rel=1e-3)
