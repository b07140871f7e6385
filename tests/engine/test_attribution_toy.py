"""A model of two linear layers, whose attribution integral is known in closed form."""

from types import SimpleNamespace

import pytest
import torch
from oracle import language_model, relative_error
from tiny_tokenizers import word_piece
from torch import nn

from atlas.engine.attribution import attribute_targets
from atlas.engine.settings import Integration
from atlas.errors import UnsupportedArchitecture
from atlas.models.architectures import TABLE, Architecture
from atlas.prompts import Target

pytestmark = pytest.mark.usefixtures("one_thread")


class ToyBlock(nn.Module):
    """h + W_out (W_in h): a feed-forward layer without a nonlinearity."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.up = nn.Linear(3, 5)
        self.down = nn.Linear(5, 3)
        for weight in self.parameters():
            weight.data = 0.5 * torch.randn(weight.shape, generator=generator)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.down(self.up(hidden))


class ToyBase(nn.Module):
    """Embedding and two blocks."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.embedding.weight.data = torch.randn(7, 3, generator=generator)
        self.layers = nn.ModuleList([ToyBlock(generator), ToyBlock(generator)])

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        hidden = self.embedding(input_ids)
        for block in self.layers:
            hidden = block(hidden)
        return hidden


class ToyForMaskedLM(nn.Module):
    """Two logits, h·u and 0, so that P(token 0) is the sigmoid of h·u."""

    config = SimpleNamespace(model_type="toy", max_position_embeddings=10)
    device = torch.device("cpu")

    def __init__(self, seed: int = 2) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.base_model = ToyBase(generator)
        self.u = nn.Parameter(torch.randn(3, generator=generator))

    def get_input_embeddings(self) -> nn.Embedding:
        return self.base_model.embedding

    def forward(self, input_ids: torch.Tensor) -> SimpleNamespace:
        logit = self.base_model(input_ids) @ self.u
        return SimpleNamespace(logits=torch.stack([logit, torch.zeros_like(logit)], -1))


@pytest.fixture
def toy(monkeypatch):
    entry = Architecture(blocks="layers", value_projection="down")
    monkeypatch.setitem(TABLE, "toy", entry)
    return language_model(ToyForMaskedLM(), word_piece())


def by_hand(model, token_id):
    """The integral of a toy in closed form: (scores [layer, neuron], effect [layer], P).

    Were only w replaced by αw, P would be sigmoid(c + α Σ s_i) with s_i the part of the final
    logit that neuron i adds; so score_i = s_i / Σ s · (sigmoid(c + Σ s) − sigmoid(c)).
    """
    first, second = model.base_model.layers
    x = model.base_model.embedding.weight[token_id].double()
    jacobian = torch.eye(3).double() + (second.down.weight @ second.up.weight).double()
    w_first = first.up.weight.double() @ x + first.up.bias.double()
    h = x + first.down.weight.double() @ w_first + first.down.bias.double()
    w_second = second.up.weight.double() @ h + second.up.bias.double()
    logit = (
        h + second.down.weight.double() @ w_second + second.down.bias.double()
    ) @ model.u.double()
    u = model.u.double()
    parts = [
        w_first * (first.down.weight.double().T @ (jacobian.T @ u)),
        w_second * (second.down.weight.double().T @ u),
    ]
    p = torch.sigmoid(logit)
    effect = torch.stack([p - torch.sigmoid(logit - part.sum()) for part in parts])
    scores = [part / part.sum() * e for part, e in zip(parts, effect, strict=True)]
    return torch.stack(scores).detach().numpy(), effect.detach().numpy(), p.item()


TOY_TARGETS = [[Target((1, token, 2), 1, 0)] for token in (3, 4, 5, 6)]


@pytest.mark.parametrize(
    "how",
    [
        Integration("gauss-legendre", points=12),
        Integration("adaptive", tolerance=1e-5),
        Integration("riemann-left", points=4000),
        Integration("riemann-right", points=4000),
        Integration("riemann-linspace", points=4000),
    ],
    ids=lambda how: how.rule,
)
def test_a_registered_toy_model_gets_the_scores_worked_out_by_hand(toy, how):
    ours = attribute_targets(toy, TOY_TARGETS, method="integrated-gradients", how=how)
    tolerance = 1e-3 if how.rule.startswith("riemann") else 2e-5
    for i, token in enumerate((3, 4, 5, 6)):
        scores, effect, p = by_hand(toy.model, token)
        assert relative_error(ours.scores[i], scores) <= tolerance
        assert relative_error(ours.effect[i], effect) <= 2e-6
        assert ours.p_answer[i] == pytest.approx(p, rel=1e-6)


def test_rank_and_top_answer_are_the_toys(toy):
    how = Integration("gauss-legendre", points=1)
    ours = attribute_targets(toy, TOY_TARGETS, method="integrated-gradients", how=how)
    for i, token in enumerate((3, 4, 5, 6)):
        p = by_hand(toy.model, token)[2]
        assert ours.answer_rank[i] == (1 if p > 0.5 else 2)
        assert ours.p_predicted[i] == pytest.approx(max(p, 1 - p), rel=1e-6)
        assert ours.predicted[i] == toy.tokenizer.decode([0 if p > 0.5 else 1])
    assert len({int(rank) for rank in ours.answer_rank}) == 2  # both cases occur


def test_an_unregistered_architecture_is_refused_with_the_known_ones():
    with pytest.raises(UnsupportedArchitecture) as refusal:
        language_model(ToyForMaskedLM(), word_piece())
    assert "\n" not in str(refusal.value)
    assert all(name in str(refusal.value) for name in ("'toy'", "bert", "llama", "register"))


def test_a_wrong_entry_of_the_table_is_refused_with_the_name_it_lacks(monkeypatch):
    monkeypatch.setitem(TABLE, "toy", Architecture("layers", "mlp.down"))
    with pytest.raises(UnsupportedArchitecture, match="mlp") as refusal:
        language_model(ToyForMaskedLM(), word_piece())
    assert "\n" not in str(refusal.value)
