"""Method paper: the update rule of Dai et al. 2022, whose directions are in `directions`."""

import torch
from torch import Tensor

from atlas.edits.making import neurons as edit_neurons
from atlas.edits.making.basis import EditBasis, value_vectors
from atlas.edits.making.directions import output_directions, paper_deltas, pulled_back
from atlas.edits.making.found import FoundDeltas
from atlas.edits.making.questions import Questions, ask_for
from atlas.edits.making.settings import EditSettings
from atlas.models.language_model import LanguageModel
from atlas.store.atlas_file import AtlasFile


def paper_update(
    lm: LanguageModel,
    atlas: AtlasFile,
    basis: EditBasis,
    new_object: str,
    settings: EditSettings,
) -> FoundDeltas:
    """Value vectors moved from the old object's direction towards the new one's."""
    questions = ask_for(lm, basis.prompts), ask_for(lm, basis.prompts, new_object)
    e_old, e_new = paper_directions(lm, *questions, pull_back=settings.pull_back)
    vectors = value_vectors(lm, basis.neurons)
    deltas = paper_deltas(vectors, e_old, e_new, settings.lambda1, settings.lambda2)
    deltas = _signs(lm, atlas, basis)[:, None] * deltas
    chosen = {name: getattr(settings, name) for name in ("lambda1", "lambda2", "pull_back")}
    return FoundDeltas(deltas, chosen)


def paper_directions(
    lm: LanguageModel, old: Questions, new: Questions, *, pull_back: bool
) -> tuple[Tensor, Tensor]:
    """What the rule moves away from and towards, [d_model] each; see `EditSettings.pull_back`."""
    if pull_back:
        return pulled_back(lm, old), pulled_back(lm, new)
    # the answer's tokens are the same in every prompt
    tokens = [[target.token for target in questions[0]] for questions in (old, new)]
    e_old, e_new = (output_directions(lm, ids).mean(0) for ids in tokens)
    return e_old, e_new


def _signs(lm: LanguageModel, atlas: AtlasFile, basis: EditBasis) -> Tensor:
    """-1 for neurons whose activation on the prompts is negative on average, else 1; [neuron].

    A neuron writes activation times value vector. The paper's models have activations that are
    positive wherever they matter; those of a gated MLP (Llama) have either sign, and a delta
    towards the new object would push a negative one away from it.
    """
    with atlas.reading() as connection:
        ids = [prompt.prompt_id for prompt in basis.prompts]
        mean = edit_neurons.mean_activations(connection, basis.selection.run_id, ids)
    signs = [-1.0 if mean.get(neuron, 1.0) < 0 else 1.0 for neuron in basis.neurons]
    return torch.tensor(signs, device=lm.model.device)
