"""Workers: every task once, on the same weights, and nothing left behind."""

import threading

import numpy as np
import pytest
import torch
from oracle import language_model, question, relative_error, tiny_language_model
from tiny_models import FAMILIES, tiny

from atlas.engine import attribution
from atlas.engine.attribution import attribute
from atlas.engine.workers import most_workers, run_workers
from atlas.prompts import Prompt

IDS = torch.tensor([[1, 2, 3]])


@pytest.fixture
def threads():
    """So many torch threads within the test, four."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield 4
    torch.set_num_threads(before)


def prompts_for(family):
    asked = [
        (f"The capital of {country} is", city)
        for country in ("France", "Norway", "Italy")
        for city in ("Paris", "Oslo", "Rome", "Dublin")
    ]
    return [Prompt(question(family, before), answer) for before, answer in asked]


@pytest.mark.parametrize("workers", [1, 2, 3, 50])
def test_every_task_is_done_once_in_order_of_the_tasks(workers, threads):
    begun, seen = [], set()

    def work(model, task):
        begun.append(task)
        seen.add(threading.current_thread().name)

    run_workers(tiny_language_model("bert"), range(20), work, workers=workers)
    assert sorted(begun) == list(range(20))
    if workers == 1:
        assert begun == list(range(20))
        assert seen == {threading.current_thread().name}
    assert torch.get_num_threads() == threads


def test_no_tasks_are_no_work(threads):
    run_workers(tiny_language_model("bert"), [], None, workers=3)


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_are_at_work_at_the_same_time_and_share_torchs_threads(workers, threads):
    together = threading.Barrier(workers, timeout=30)
    models, shares = set(), []

    def work(model, task):
        together.wait()  # breaks unless all of them come
        assert len(helpers_alive()) == workers - 1
        models.add(id(model.model))
        shares.append(torch.get_num_threads())

    lm = tiny_language_model("gpt2")
    run_workers(lm, range(2 * workers), work, workers=workers)
    assert len(models) == workers
    assert id(lm.model) in models
    assert set(shares) == {threads // workers}
    assert torch.get_num_threads() == threads


def helpers_alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("atlas worker")]


class Broken(Exception):
    """Raised on purpose."""


@pytest.mark.parametrize("culprit", ["caller", "helper"])
def test_a_failure_stops_the_others_and_is_raised(culprit, threads):
    caller, together = threading.current_thread(), threading.Barrier(2, timeout=30)
    done = []

    def work(model, task):
        if task < 2:
            together.wait()
        if (threading.current_thread() is caller) == (culprit == "caller"):
            raise Broken
        if culprit == "caller":
            while True:  # a helper's long work: it ends at a block
                model.model(input_ids=IDS)
        model.model(input_ids=IDS)
        done.append(task)

    with pytest.raises(Broken):
        run_workers(tiny_language_model("gpt2"), range(1_000), work, workers=2)
    assert len(done) < 900
    assert torch.get_num_threads() == threads
    assert not helpers_alive()


def test_ctrl_c_ends_helpers_at_their_next_block(threads):
    caller, together = threading.current_thread(), threading.Barrier(3, timeout=30)

    def work(model, task):
        together.wait()
        if threading.current_thread() is caller:
            raise KeyboardInterrupt
        while True:
            model.model(input_ids=IDS)

    with pytest.raises(KeyboardInterrupt):
        run_workers(tiny_language_model("bert"), range(3), work, workers=3)
    assert torch.get_num_threads() == threads
    assert not helpers_alive()


# --- replicas


@pytest.mark.parametrize("family", FAMILIES)
def test_a_replica_answers_the_same_from_the_same_weights(family):
    lm = tiny_language_model(family)
    twin = lm.replica()
    assert twin.tokenizer is lm.tokenizer
    assert twin.layers == lm.layers
    ours = {module for module in lm.model.modules() if next(module.children(), None) is not None}
    assert not ours & set(twin.model.modules())
    assert {block.module for block in twin.blocks} <= set(twin.model.modules())
    assert [w.data_ptr() for w in twin.model.parameters()] == [
        w.data_ptr() for w in lm.model.parameters()
    ]
    with torch.no_grad():
        assert torch.equal(twin.model(input_ids=IDS).logits, lm.model(input_ids=IDS).logits)


def test_what_is_hooked_or_bypassed_on_a_replica_is_not_on_the_model():
    lm = language_model(*tiny("llama"))
    twin = lm.replica()
    for block in twin.blocks:
        block.module.register_forward_hook(lambda *_: pytest.fail("the replica ran"))
    with torch.no_grad(), twin.bypassed(twin.blocks, torch.zeros(1, 3, twin.d_model)):
        lm.model(input_ids=IDS)


# --- attribution by several workers


@pytest.mark.parametrize("family", FAMILIES)
def test_several_workers_give_the_scores_of_one(family, threads, monkeypatch):
    lm, prompts = tiny_language_model(family), prompts_for(family)
    monkeypatch.setattr(attribution, "FEWEST_TARGETS", 1000)
    alone = attribute(lm, prompts)
    monkeypatch.setattr(attribution, "FEWEST_TARGETS", 1)
    names = watched_threads(monkeypatch)
    ours = attribute(lm, prompts)
    assert len(names) > 1
    assert ours.predicted == alone.predicted
    np.testing.assert_array_equal(ours.answer_rank, alone.answer_rank)
    np.testing.assert_array_equal(ours.evaluations, alone.evaluations)
    assert relative_error(ours.scores, alone.scores) <= 1e-5
    assert relative_error(ours.p_answer, alone.p_answer) <= 1e-5


def watched_threads(monkeypatch):
    """The names of the threads that run clean passes from now on."""
    names, run_clean = set(), attribution.run_clean

    def watched(lm, targets):
        names.add(threading.current_thread().name)
        return run_clean(lm, targets)

    monkeypatch.setattr(attribution, "run_clean", watched)
    return names


def test_edits_that_are_applied_reach_every_worker(threads, monkeypatch):
    lm, prompts = language_model(*tiny("gpt2")), prompts_for("gpt2")
    monkeypatch.setattr(attribution, "FEWEST_TARGETS", 1)
    before = attribute(lm, prompts).scores
    kept = lm.value_vectors(1).clone()
    lm.value_vectors(1).mul_(1.5)
    edited = attribute(lm, prompts).scores
    lm.value_vectors(1).copy_(kept)
    largest = np.abs(before).max((1, 2))
    assert (np.abs(edited - before).max((1, 2)) > 0.01 * largest).all()
    np.testing.assert_array_equal(attribute(lm, prompts).scores, before)


def test_a_model_with_hooks_is_left_to_the_calling_thread(threads):
    lm = language_model(*tiny("gpt2"))
    assert most_workers(lm) == threads
    handle = lm.blocks[1].value_projection.register_forward_pre_hook(lambda *_: None)
    assert most_workers(lm) == 1
    handle.remove()
    assert most_workers(lm) == threads


def test_an_accelerator_has_one_worker(threads):
    lm = language_model(*tiny("gpt2"))
    object.__setattr__(lm, "device", "cuda:0")
    assert most_workers(lm) == 1
