"""Method spare: a rank-one change of one layer that other facts' activations are blind to.

δ = u tᵀ: the key direction u (`key_directions`) tells the fact's prompts from all else that the
atlas knows, at the answer or at the subject's last token (`own_keys`); the shift t (`shifts`) puts
the new object on top there. A prompt x moves by (aₓ·u) t: by t on the fact's own prompts, by almost
nothing elsewhere. At the answer one of several tokens that stand at positions of their own has a
key and a shift for each.
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
from atlas.edits.making.key_directions import common_direction, key_directions, strongest
from atlas.edits.making.layers import default_layers, require_layer, require_own_layers
from atlas.edits.making.own_keys import (
    behind_sentences,
    contexts,
    key_position,
    mean_keys,
    subject_is_told,
    subject_keys,
)
from atlas.edits.making.questions import Questions, ask_for
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.shift_costs import costs_of_shifts
from atlas.edits.making.shifts import find_shifts
from atlas.edits.making.sources import MeasuredPrompt
from atlas.edits.making.spared import ELSEWHERE, Spared, spared_activations, what_to_spare
from atlas.engine.probe import probe
from atlas.models.language_model import LanguageModel
from atlas.moments.measure import complete_activations
from atlas.progress import Reporter
from atlas.store.atlas_file import AtlasFile

EVERY_NEURON = 1 << 20  # of a layer
AT_RISK = 0.3  # of its own shift, from which a prompt is looked at when the shift is found
MOST_AT_RISK = 3  # such prompts
COUNTED = 400  # right prompts of other facts, of which a shift's costs are told
BREAKS = 0.05  # share of the kept prompts from which another layer is tried
NEURONS = 200  # of the layer, where nobody says
NEURONS_A_KEY = 50  # of the layer at least, where there are several keys
MARGINS = (1.0, 2.0, 4.0)  # nats, one after the other until the new object is on top
DAMPING = 0.03  # λ, in parts of the mean diagonal of what is to stay
MANY_DAMPING = 0.01  # the same where several facts are edited at once


@dataclass(frozen=True)
class Place:
    """What is right for an edit at a position, as measured (docs/editing.md).

    neurons, damping, margins: as NEURONS, DAMPING and MARGINS. gathered: whether it is where a
    causal model gathers what it knows of the subject, see `own_keys`.
    """

    neurons: int
    damping: float
    margins: tuple[float, ...]
    gathered: bool = False


WHERE_IT_IS_SAID = Place(NEURONS, DAMPING, MARGINS)
WHERE_IT_IS_GATHERED = Place(EVERY_NEURON, damping=0.1, margins=(6.0, 8.0), gathered=True)


def place_of(lm: LanguageModel, position: str) -> Place:
    """How an edit of this model is made at a position."""
    gathers = lm.objective == "causal" and position == "subject"
    return WHERE_IT_IS_GATHERED if gathers else WHERE_IT_IS_SAID


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
    run_id, position = basis.selection.run_id, key_place(lm, basis, settings)
    with atlas.reading() as connection:
        kept = sources.prompts_to_keep(connection, basis.selection, basis.fact, (), settings.keep)
    tried: list[_Found] = []
    for layer in layers_to_try(lm, position, settings):
        complete_activations(atlas, lm, run_id, [layer])
        found = _on_layer(lm, atlas, basis, new_object, settings, layer, kept)
        tried.append(found)
        if found.reached == 1 and found.broken <= BREAKS:
            break
    best = max(tried, key=lambda found: (found.reached, -found.broken))
    how = {
        **best.settings,
        "kept_facts": sorted({prompt.fact_id for prompt in kept}),
        "kept_prompts": len(kept),
        "kept_right_before": len(kept),  # only such prompts are kept
        "kept_right_after": round((1 - best.broken) * len(kept)),
    }
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
    layer = layers_to_try(lm, key_place(lm, basis, settings), settings)[0]
    complete_activations(atlas, lm, basis.selection.run_id, [layer], report)


def key_place(lm: LanguageModel, basis: EditBasis, settings: EditSettings) -> str:
    """Where the edit acts: 'answer' or 'subject'."""
    return key_position(lm, basis.prompts, basis.selection.position, settings.position)


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
    at_subject, place = key.position == "subject", place_of(lm, key.position)
    wanted = ask_for(lm, basis.prompts, new_object, at_subject=at_subject)
    to_keep, start = ask_for(lm, kept), None
    asked, at_risk = list(wanted), list[MeasuredPrompt]()
    if place.gathered:
        more = behind_sentences(basis.prompts, kept)
        asked += ask_for(lm, more, new_object, at_subject=True)
        at_risk = _prompts_at_risk(lm, atlas, basis.selection.run_id, key)
    staying, costs = ask_for(lm, at_risk, at_subject=at_subject), None
    if lm.objective == "masked":  # a causal model runs too long on so many
        with atlas.reading() as connection:
            right = sources.right_prompts(
                connection, basis.selection.run_id, [basis.fact.fact_id], COUNTED
            )
        costs = costs_of_shifts(lm, neurons, directions, ask_for(lm, right))
    for margin in place.margins:
        shifts = find_shifts(
            lm, neurons, directions, asked, margin, key.scale, start, staying, costs
        )
        start = shifts.shifts
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
            "position": key.position,
            "neurons": len(neurons),
            "keep": settings.keep,
            "damping": place.damping,
            "elsewhere": ELSEWHERE,
            "margin": margin,
            "reached": round(reached, 6),
            "broken": round(broken, 6),
            "steps": shifts.steps,
            "at_risk": len(at_risk),
            "spared_prompts": spared.prompts,
            "spared_elsewhere": spared.elsewhere,
        },
    )


def _prompts_at_risk(
    lm: LanguageModel, atlas: AtlasFile, run_id: str, key: "LayerKey"
) -> list[MeasuredPrompt]:
    """Right prompts, of the same subject most of all, that the key moves as it moves its own."""
    directions = np.zeros((lm.neurons_per_layer, key.directions.shape[1]))
    directions[key.neurons] = key.directions
    found = key.spared.at_risk(directions, AT_RISK)
    with atlas.reading() as connection:
        right = sources.right_ones(connection, run_id, found)
    right.sort(key=lambda prompt: found.index(prompt.prompt_id))
    return [prompt for prompt in right if subject_is_told(lm, prompt)][:MOST_AT_RISK]


@dataclass(frozen=True, eq=False)
class LayerKey:
    """Where in a layer an edit is written, and which prompts will feel it.

    position: at the 'answer' or at the 'subject'. neurons: their indices, ascending. scale: size of
    an entry of a shift that would be felt, the root mean square of what they write on the facts'
    prompts.
    """

    position: str
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
    position = key_place(lm, basis, settings)
    place = place_of(lm, position)
    if not place.gathered:
        return keys_in_layer(lm, atlas, [Change(basis, new_object)], settings, layer, position)
    with atlas.reading() as connection:
        before = contexts(connection, basis.fact)
    keys = subject_keys(lm, basis.prompts, basis.fact.subject, layer, before)
    spared, own = _spared_and_own(lm, atlas, [basis], settings, layer)
    count = place.neurons if settings.neurons is None else settings.neurons
    direction = common_direction(spared.moment, keys, place.damping)
    chosen = strongest(spared.moment, keys, direction, count, own)
    if len(chosen) < len(keys):
        moment = spared.moment[np.ix_(chosen, chosen)]
        direction = common_direction(moment, keys[chosen], place.damping)
    scale = _scale(lm, layer, chosen, keys)
    return LayerKey(position, chosen, direction, np.zeros(1, np.int64), scale, spared)


def keys_in_layer(
    lm: LanguageModel,
    atlas: AtlasFile,
    changes: Sequence[Change],
    settings: EditSettings,
    layer: int,
    position: str | None = None,
) -> LayerKey:
    """The layer's key directions for facts that are edited together; none of them is spared.

    position: None: the run's.
    """
    position = position or changes[0].basis.selection.position
    of_facts = [
        mean_keys(lm, change.basis.prompts, change.new_object, layer, position)
        for change in changes
    ]
    spared, own = _spared_and_own(lm, atlas, [c.basis for c in changes], settings, layer)
    keys = np.concatenate(of_facts, axis=1)
    owners = np.repeat(np.arange(len(changes)), [of_fact.shape[1] for of_fact in of_facts])
    count, damping = settings.neurons, DAMPING if len(changes) == 1 else MANY_DAMPING
    if count is None:
        count = NEURONS if len(changes) == 1 else max(NEURONS, NEURONS_A_KEY * len(owners))
    along = key_directions(spared.moment, keys, damping)
    chosen = strongest(spared.moment, keys, along, count, own)
    directions = key_directions(spared.moment[np.ix_(chosen, chosen)], keys[chosen], damping)
    scale = _scale(lm, layer, chosen, keys)
    return LayerKey(position, chosen, directions, owners, scale, spared)


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


def _scale(
    lm: LanguageModel, layer: int, neurons: Sequence[int], keys: NDArray[np.float64]
) -> float:
    written = keys[neurons].T @ lm.value_vectors(layer)[neurons].double().cpu().numpy()
    return float(np.sqrt(np.square(written).mean())) or 1.0


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
