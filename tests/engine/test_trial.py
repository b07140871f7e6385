"""A model tried whole: right ones pass in every layer, wrong ones are refused in one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from model_directories import refused
from oracle import language_model, reference, tiny_language_model
from tiny_models import FAMILIES, tiny
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    DebertaConfig,
    DebertaV2Config,
    LongformerConfig,
    PreTrainedConfig,
    RecurrentGemmaConfig,
)

from atlas.engine import trial
from atlas.engine.naive import naive_scores
from atlas.engine.quadrature import fixed
from atlas.engine.trial import require_right, seeded_targets, try_whole
from atlas.errors import UnsupportedArchitecture


@pytest.mark.parametrize("family", FAMILIES)
def test_every_listed_family_passes_its_trial(family: str) -> None:
    lm = tiny_language_model(family)
    comparisons = try_whole(lm, every_layer=True)
    assert len(comparisons) == 2 + lm.layers + 1  # answers, layers, one at an earlier token
    assert max(comparison.error for comparison in comparisons) <= 1e-4


@pytest.mark.parametrize("family", ["albert", "gemma2", "gpt2", "opt"])
def test_the_naive_loop_is_the_reference_of_the_tests(family: str) -> None:
    lm, rule = tiny_language_model(family), fixed("gauss-legendre", 2)
    target = seeded_targets(lm)[0]
    theirs = reference(lm.model, target, rule).scores
    for layer in range(lm.layers):
        ours = naive_scores(lm, target, layer, rule).numpy()
        assert abs(ours - theirs[layer]).max() <= 1e-5 * abs(theirs).max()


def test_trying_leaves_a_model_as_it_was() -> None:
    lm = language_model(*tiny("llama"))
    before = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    try_whole(lm)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.model.modules())
    assert all(torch.equal(weight, before[n]) for n, weight in lm.model.state_dict().items())


def test_a_listed_model_that_does_what_its_entry_does_not_say_is_refused() -> None:
    lm = language_model(*tiny("llama"))
    block = lm.blocks[1].module
    plain = block.forward
    # what follows the FFN is not linear in it
    block.forward = lambda *args, **kwargs: plain(*args, **kwargs).tanh()
    with pytest.raises(UnsupportedArchitecture, match="is listed, but measuring this model") as e:
        require_right(lm)
    assert "\n" not in str(e.value)


def test_a_large_listed_model_is_asked_for_answers_and_a_roberta_that_decodes_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial, "SMALL", 0)
    require_right(tiny_language_model("roberta"))
    model, tokenizer = tiny("roberta")
    config = model.config
    config.is_decoder = True
    torch.manual_seed(0)
    lm = language_model(AutoModelForCausalLM.from_config(config), tokenizer)
    with pytest.raises(UnsupportedArchitecture, match="answers to two prompts at once"):
        require_right(lm)


_SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
}
# What ended in a traceback or in wrong numbers after "tried on the model and it holds".
WRONG: dict[str, tuple[type[PreTrainedConfig], dict[str, Any]]] = {
    "deberta": (DebertaConfig, {}),
    "deberta-v2": (
        DebertaV2Config,
        {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0},
    ),
    "longformer": (LongformerConfig, {"attention_window": 8}),
    "recurrent_gemma": (
        RecurrentGemmaConfig,
        {
            "lru_width": 16,
            "num_key_value_heads": 1,
            "attention_window_size": 8,
            "block_types": ["recurrent", "recurrent", "attention"],
        },
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_was_found_by_looking_and_is_wrong_is_refused_in_one_line(
    kind: str, tmp_path: Path
) -> None:
    config_class, settings = WRONG[kind]
    causal = kind == "recurrent_gemma"
    _, tokenizer = tiny("gpt2" if causal else "roberta" if kind == "longformer" else "bert")
    config = config_class(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **{**_SIZES, **settings}
    )
    torch.manual_seed(0)
    auto = AutoModelForCausalLM if causal else AutoModelForMaskedLM
    auto.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    refused(tmp_path, UnsupportedArchitecture, f"architecture '{kind}' is not supported", "regist")
