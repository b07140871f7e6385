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

from atlas.edits.applying import applied
from atlas.edits.edit import Edit
from atlas.edits.making import sources
from atlas.edits.making.basis import EditBasis
from atlas.edits.making.found import Change, FoundDeltas
from atlas.edits.making.layer_keys import (
    LayerKey,
    key_in_layer,
    key_place,
    layers_to_try,
    place_of,
)
from atlas.edits.making.own_keys import behind_sentences, subject_is_told
from atlas.edits.making.questions import Questions, ask_for
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.shift_costs import costs_of_shifts
from atlas.edits.making.shifts import descend
from atlas.edits.making.sources import MeasuredPrompt
from atlas.edits.making.spared import ELSEWHERE
from atlas.engine.probe import probe
from atlas.models.language_model import LanguageModel
from atlas.moments.measure import complete_activations
from atlas.progress import Reporter
from atlas.store.atlas_file import AtlasFile

AT_RISK = 0.3  # of its own shift, from which a prompt is looked at when the shift is found
MOST_AT_RISK = 3  # such prompts
COUNTED = 400  # right prompts of other facts, of which a shift's costs are told
BREAKS = 0.05  # share of the kept prompts from which another layer is tried


def attempts(lm: LanguageModel, margins: Sequence[float]) -> list[tuple[float, bool]]:
    """Margins to descend to, and whether behind the unedited prefix, until the edit holds.

    That is how a causal model's descent begins, and mostly ends: it is cheap, and an edit that
    spares what is not its own changes next to nothing before its site.
    """
    first = [(margins[0], True)] if lm.objective == "causal" else []
    return first + [(margin, False) for margin in margins]


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
    run_id, position = basis.selection.run_id, key_place(lm, [basis], settings)
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
    layer = layers_to_try(lm, key_place(lm, [basis], settings), settings)[0]
    complete_activations(atlas, lm, basis.selection.run_id, [layer], report)


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
    key = key_in_layer(lm, atlas, [Change(basis, new_object)], settings, layer)
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
    steps = 0
    for margin, prefix_as_is in attempts(lm, place.margins):
        shifts = descend(
            lm,
            neurons,
            directions,
            asked,
            margin,
            key.scale,
            start,
            staying,
            costs,
            prefix_as_is,
            steps,
        )
        start, steps = shifts.shifts, shifts.steps
        reached, broken = as_applied(lm, neurons, shifts.deltas, wanted, to_keep)
        if reached == 1 or (shifts.reached < 1 and not prefix_as_is):
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
    lm: LanguageModel, atlas: AtlasFile, run_id: str, key: LayerKey
) -> list[MeasuredPrompt]:
    """Right prompts, of the same subject most of all, that the key moves as it moves its own."""
    directions = np.zeros((lm.neurons_per_layer, key.directions.shape[1]))
    directions[key.neurons] = key.directions
    found = key.spared.at_risk(directions, AT_RISK)
    with atlas.reading() as connection:
        right = sources.right_ones(connection, run_id, found)
    right.sort(key=lambda prompt: found.index(prompt.prompt_id))
    return [prompt for prompt in right if subject_is_told(lm, prompt)][:MOST_AT_RISK]


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
