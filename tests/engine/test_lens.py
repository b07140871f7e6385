"""log-probability-increase against plain transformers: a model cut off behind a neuron's layer."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from oracle import captum_function, projections, question, tiny_language_model
from tiny_models import FAMILIES

from atlas.engine.attribution import attribute
from atlas.errors import SettingsError
from atlas.indexing.settings import IndexSettings
from atlas.prompts import Prompt, encode

pytestmark = pytest.mark.usefixtures("one_thread")


def cut_off_behind(model: Any, layer: int) -> Any:
    """The same model as if this layer were its last."""
    shorter, layers = copy.deepcopy(model), model.config.num_hidden_layers
    shorter.config.num_hidden_layers = layer + 1
    for module in shorter.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == layers:
            del module[layer + 1 :]
    return shorter


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_each_neuron_alone_in_a_model_cut_off_there(family: str) -> None:
    lm = tiny_language_model(family)
    prompt = Prompt(question(family), "Paris")
    (target,) = encode(prompt, lm.tokenizer, lm.objective, lm.context)
    ours = attribute(lm, [prompt], method="log-probability-increase")
    for layer in (0, lm.layers - 1):
        shorter = cut_off_behind(lm.model, layer)
        ask = captum_function(shorter, target, *projections(shorter)[layer])
        alone = torch.diag(torch.from_numpy(ours.activations[0, layer]))
        log_p = torch.cat([ask(torch.zeros_like(alone[:1])), ask(alone)]).double().log()
        theirs = (log_p[1:] - log_p[0]).numpy()
        assert np.abs(ours.scores[0, layer] - theirs).max() <= 1e-3 * np.abs(theirs).max()


def test_nothing_is_read_at_the_subject() -> None:
    text = question("llama")
    prompt = Prompt(text, "Paris", subject_end=text.index("France") + len("France"))
    with pytest.raises(SettingsError, match="at the answer position"):
        attribute(tiny_language_model("llama"), [prompt], method="log-probability-increase")
    with pytest.raises(SettingsError, match="at the answer position"):
        IndexSettings(method="log-probability-increase", position="subject")
