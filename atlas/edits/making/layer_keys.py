"""Where an edit by method spare is written: layer, position, neurons, and the directions there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.edits.making import neurons as edit_neurons
from atlas.edits.making.basis import EditBasis
from atlas.edits.making.found import Change
from atlas.edits.making.key_directions import key_directions, strongest
from atlas.edits.making.layers import default_layers, require_layer, require_own_layers
from atlas.edits.making.own_keys import contexts, key_position, mean_keys, subject_keys
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.spared import Spared, spared_activations, what_to_spare
from atlas.models.language_model import LanguageModel
from atlas.store.atlas_file import AtlasFile

EVERY_NEURON = 1 << 20  # of a layer


@dataclass(frozen=True)
class Place:
    """What is right for an edit at a position, as measured (docs/editing.md).

    neurons: of the layer, where nobody says; neurons_a_key: at least, where there are several keys.
    damping: λ, in parts of the mean diagonal of what is to stay, of one fact and of many at once.
    margins: nats, one after the other until the new object is on top. gathered: whether it is where
    a causal model gathers what it knows of the subject, see `own_keys`.
    """

    neurons: int
    neurons_a_key: int
    damping: float
    damping_of_many: float
    margins: tuple[float, ...]
    gathered: bool = False


WHERE_IT_IS_SAID = Place(200, 50, 0.03, 0.01, (1.0, 2.0, 4.0))
WHERE_IT_IS_GATHERED = Place(EVERY_NEURON, 0, 0.1, 0.03, (5.0, 7.0), gathered=True)


def place_of(lm: LanguageModel, position: str) -> Place:
    """How an edit of this model is made at a position."""
    gathers = lm.objective == "causal" and position == "subject"
    return WHERE_IT_IS_GATHERED if gathers else WHERE_IT_IS_SAID


def key_place(lm: LanguageModel, bases: Sequence[EditBasis], settings: EditSettings) -> str:
    """Where edits of these facts act: 'answer' or 'subject'."""
    positions = {
        key_position(lm, basis.prompts, basis.selection.position, settings.position)
        for basis in bases
    }
    return positions.pop() if len(positions) == 1 else "answer"


def layers_to_try(lm: LanguageModel, position: str, settings: EditSettings) -> Sequence[int]:
    """The layers in which an edit may be made, the likeliest first; EditError for tied ones."""
    require_own_layers(lm)
    if settings.layer is None:
        return default_layers(lm, position)
    require_layer(lm, settings.layer)
    return [settings.layer]


@dataclass(frozen=True, eq=False)
class LayerKey:
    """Where in a layer an edit is written, and which prompts will feel it.

    position: at the 'answer' or at the 'subject'. neurons: their indices, ascending. scale: size of
    an entry of a shift that would be felt, the root mean square of what they write on the facts'
    prompts.
    """

    position: str
    neurons: list[int]
    directions: NDArray[np.float64]  # [neuron, direction]
    owners: NDArray[np.int64]  # [direction] the place of the fact that it is of
    scale: float
    spared: Spared

    def of(self, place: int) -> NDArray[np.float64]:
        """The directions of one of the facts, [neuron, direction]."""
        return np.ascontiguousarray(self.directions[:, self.owners == place])


def key_in_layer(
    lm: LanguageModel,
    atlas: AtlasFile,
    changes: Sequence[Change],
    settings: EditSettings,
    layer: int,
) -> LayerKey:
    """The layer's key directions for facts that are edited together; none of them is spared.

    They are on the neurons that carry most of them. Where a causal model gathers what it knows of a
    subject, all of a fact's keys are to move by one shift, so it has one direction.
    """
    bases = [change.basis for change in changes]
    position = key_place(lm, bases, settings)
    place, one = place_of(lm, position), len(changes) == 1
    of_facts = [_keys(lm, atlas, change, layer, position) for change in changes]
    keys = np.concatenate(of_facts, axis=1)
    owners = np.repeat(np.arange(len(changes)), [of_fact.shape[1] for of_fact in of_facts])
    spared, own = _spared_and_own(lm, atlas, bases, settings, layer)
    count, damping = settings.neurons, place.damping if one else place.damping_of_many
    if count is None:
        count = place.neurons if one else max(place.neurons, place.neurons_a_key * len(owners))
    shared = np.eye(len(changes))[owners] if place.gathered else np.eye(len(owners))
    directions = key_directions(spared.moment, keys, damping) @ shared
    chosen = strongest(spared.moment, keys, directions, count, own)
    if len(chosen) < len(keys):
        moment = spared.moment[np.ix_(chosen, chosen)]
        directions = key_directions(moment, keys[chosen], damping) @ shared
    written = keys[chosen].T @ lm.value_vectors(layer)[chosen].double().cpu().numpy()
    scale = float(np.sqrt(np.square(written).mean())) or 1.0
    if place.gathered:
        owners = np.arange(len(changes))
    return LayerKey(position, chosen, directions, owners, scale, spared)


def _keys(
    lm: LanguageModel, atlas: AtlasFile, change: Change, layer: int, position: str
) -> NDArray[np.float64]:
    prompts, fact = change.basis.prompts, change.basis.fact
    if not place_of(lm, position).gathered:
        return mean_keys(lm, prompts, change.new_object, layer, position)
    with atlas.reading() as connection:
        before = contexts(connection, fact)
    return subject_keys(lm, prompts, fact.subject, layer, before)


def _spared_and_own(
    lm: LanguageModel,
    atlas: AtlasFile,
    bases: Sequence[EditBasis],
    settings: EditSettings,
    layer: int,
) -> tuple[Spared, list[int]]:
    """What is to stay, and the layer's neurons with a score for the facts, the strongest first."""
    run_id = bases[0].selection.run_id
    learnt = [prompt.prompt_id for basis in bases for prompt in basis.prompts]
    with atlas.reading() as connection:
        stored = spared_activations(connection, run_id, layer, [b.fact.fact_id for b in bases])
        scored = edit_neurons.highest_scores(
            connection, run_id, learnt, lm.layers * lm.neurons_per_layer
        )
    spared = what_to_spare(lm, stored, settings.spare_on, layer)
    return spared, [neuron.neuron for neuron in scored if neuron.layer == layer]
