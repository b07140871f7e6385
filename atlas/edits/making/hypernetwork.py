"""Method hypernetwork: spare's key direction, and a shift that a network tells without descent."""

from dataclasses import replace

import numpy as np
import torch

from atlas.edits.making.basis import EditBasis
from atlas.edits.making.found import Change, FoundDeltas
from atlas.edits.making.layer_keys import key_in_layer
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.spared import ELSEWHERE
from atlas.edits.network.inputs import told
from atlas.edits.network.network import Origin, file_beside, read_network
from atlas.errors import EditError
from atlas.models.language_model import LanguageModel
from atlas.moments.measure import complete_activations
from atlas.progress import Reporter
from atlas.store.atlas_file import AtlasFile


def hypernetwork_update(
    lm: LanguageModel,
    atlas: AtlasFile,
    basis: EditBasis,
    new_object: str,
    settings: EditSettings,
) -> FoundDeltas:
    """The key direction times the shift that the atlas's network tells for it."""
    network, origin = read_network(file_beside(atlas.path), lm, basis.selection.position)
    layer = _layer(origin, settings)
    settings = replace(settings, position=basis.selection.position)  # where the network learnt
    key = key_in_layer(lm, atlas, [Change(basis, new_object)], settings, layer)
    at_subject = basis.selection.position == "subject"
    new, old = (
        [lm.targets(p.text, answer, p.subject_end if at_subject else None) for p in basis.prompts]
        for answer in (new_object, basis.fact.object)
    )
    (one,) = told(lm, [(new, old)], layer, [key.scale])
    with torch.no_grad():
        shifts = network(one.inputs) * key.scale
    directions = torch.from_numpy(key.directions.astype(np.float32)).to(shifts.device)
    deltas = (directions @ shifts).cpu()
    how = {
        "layer": layer,
        "position": basis.selection.position,
        "neurons": len(key.neurons),
        "elsewhere": ELSEWHERE,
        "network_seed": origin.seed,
        "network_steps": origin.steps,
        "network_edits": origin.edits,
        "spared_prompts": key.spared.prompts,
        "spared_elsewhere": key.spared.elsewhere,
    }
    return FoundDeltas(deltas, how, neurons=tuple((layer, neuron) for neuron in key.neurons))


def prepare_hypernetwork(
    lm: LanguageModel,
    atlas: AtlasFile,
    basis: EditBasis,
    settings: EditSettings,
    report: Reporter,
) -> None:
    """EditError if there is no network for this; measure what the key directions lack."""
    _, origin = read_network(file_beside(atlas.path), lm, basis.selection.position)
    layer = _layer(origin, settings)
    complete_activations(atlas, lm, basis.selection.run_id, [layer], report)


def _layer(origin: Origin, settings: EditSettings) -> int:
    if settings.layer is None:
        return origin.layers[0]
    if settings.layer not in origin.layers:
        named = ", ".join(map(str, origin.layers))
        raise EditError(
            f"the hypernetwork has learnt to edit layer {named}, not {settings.layer}: name that "
            "one, or run `atlas edit train` for this layer",
            parameters=["layer"],
        )
    return settings.layer
