"""What attribution must not depend on (memory, threads, dropout) and must not leave behind."""

import numpy as np
import pytest
import torch
from oracle import language_model, question, relative_error, tiny_language_model
from tiny_models import FAMILIES, tiny
from transformers import BertConfig, BertForMaskedLM

from atlas.engine import answer, attribution, wave
from atlas.engine.attribution import METHODS, attribute
from atlas.prompts import Prompt

pytestmark = pytest.mark.usefixtures("one_thread")

ASKED = [
    ("The capital of France is", "Paris"),
    ("The city of Rome is in", "Oslo"),
    ("The capital of Norway is Oslo and the capital of France is", "Paris"),
    ("The capital of Norway is Oslo and the capital of France is", "Dublin"),
]


def prompts_for(family):
    return [Prompt(question(family, before), answer) for before, answer in ASKED]


# --- memory


def attribute_counting(lm, prompts, monkeypatch, **settings):
    """The attribution, the number of clean passes and the rows of every wave."""
    passes, waves = [], []
    run_clean, run_wave = attribution.run_clean, wave._run_wave

    def counted_pass(lm, targets):
        passes.append(len(targets))
        return run_clean(lm, targets)

    def counted_wave(clean, wanted, gradients):
        waves.append(sum(len(rows.targets) for rows in wanted))
        return run_wave(clean, wanted, gradients)

    with monkeypatch.context() as patch:
        patch.setattr(attribution, "run_clean", counted_pass)
        patch.setattr(wave, "_run_wave", counted_wave)
        return attribute(lm, prompts, **settings), passes, waves


@pytest.mark.parametrize("family", ["bert", "albert", "gpt2", "llama", "bloom", "gemma2"])
def test_a_small_memory_budget_splits_the_work_and_changes_no_score(family, monkeypatch):
    lm, prompts = tiny_language_model(family), prompts_for(family)[2:]  # of one length

    def run(budget):
        return attribute_counting(
            lm, prompts, monkeypatch, rule="riemann-left", points=4, memory_budget=budget
        )

    enough = 1 << 16
    while len(run(enough)[2]) > 1:
        enough *= 2
    whole, passes, waves = run(enough)
    assert passes == [2]
    assert waves == [2 * 4 * lm.layers]
    for budget in (enough // 8, 1):
        ours, more_passes, more_waves = run(budget)
        assert len(more_waves) >= (4 if budget > 1 else sum(waves))
        assert sum(more_waves) == sum(waves)
        assert sum(more_passes) == 2
        assert relative_error(ours.scores, whole.scores) <= 1e-5
        assert relative_error(ours.effect, whole.effect) <= 1e-5
        assert relative_error(ours.p_answer, whole.p_answer) <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_wave_keeps_for_its_backward_fits_the_budget(family, monkeypatch):
    lm, prompts = tiny_language_model(family), prompts_for(family)[2:]
    run_wave = wave._run_wave
    weights = {tensor.untyped_storage().data_ptr() for tensor in lm.model.state_dict().values()}
    kept = []

    def measured(clean, wanted, gradients):
        storages = {}

        def note(tensor):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            result = run_wave(clean, wanted, gradients)
        kept.append(sum(size for at, size in storages.items() if at not in weights))
        return result

    monkeypatch.setattr(wave, "_run_wave", measured)
    budget = 1 << 20
    attribute(lm, prompts, rule="riemann-left", points=16, memory_budget=budget)
    assert len(kept) > 1
    assert budget / 16 <= max(kept) <= budget


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_adaptive_rule_does_not_depend_on_the_memory_budget_either(family):
    lm, prompts = tiny_language_model(family), prompts_for(family)
    whole, ours = (attribute(lm, prompts, memory_budget=budget) for budget in (1 << 34, 1 << 17))
    np.testing.assert_array_equal(ours.evaluations, whole.evaluations)
    assert relative_error(ours.scores, whole.scores) <= 1e-5


def test_the_head_works_in_slices_without_changing_a_score(monkeypatch):
    lm, prompts = tiny_language_model("gpt2"), prompts_for("gpt2")
    whole = attribute(lm, prompts)
    monkeypatch.setattr(answer, "HEAD_BYTES", 1)
    assert relative_error(attribute(lm, prompts).scores, whole.scores) <= 1e-5


# --- threads and number formats


def test_one_thread_and_two_select_the_same_neurons():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tiny_language_model("bert").tokenizer),
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=40,
        initializer_range=0.1,
    )
    lm = language_model(BertForMaskedLM(config), tiny_language_model("bert").tokenizer)
    prompts = prompts_for("bert")
    chosen, scores = [], []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        ours = attribute(lm, prompts, rule="gauss-legendre", points=4).scores
        scores.append(ours)
        chosen.append(ours >= 0.2 * ours.max((1, 2), keepdims=True))
    assert chosen[0].sum() > len(prompts)
    np.testing.assert_array_equal(chosen[0], chosen[1])
    assert relative_error(scores[0], scores[1]) <= 1e-4


@pytest.mark.parametrize("family", ["bert", "albert", "gpt2", "gptj", "opt", "gemma2"])
def test_bfloat16_gives_float32_scores_close_to_those_of_a_float32_model(family):
    model, tokenizer = tiny(family)
    prompts = prompts_for(family)
    exact = attribute(language_model(model, tokenizer), prompts, rule="gauss-legendre", points=8)
    lm = language_model(model.bfloat16(), tokenizer, "bfloat16")
    assert lm.model.dtype == torch.bfloat16
    ours = attribute(lm, prompts, rule="gauss-legendre", points=8)
    for array in (ours.scores, ours.activations, ours.effect, ours.completeness_gap, ours.p_answer):
        assert array.dtype == np.float32
    # Measured: 0.01 to 0.07, and as much for the naive loop in bfloat16.
    assert relative_error(ours.scores, exact.scores) <= 0.15
    for i in range(len(prompts)):
        a, b = ours.scores[i].ravel(), exact.scores[i].ravel()
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.99


@pytest.mark.parametrize("method", METHODS)
def test_every_method_works_in_bfloat16(method):
    model, tokenizer = tiny("llama")
    lm = language_model(model.bfloat16(), tokenizer, "bfloat16")
    ours = attribute(lm, prompts_for("llama"), method=method)
    assert ours.scores.dtype == np.float32
    assert np.isfinite(ours.scores).all()


# --- dropout, and a model that was trained in between


@pytest.mark.parametrize("family", ["bert", "gpt2", "opt"])
def test_dropout_never_acts_whether_the_model_came_or_was_put_in_training_mode(family):
    dropout = (
        {"resid_pdrop": 0.5, "attn_pdrop": 0.5, "embd_pdrop": 0.5}
        if family == "gpt2"
        else {"attention_dropout": 0.5, "dropout": 0.5}
        if family == "opt"
        else {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5}
    )
    exact = attribute(tiny_language_model(family), prompts_for(family)).scores
    model, tokenizer = tiny(family, **dropout)
    lm = language_model(model.train(), tokenizer)
    np.testing.assert_allclose(attribute(lm, prompts_for(family)).scores, exact, rtol=1e-6)
    lm.model.train()
    np.testing.assert_allclose(attribute(lm, prompts_for(family)).scores, exact, rtol=1e-6)
    assert all(module.training for module in lm.model.modules())


@pytest.mark.parametrize("method", METHODS)
def test_parameters_that_were_unfrozen_stay_so_and_gather_no_gradient(method):
    lm = language_model(*tiny("bert"))
    exact = attribute(lm, prompts_for("bert"), method=method).scores
    lm.model.bert.encoder.requires_grad_(True)
    ours = attribute(lm, prompts_for("bert"), method=method).scores
    np.testing.assert_array_equal(ours, exact)
    for name, weight in lm.model.named_parameters():
        assert weight.requires_grad == (".encoder." in name)
        assert weight.grad is None


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_callers_no_grad_is_no_hindrance(family):
    lm, prompts = tiny_language_model(family), prompts_for(family)
    with torch.no_grad():
        ours = attribute(lm, prompts)
    np.testing.assert_array_equal(ours.scores, attribute(lm, prompts).scores)


# --- nothing is left behind


def state(model):
    """All that attribution could leave changed."""
    modules = {
        name: (
            module.training,
            [
                len(hooks)
                for hooks in (
                    module._forward_hooks,
                    module._forward_pre_hooks,
                    module._backward_hooks,
                    module._backward_pre_hooks,
                )
            ],
            "forward" in vars(module),
        )
        for name, module in model.named_modules()
    }
    weights = {
        name: (weight.requires_grad, weight.grad, weight.tolist())
        for name, weight in model.named_parameters()
    }
    return modules, weights


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_as_it_was_after_attribution(family):
    lm = tiny_language_model(family)
    before = state(lm.model)
    for method in METHODS:
        attribute(lm, prompts_for(family)[:1], method=method, rule="riemann-left", points=2)
        assert state(lm.model) == before


class Broken(Exception):
    """Raised on purpose."""


@pytest.mark.parametrize("family", ["bert", "albert", "gpt2", "llama"])
def test_the_model_is_as_it_was_after_a_failure_wherever_it_happens(family):
    lm = language_model(*tiny(family))
    prompts = prompts_for(family)
    lm.model.train()  # so that flags are to be put back too
    before = state(lm.model)
    exact = attribute(lm, prompts, rule="riemann-left", points=2).scores
    last = lm.model.get_submodule([name for name, _ in lm.model.named_modules()][-1])
    inside = lm.blocks[1].value_projection
    for module in (lm.model, last, inside):
        calls = count_calls(module, lambda: attribute(lm, prompts, rule="riemann-left", points=2))
        assert calls >= 2
        for fatal in range(calls):
            left = iter(range(calls))

            def fail(*_, left=left, fatal=fatal):
                if next(left) == fatal:
                    raise Broken

            handle = module.register_forward_hook(fail)
            with pytest.raises(Broken):
                attribute(lm, prompts, rule="riemann-left", points=2)
            handle.remove()
            assert state(lm.model) == before
    np.testing.assert_array_equal(
        attribute(lm, prompts, rule="riemann-left", points=2).scores, exact
    )


def count_calls(module, run):
    calls = []
    handle = module.register_forward_hook(lambda *_: calls.append(1))
    run()
    handle.remove()
    return len(calls)


@pytest.mark.parametrize("stage", ["_ask", "_scaled"])
def test_the_model_is_as_it_was_after_a_failure_of_the_wave_itself(stage, monkeypatch):
    lm = language_model(*tiny("gpt2"))
    before = state(lm.model)

    def fail(*_):
        raise Broken

    monkeypatch.setattr(wave, stage, fail)
    with pytest.raises(Broken):
        attribute(lm, prompts_for("gpt2"))
    assert state(lm.model) == before
