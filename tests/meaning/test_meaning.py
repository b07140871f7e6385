"""What a neuron writes: against finite differences of the plain model."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_index import CHEAP, indexed, on, rows, tiny_dataset
from tiny_models import FAMILIES, tiny
from tiny_questions import encoded, loaded

from atlas.atlas import open_atlas
from atlas.engine.interventions import scaled
from atlas.errors import SettingsError
from atlas.meaning.report import neuron_meaning
from atlas.meaning.stored import prompts_to_linearise_at
from atlas.meaning.written import PROMPTS, added_logits, store_meaning, written_tokens
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.prompts import Target
from atlas.selection.chosen import choose_selection

pytestmark = pytest.mark.usefixtures("one_thread")


def logits_with(lm: LanguageModel, model: Any, target: Target, neuron: int, extra: float) -> Any:
    """The plain model's logits, in float64, with the last layer's neuron `extra` units higher."""
    position = target.position

    def add(_: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        activations = args[0].clone()
        activations.view(1, -1, activations.shape[-1])[0, position, neuron] += extra
        return (activations, *args[1:])

    path = next(
        name
        for name, module in lm.model.named_modules()
        if module is lm.blocks[-1].value_projection
    )
    projection = model.get_submodule(path)
    calls = {"left": sum(b.value_projection is lm.blocks[-1].value_projection for b in lm.blocks)}

    def add_in_the_last_call(module: Any, args: tuple[torch.Tensor, ...]) -> Any:
        calls["left"] -= 1
        return add(module, args) if calls["left"] == 0 else None

    handle = projection.register_forward_pre_hook(add_in_the_last_call)
    try:
        ids = torch.tensor([target.token_ids])
        return model(input_ids=ids).logits[0, position].numpy()
    finally:
        handle.remove()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_neuron_of_the_last_layer_adds_what_a_finite_difference_finds(family: str) -> None:
    lm = loaded(family)
    prompts = encoded(lm)[:2]
    exact = copy.deepcopy(lm.model).double()
    step = 5e-3  # the RMS norms compute in float32, also in this model
    with torch.no_grad():
        slopes = [
            (logits_with(lm, exact, own[0], 7, step) - logits_with(lm, exact, own[0], 7, -step))
            / (2 * step)
            for own in prompts
        ]
    expected = np.mean(slopes, axis=0)
    expected -= expected.mean()
    found = added_logits(lm, lm.layers - 1, 7, prompts)
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_an_earlier_neuron_of_a_pre_norm_model_writes_through_norm_and_embedding() -> None:
    lm = loaded("llama")
    prompts = encoded(lm)[:3]
    found = added_logits(lm, 0, 5, prompts)
    states = []
    for own in prompts:
        seen: list[torch.Tensor] = []
        handle = lm.blocks[-1].module.register_forward_hook(lambda _, a, out, s=seen: s.append(out))
        with torch.no_grad():
            lm.model(input_ids=torch.tensor([own[0].token_ids]))
        handle.remove()
        hidden = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
        states.append(hidden[0, -1].double())
    v = lm.value_vectors(0)[5].double()
    gain = lm.model.model.norm.weight.double()
    epsilon = lm.model.model.norm.variance_epsilon
    slopes = []
    for h in states:
        # d/dε of gain · (h + εv) / rms(h + εv), by hand
        rms = (h.square().mean() + epsilon).sqrt()
        normed = gain * (v / rms - h * (h @ v) / len(h) / rms**3)
        slopes.append(lm.model.lm_head.weight.double() @ normed)
    expected = torch.stack(slopes).mean(0)
    expected -= expected.mean()
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_the_furthest_tokens_come_first_on_either_side() -> None:
    lm = loaded("gpt2")
    prompts = encoded(lm)[:1]
    added = added_logits(lm, 2, 3, prompts)
    tokens = written_tokens(lm, 2, 3, prompts, count=4).tokens
    top = [token for token in tokens if token.side == "top"]
    bottom = [token for token in tokens if token.side == "bottom"]
    assert [t.logit for t in top] == sorted(added, reverse=True)[:4]
    assert [t.logit for t in bottom] == sorted(added)[:4]
    assert [t.position for t in top] == [1, 2, 3, 4]
    assert top[0].token.strip()


def test_a_neuron_outside_the_model_is_refused() -> None:
    lm = loaded("bert")
    with pytest.raises(SettingsError, match="no neuron 3:0"):
        added_logits(lm, 3, 0, encoded(lm))


def test_what_was_found_is_stored_once_and_read_without_a_model(
    tmp_path: Path, saved_bert: Path
) -> None:
    path = tmp_path / "atlas.duckdb"
    indexed(path, on(saved_bert, integration=CHEAP), tiny_dataset())
    atlas = open_atlas(path)
    lm = load_model(str(saved_bert), device="cpu")
    with atlas.reading() as connection:
        selection = choose_selection(connection)
        (layer, neuron), *_ = connection.execute(
            "SELECT layer, neuron FROM attributions ORDER BY score DESC LIMIT 1"
        ).fetchall()
        assert neuron_meaning(connection, selection, layer, neuron).tokens == ()
    for _ in range(2):
        store_meaning(atlas, lm, selection, layer, neuron)
    with atlas.reading() as connection:
        report = neuron_meaning(connection, selection, layer, neuron)
    assert len(report.tokens) == 20
    assert rows(path, "SELECT count(*) FROM neuron_meanings") == [(20,)]
    highest = rows(
        path,
        f"SELECT max(score) FROM attributions WHERE layer = {layer} AND neuron = {neuron}",
    )
    assert [(report.by_score[0].score,)] == highest
    activations = [abs(prompt.activation) for prompt in report.by_activation]
    assert activations == sorted(activations, reverse=True)


def test_what_is_listed_as_raised_falls_when_the_neuron_is_weakened(tmp_path: Path) -> None:
    """Also where its activation is negative, as those of gated FFNs are as often as not."""
    model, tokenizer = tiny("llama")
    model.save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    path, signs = tmp_path / "atlas.duckdb", set()
    indexed(path, on(tmp_path / "llama", integration=CHEAP), tiny_dataset(1, 2))
    atlas = open_atlas(path)
    lm = load_model(str(tmp_path / "llama"), device="cpu")
    last = lm.layers - 1
    strongest = rows(
        path,
        f"""
        SELECT neuron
        FROM attributions
        WHERE layer = {last}
        GROUP BY neuron
        HAVING count(*) > 2 AND abs(sum(sign(activation))) = count(*)
        ORDER BY avg(abs(activation)) DESC
        LIMIT 6
        """,
    )
    for (neuron,) in strongest:
        found = atlas.meaning(last, neuron, lm=lm)
        assert found.activation is not None
        signs.add(found.activation > 0)
        with atlas.reading() as connection:
            prompts = prompts_to_linearise_at(
                connection, found.selection.run_id, last, neuron, PROMPTS
            )
        changed = torch.zeros(len(lm.tokenizer))
        for prompt in prompts:
            target = lm.targets(prompt.text, prompt.object)[0]
            ids = torch.tensor([target.token_ids])
            with torch.no_grad():
                before = lm.model(input_ids=ids).logits[0, target.position]
                with scaled(lm, [(last, neuron)], 0.9):
                    changed += lm.model(input_ids=ids).logits[0, target.position] - before
        changed -= changed.mean()
        names = [
            (lm.tokenizer.convert_ids_to_tokens(token), lm.tokenizer.decode([token]))
            for token in range(len(changed))
        ]
        by_text = {
            name: change for both, change in zip(names, changed, strict=True) for name in both
        }
        side = {name: [t for t in found.tokens if t.side == name] for name in ("top", "bottom")}
        assert all(t.logit > 0 for t in side["top"])
        assert all(t.logit < 0 for t in side["bottom"])
        raised, lowered = (
            torch.stack([by_text[t.token] for t in side[name]]).mean() for name in ("top", "bottom")
        )
        assert raised < 0 < lowered
    assert signs == {True, False}
