"""How deltas are found: the model as a function of them, the paper's rule, the smallest change."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from edit_models import language_model

from atlas.edits.applying import applied
from atlas.edits.edit import Edit
from atlas.edits.making import solving
from atlas.edits.making.directions import output_directions, paper_deltas, pulled_back
from atlas.edits.making.edited_model import EditedModel
from atlas.edits.making.solving import solve_deltas
from atlas.engine.probe import answer_states, probe
from atlas.models.language_model import LanguageModel
from atlas.prompts import Prompt, Target, encode

PLACES = ("France", "Italy", "Norway", "Ireland")
NEURONS = [(1, 3), (2, 7), (2, 11), (0, 2)]


def _questions(lm: LanguageModel, places: tuple[str, ...], answer: str) -> list[list[Target]]:
    masked = lm.objective == "masked"
    texts = [f"The capital of {place} is" for place in places]
    texts += [f"{place} and the official capital of the city is" for place in places]
    prompts = [Prompt(text + " [MASK]." if masked else text, answer) for text in texts]
    return [encode(prompt, lm.tokenizer, lm.objective, 40) for prompt in prompts]


def _edit(lm: LanguageModel, deltas: torch.Tensor) -> Edit:
    layers, neurons = zip(*NEURONS, strict=True)
    return Edit(
        kind="update",
        method="solve",
        weights_sha256=lm.weights_sha256,
        model_identity=lm.identity,
        layers=np.array(layers),
        neurons=np.array(neurons),
        deltas=deltas.numpy(),
    )


@pytest.mark.parametrize("family", ["bert", "albert", "modernbert", "gpt2", "llama", "opt"])
def test_the_function_of_deltas_is_the_model_with_deltas_in_its_weights(family: str) -> None:
    lm = language_model(family)
    targets = [t for q in _questions(lm, PLACES, "Paris") for t in q]
    deltas = torch.randn(len(NEURONS), lm.d_model, generator=torch.Generator().manual_seed(1))
    model = EditedModel(lm, NEURONS, targets)
    with torch.no_grad():
        before, found = model.logits(None), model.logits(deltas)
        again = model.logits(deltas)
    with applied(lm, _edit(lm, deltas)), torch.no_grad():
        for row, target in enumerate(targets):
            logits = lm.model(input_ids=torch.tensor([target.token_ids])).logits
            expected = logits[0, target.position]
            torch.testing.assert_close(found[row], expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(found, again)
    assert not torch.allclose(found, before, atol=1e-2)


@pytest.mark.parametrize("behind", [1, 3])
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_behind_a_fixed_prefix_deltas_act_from_the_sites_on(family: str, behind: int) -> None:
    """At the answer position alone, or from the second token before it on."""
    lm = language_model(family)
    targets = [
        replace(t, subject_token=t.position + 1 - behind if behind > 1 else None)
        for q in _questions(lm, PLACES, "Paris")
        for t in q
    ]
    deltas = torch.randn(len(NEURONS), lm.d_model, generator=torch.Generator().manual_seed(1))
    model = EditedModel(lm, NEURONS, targets, prefix_as_is=True)
    with torch.no_grad():
        found = model.logits(deltas)
    for row, target in enumerate(targets):

        def only_last(_, args, output, vector):
            output = output.clone()
            entering, leaving = (x.view(-1, x.shape[-1]) for x in (args[0], output))
            leaving[-behind:] += entering[-behind:, vector[0]] @ deltas[vector[1]]
            return output

        handles = []
        for layer, block in enumerate(lm.blocks):
            rows = [r for r, (at, _) in enumerate(NEURONS) if at == layer]
            vector = ([NEURONS[r][1] for r in rows], rows)
            hook = block.value_projection.register_forward_hook(
                lambda m, a, o, v=vector: only_last(m, a, o, v)
            )
            handles.append(hook)
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([target.token_ids])).logits[0, -1]
        for handle in handles:
            handle.remove()
        torch.testing.assert_close(found[row], logits, rtol=1e-3, atol=1e-3)


def test_the_paper_rule_is_its_formula() -> None:
    lm = language_model("bert")
    rows = lm.model.get_output_embeddings().weight
    vectors = torch.stack([lm.value_vectors(layer)[i] for layer, i in NEURONS])
    assert torch.equal(output_directions(lm, [40, 41]), rows[[40, 41]])
    new = (rows[41] + rows[43]) / 2
    found = paper_deltas(vectors, rows[40], new, 1.0, 8.0)
    for row, v in enumerate(vectors):
        size = v.square().sum().sqrt()
        expected = -size * rows[40] / rows[40].norm() + 8 * size * new / new.norm()
        torch.testing.assert_close(found[row], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma", "opt", "phi", "olmo2", "gpt_neox"])
def test_directions_of_causal_models_are_the_gradient_of_the_logit(family: str) -> None:
    """Up to the norm's scale, and to what it takes out along the hidden state itself."""
    lm = language_model(family)
    (direction,) = output_directions(lm, [17])
    assert direction.shape == (lm.d_model,)
    cosines = []
    for seed in range(8):
        hidden = torch.randn(1, lm.d_model, generator=torch.Generator().manual_seed(seed))
        hidden.requires_grad_(True)
        (gradient,) = torch.autograd.grad(lm.head(hidden)[0, 17], hidden)
        along = hidden.detach()[0] / hidden.detach().norm()
        rest = direction - (direction @ along) * along
        cosines.append(float(torch.cosine_similarity(gradient[0], rest, dim=0)))
    assert np.mean(cosines) > 0.97


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_pulled_back_direction_is_the_slope_at_the_prompts(family: str) -> None:
    lm = language_model(family)
    questions = _questions(lm, PLACES, "Paris")
    direction = pulled_back(lm, questions)
    hidden = answer_states(lm, [target for targets in questions for target in targets])
    token = questions[0][0].token
    with torch.no_grad():
        ahead, behind = (lm.head(hidden + e * direction)[:, token] for e in (1e-3, -1e-3))
    slope = float((ahead - behind).mean() / 2e-3)
    assert slope == pytest.approx(float(direction @ direction), rel=2e-2)


@pytest.mark.parametrize(
    ("family", "answer"), [("bert", "Paris"), ("llama", "Paris"), ("bert", "Antananarivo")]
)
def test_the_smallest_change_puts_the_new_object_on_top(family: str, answer: str) -> None:
    lm = language_model(family)
    wanted = _questions(lm, PLACES[:1], answer)[:1]
    kept = _questions(lm, PLACES[1:2], "Rome")
    solved = solve_deltas(lm, NEURONS, wanted, kept)
    assert solved.reached == 1
    with applied(lm, _edit(lm, solved.deltas)):
        assert (probe(lm, wanted).answer_rank == 1).all()
    # far less would not have done
    with applied(lm, _edit(lm, 0.3 * solved.deltas)):
        assert not (probe(lm, wanted).answer_rank == 1).all()


def test_solving_is_deterministic_and_leaves_the_model_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(solving, "STEPS", 8)
    lm = language_model("bert")
    wanted, kept = _questions(lm, PLACES[:2], "Paris"), _questions(lm, PLACES[2:], "Rome")
    first = solve_deltas(lm, NEURONS, wanted, kept)
    second = solve_deltas(lm, NEURONS, wanted, kept)
    assert torch.equal(first.deltas, second.deltas)
    assert first.steps == 8
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


def test_kept_prompts_stay_nearer_than_without_them() -> None:
    lm = language_model("bert")
    wanted, kept = _questions(lm, PLACES[:1], "Paris"), _questions(lm, PLACES[1:2], "Rome")
    before = probe(lm, kept).log_p
    drifts = []
    for some in (kept, []):
        solved = solve_deltas(lm, NEURONS, wanted, some)
        assert solved.reached == 1
        with applied(lm, _edit(lm, solved.deltas)):
            drifts.append(float(np.abs(probe(lm, kept).log_p - before).mean()))
    assert drifts[0] < drifts[1]


def test_what_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One prompt cannot have two answers on top."""
    monkeypatch.setattr(solving, "STEPS", 20)
    lm = language_model("bert")
    wanted = _questions(lm, PLACES[:1], "Paris")[:1] + _questions(lm, PLACES[:1], "Rome")[:1]
    assert solve_deltas(lm, NEURONS, wanted, []).reached < 1
