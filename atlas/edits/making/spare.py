"""Method spare: a rank-one change of one layer that other facts' activations are blind to.

δ = u tᵀ: the key direction u (`key_directions`) tells the fact's prompts from all else that the
atlas knows, at the run's position; the shift t (`shifts`) puts the new object on top there. A
prompt x moves by (aₓ·u) t: by t on the fact's own prompts, by almost nothing elsewhere. An answer
of several tokens that stand at positions of their own has a key and a shift for each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.edits.applying import applied
from atlas.edits.edit import Edit
from atlas.edits.making import neurons as edit_neurons
from atlas.edits.making import sources
from atlas.edits.making.basis import EditBasis
from atlas.edits.making.found import Change, FoundDeltas
from atlas.edits.making.key_directions import key_directions, strongest
from atlas.edits.making.layers import default_layers, require_layer, require_own_layers
from atlas.edits.making.questions import Questions, ask_for
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.shifts import find_shifts
from atlas.edits.making.sources import MeasuredPrompt
from atlas.edits.making.spared import ELSEWHERE, Spared, spared_activations, what_to_spare
from atlas.engine.probe import probe
from atlas.models.language_model import LanguageModel
from atlas.moments.measure import complete_activations, prompt_sites, site_activations
from atlas.moments.stored import SampledPrompt
from atlas.progress import Reporter
from atlas.store.atlas_file import AtlasFile

NEURONS = 200  # of the layer, where nobody says
NEURONS_A_KEY = 50  # of the layer at least, where there are several keys
DAMPING = 0.03  # λ, in parts of the mean diagonal of what is to stay
MANY_DAMPING = 0.003  # the same where several facts are edited at once
MARGINS = (1.0, 2.0, 4.0)  # nats, one after the other until the new object is on top
BREAKS = 0.05  # share of the kept prompts from which another layer is tried


def spare_update(
    lm: LanguageModel,
    atlas: AtlasFile,
    basis: EditBasis,
    new_object: str,
    settings: EditSettings,
) -> FoundDeltas:
    """The shift along the key direction that puts the new object on top.

    Where it breaks more than BREAKS of the prompts that it looks at, or does not get there, the
    next of the run's layers is tried, and the best one is taken.
    """
    run_id = basis.selection.run_id
    with atlas.reading() as connection:
        kept = sources.prompts_to_keep(connection, basis.selection, basis.fact, (), settings.keep)
    tried: list[_Found] = []
    for layer in layers_to_try(lm, basis.selection.position, settings):
        complete_activations(atlas, lm, run_id, [layer])
        found = _on_layer(lm, atlas, basis, new_object, settings, layer, kept)
        tried.append(found)
        if found.reached == 1 and found.broken <= BREAKS:
            break
    best = max(tried, key=lambda found: (found.reached, -found.broken))
    how = {**best.settings, "kept_facts": sorted({prompt.fact_id for prompt in kept})}
    if len(tried) > 1:
        how["layers_tried"] = [found.settings["layer"] for found in tried]
    return FoundDeltas(best.deltas, how, tuple(kept), best.neurons)


def prepare_spare(
    lm: LanguageModel,
    atlas: AtlasFile,
    basis: EditBasis,
    settings: EditSettings,
    report: Reporter,
) -> None:
    """Measure what the atlas lacks of the activations that the edit is made from."""
    layer = layers_to_try(lm, basis.selection.position, settings)[0]
    complete_activations(atlas, lm, basis.selection.run_id, [layer], report)


def layers_to_try(lm: LanguageModel, position: str, settings: EditSettings) -> Sequence[int]:
    """The layers in which an edit may be made, the likeliest first; EditError for tied ones."""
    require_own_layers(lm)
    if settings.layer is None:
        return default_layers(lm, position)
    require_layer(lm, settings.layer)
    return [settings.layer]


@dataclass(frozen=True, eq=False)
class _Found:
    neurons: tuple[tuple[int, int], ...]
    deltas: torch.Tensor  # [neuron, d_model]
    reached: float  # share of the learnt prompts with the new object on top, edit applied
    broken: float  # share of the kept prompts whose right answer is not on top any more
    settings: Mapping[str, Any]


def _on_layer(
    lm: LanguageModel,
    atlas: AtlasFile,
    basis: EditBasis,
    new_object: str,
    settings: EditSettings,
    layer: int,
    kept: Sequence[MeasuredPrompt],
) -> _Found:
    key = key_in_layer(lm, atlas, basis, new_object, settings, layer)
    neurons, spared = tuple((layer, neuron) for neuron in key.neurons), key.spared
    directions = torch.from_numpy(key.directions)
    wanted, to_keep = ask_for(lm, basis.prompts, new_object), ask_for(lm, kept)
    for margin in MARGINS:
        shifts = find_shifts(lm, neurons, directions, wanted, margin, key.scale)
        reached, broken = as_applied(lm, neurons, shifts.deltas, wanted, to_keep)
        if reached == 1 or shifts.reached < 1:
            break
    return _Found(
        neurons,
        shifts.deltas,
        reached,
        broken,
        {
            "layer": layer,
            "position": basis.selection.position,
            "neurons": len(neurons),
            "keep": settings.keep,
            "damping": DAMPING,
            "elsewhere": ELSEWHERE,
            "margin": margin,
            "reached": round(reached, 6),
            "broken": round(broken, 6),
            "steps": shifts.steps,
            "spared_prompts": spared.prompts,
            "spared_elsewhere": spared.elsewhere,
        },
    )


@dataclass(frozen=True, eq=False)
class LayerKey:
    """Where in a layer an edit is written, and which prompts will feel it.

    neurons: their indices, ascending. scale: size of an entry of a shift that would be felt, the
    root mean square of what they write on the facts' prompts.
    """

    neurons: list[int]
    directions: NDArray[np.float64]  # [neuron, key]
    owners: NDArray[np.int64]  # [key] the place of the fact that the key is of
    scale: float
    spared: Spared

    def of(self, place: int) -> NDArray[np.float64]:
        """The directions of one of the facts, [neuron, key]."""
        return np.ascontiguousarray(self.directions[:, self.owners == place])


def key_in_layer(
    lm: LanguageModel,
    atlas: AtlasFile,
    basis: EditBasis,
    new_object: str,
    settings: EditSettings,
    layer: int,
) -> LayerKey:
    """The layer's key directions for the fact, on the neurons that carry most of them."""
    return keys_in_layer(lm, atlas, [Change(basis, new_object)], settings, layer)


def keys_in_layer(
    lm: LanguageModel,
    atlas: AtlasFile,
    changes: Sequence[Change],
    settings: EditSettings,
    layer: int,
) -> LayerKey:
    """The layer's key directions for facts that are edited together; none of them is spared."""
    selection = changes[0].basis.selection
    fact_ids = [change.basis.fact.fact_id for change in changes]
    learnt = [prompt.prompt_id for change in changes for prompt in change.basis.prompts]
    with atlas.reading() as connection:
        stored = spared_activations(connection, selection.run_id, layer, fact_ids)
        scored = edit_neurons.highest_scores(
            connection, selection.run_id, learnt, lm.layers * lm.neurons_per_layer
        )
    spared = what_to_spare(lm, stored, settings.spare_on, layer)
    of_facts = [
        own_keys(lm, change.basis.prompts, change.new_object, layer, selection.position)
        for change in changes
    ]
    keys = np.concatenate(of_facts, axis=1)
    owners = np.repeat(np.arange(len(changes)), [own.shape[1] for own in of_facts])
    own = [neuron.neuron for neuron in scored if neuron.layer == layer]
    count, damping = settings.neurons, DAMPING if len(changes) == 1 else MANY_DAMPING
    if count is None:
        count = NEURONS if len(changes) == 1 else max(NEURONS, NEURONS_A_KEY * len(owners))
    chosen = strongest(spared.moment, keys, damping, count, own)
    directions = key_directions(spared.moment[np.ix_(chosen, chosen)], keys[chosen], damping)
    written = keys[chosen].T @ lm.value_vectors(layer)[chosen].double().cpu().numpy()
    scale = float(np.sqrt(np.square(written).mean())) or 1.0
    return LayerKey(chosen, directions, owners, scale, spared)


def own_keys(
    lm: LanguageModel,
    prompts: Sequence[MeasuredPrompt],
    new_object: str,
    layer: int,
    position: str,
) -> NDArray[np.float64]:
    """The mean activations of the prompts where the edit is to act, [neuron, key].

    The model is asked for the new object: one key for each of its tokens that has a position of its
    own, hence one alone at the subject.
    """
    at_subject = position == "subject"
    sites = [
        site
        for prompt in prompts
        for site in prompt_sites(
            lm,
            SampledPrompt(
                prompt.prompt_id,
                new_object,
                prompt.text,
                prompt.subject_end if at_subject else None,
            ),
            elsewhere=0,
        )
    ]
    values = site_activations(lm, sites, [layer])[layer]
    tokens = np.array([site.token for site in sites])
    keys = [values[tokens == token].mean(0, dtype=np.float64) for token in sorted(set(tokens))]
    return np.stack(keys, axis=1)


def as_applied(
    lm: LanguageModel,
    neurons: tuple[tuple[int, int], ...],
    deltas: torch.Tensor,
    wanted: Questions,
    kept: Questions,
) -> tuple[float, float]:
    """With the edit in the weights: shares of own prompts won, and of kept right ones lost.

    The weights' number format may round away what the descent found, so it is tried.
    """
    edit = Edit(
        kind="update",
        method="spare",
        weights_sha256=lm.weights_sha256,
        model_identity=lm.identity,
        layers=np.array([layer for layer, _ in neurons]),
        neurons=np.array([neuron for _, neuron in neurons]),
        deltas=deltas.numpy(),
    )
    with applied(lm, edit):
        ranks = probe(lm, [*wanted, *kept]).answer_rank
    own, others = ranks[: len(wanted)], ranks[len(wanted) :]
    return float((own == 1).mean()), float((others > 1).mean()) if len(others) else 0.0
