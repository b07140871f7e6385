"""P(answer) and its slope: as precise as float32 allows for a large vocabulary too."""

from types import SimpleNamespace

import pytest
import torch

from atlas.engine.answer import ask_head

VOCABULARY, WIDTH = 49_152, 64


@pytest.fixture(scope="module")
def head():
    """Output embeddings with much in common, as those of language models have."""
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(VOCABULARY, WIDTH, generator=generator)
    common = torch.randn(1, WIDTH, generator=generator)
    return 0.15 * (own + common)


def exact(head, hidden, tokens):
    """P and its gradient in float64, straight from the definition."""
    leaf = hidden.double().requires_grad_()
    p = (leaf @ head.double().T).softmax(-1).gather(1, tokens[:, None])[:, 0]
    (gradient,) = torch.autograd.grad(p.sum(), leaf)
    return p.detach(), gradient


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 10, 17])
def test_p_and_its_gradient_are_exact_to_float32_whatever_the_number_of_rows(
    head, rows, threads, one_thread
):
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(rows)
    hidden = 3 * torch.randn(rows, WIDTH, generator=generator)
    tokens = (hidden @ head.T).argmax(-1)
    lm = SimpleNamespace(head=lambda rows: rows @ head.T)
    ours = ask_head(lm, hidden, tokens)
    p, gradient = exact(head, hidden, tokens)
    assert ours.p.shape == (rows,)
    assert ours.gradient.shape == (rows, WIDTH)
    torch.testing.assert_close(ours.p.double(), p, rtol=3e-6, atol=0)
    error = (ours.gradient - gradient).abs().amax(-1) / gradient.abs().amax(-1)
    assert error.max() <= 1e-5


@pytest.mark.parametrize("logit", [30.0, 40.0])
def test_the_gradient_of_a_p_near_1_is_exact_too(logit):
    """What a model that knows its answer leaves to the rest must not be taken as 1 less P."""
    generator = torch.Generator().manual_seed(2)
    embeddings = torch.randn(50, 8, generator=generator)
    hidden = torch.randn(4, 8, generator=generator)
    hidden = hidden * (logit / (hidden @ embeddings.T).amax(-1, keepdim=True))
    tokens = (hidden @ embeddings.T).argmax(-1)
    p, gradient = exact(embeddings, hidden, tokens)
    assert p.max() > 0.9999
    ours = ask_head(SimpleNamespace(head=lambda rows: rows @ embeddings.T), hidden, tokens)
    torch.testing.assert_close(ours.p.double(), p, rtol=1e-6, atol=0)
    error = (ours.gradient - gradient).abs().amax(-1) / gradient.abs().amax(-1)
    assert error.max() <= 1e-5


def test_without_gradients_p_is_the_same_and_nothing_is_kept(head):
    hidden = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))
    tokens = torch.tensor([5, 6, 7])
    lm = SimpleNamespace(head=lambda rows: rows @ head.T)
    ours = ask_head(lm, hidden, tokens, gradients=False)
    torch.testing.assert_close(ours.p, ask_head(lm, hidden, tokens).p, rtol=1e-5, atol=0)
    assert ours.gradient.shape == (3, 0)
    assert not ours.p.requires_grad


def test_asking_does_not_touch_the_callers_tensor(head):
    hidden = torch.randn(3, WIDTH)
    before = hidden.clone()
    lm = SimpleNamespace(head=lambda rows: rows @ head.T)
    ask_head(lm, hidden, torch.tensor([5, 6, 7]))
    assert torch.equal(hidden, before)
    assert not hidden.requires_grad
    assert hidden.grad is None
