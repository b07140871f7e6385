"""Method spare for many facts at once, so that edits do not eat each other.

The facts share a layer and its neurons. With the keys of all of them as columns of A, the columns
of U (`key_directions`) move each fact's own prompts and hardly those of the others; what is to stay
leaves all of the edited facts out. Where little of the model stands above the layer all shifts are
found together (`refined`), so that all hold and little is broken; else each fact's on its own
prompts. One fact: `spare`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from atlas.edits.making import sources
from atlas.edits.making.found import Change, FoundTogether
from atlas.edits.making.layer_keys import (
    key_in_layer,
    key_place,
    layers_to_try,
    place_of,
)
from atlas.edits.making.questions import Questions, ask_for
from atlas.edits.making.refined import refined_shifts
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.shifts import find_shifts
from atlas.edits.making.sources import MeasuredPrompt
from atlas.edits.making.spare import as_applied, spare_update
from atlas.edits.making.spared import ELSEWHERE
from atlas.models.language_model import LanguageModel
from atlas.moments.measure import complete_activations
from atlas.progress import Advance, Reporter, Working
from atlas.store.atlas_file import AtlasFile

KEPT = 400  # prompts of other facts that are looked at
KEPT_A_FACT = 200  # edited, right prompts of other facts that the shifts are found beside
BREAKS = 0.25  # share of these from which another layer is tried
MOST_LAYERS = 2  # from the edited one on, that a descent of hundreds of steps may run through


def spare_updates(
    lm: LanguageModel,
    atlas: AtlasFile,
    changes: Sequence[Change],
    settings: EditSettings,
    report: Reporter = lambda event: None,
) -> FoundTogether:
    """Shifts of all facts along their key directions, in one layer; of one fact as `spare_update`.

    The next of the run's layers is tried where an edit breaks too much or does not get there, as
    for one fact, and the best one is taken.
    """
    basis = changes[0].basis
    if len(changes) == 1:
        one = spare_update(lm, atlas, basis, changes[0].new_object, settings)
        assert one.neurons is not None
        return FoundTogether((one.deltas,), one.settings, one.kept, one.neurons)
    fact_ids = [change.basis.fact.fact_id for change in changes]
    with atlas.reading() as connection:
        count = max(KEPT, KEPT_A_FACT * len(changes))
        to_keep = sources.right_prompts(connection, basis.selection.run_id, fact_ids, count)
    tried: list[_Found] = []
    position = key_place(lm, [change.basis for change in changes], settings)
    for layer in layers_to_try(lm, position, settings):
        complete_activations(atlas, lm, basis.selection.run_id, [layer], report)
        found = _on_layer(lm, atlas, changes, settings, layer, to_keep, report)
        tried.append(found)
        if found.reached == 1 and found.broken <= BREAKS:
            break
    best = max(tried, key=lambda found: (round(found.reached, 2), -found.broken))
    how = dict(best.settings)
    if len(tried) > 1:
        how["layers_tried"] = [found.settings["layer"] for found in tried]
    return FoundTogether(best.deltas, how, tuple(to_keep[:KEPT]), best.neurons)


@dataclass(frozen=True, eq=False)
class _Found:
    neurons: tuple[tuple[int, int], ...]
    deltas: tuple[Tensor, ...]  # by fact, each [neuron, d_model]
    reached: float  # share of the learnt prompts with their new object on top, edit applied
    broken: float  # share of the kept prompts whose right answer is not on top any more
    settings: dict[str, Any]


def _on_layer(
    lm: LanguageModel,
    atlas: AtlasFile,
    changes: Sequence[Change],
    settings: EditSettings,
    layer: int,
    kept: Sequence[MeasuredPrompt],
    report: Reporter,
) -> _Found:
    report(Working(f"Key directions in layer {layer}"))
    key = key_in_layer(lm, atlas, changes, settings, layer)
    place, at_subject = place_of(lm, key.position), key.position == "subject"
    margin = place.margins[0]
    neurons = tuple((layer, neuron) for neuron in key.neurons)
    directions = [torch.from_numpy(key.of(place)) for place in range(len(changes))]
    asked = [
        ask_for(lm, change.basis.prompts, change.new_object, at_subject=at_subject)
        for change in changes
    ]
    wanted, to_keep = [prompt for own in asked for prompt in own], ask_for(lm, kept)
    how: dict[str, Any] = {}
    if lm.layers - layer <= MOST_LAYERS:
        found = refined_shifts(
            lm, neurons, torch.cat(directions, 1), wanted, to_keep, margin, key.scale, report
        )
        parts = found.shifts.split([own.shape[1] for own in directions])
        deltas = [own.float() @ part for own, part in zip(directions, parts, strict=True)]
        how = {"steps": found.steps, "drift": round(found.drift, 6)}
    else:
        to_keep = to_keep[:KEPT]
        deltas = list(_each(lm, neurons, directions, asked, margin, key.scale, layer, report))
    whole = torch.stack(deltas).sum(0)
    reached, broken = as_applied(lm, neurons, whole, wanted, to_keep[:KEPT])
    return _Found(
        neurons,
        tuple(deltas),
        reached,
        broken,
        {
            "layer": layer,
            "position": key.position,
            "neurons": len(neurons),
            "keep": len(to_keep),
            "kept_facts": sorted({prompt.fact_id for prompt in kept[: len(to_keep)]}),
            "damping": place.damping_of_many,
            "elsewhere": ELSEWHERE,
            "margin": margin,
            "reached": round(reached, 6),
            "broken": round(broken, 6),
            "spared_prompts": key.spared.prompts,
            "spared_elsewhere": key.spared.elsewhere,
            **how,
        },
    )


def _each(
    lm: LanguageModel,
    neurons: Sequence[tuple[int, int]],
    directions: Sequence[Tensor],
    asked: Sequence[Questions],
    margin: float,
    scale: float,
    layer: int,
    report: Reporter,
) -> Iterator[Tensor]:
    """Every fact's own deltas [neuron, d_model], found on its own prompts."""
    what, total, started = f"shifts in layer {layer}", len(asked), monotonic()
    report(Advance(what, 0, total))
    for place, (own, wanted) in enumerate(zip(directions, asked, strict=True), start=1):
        yield find_shifts(lm, neurons, own, wanted, margin, scale).deltas
        seconds = monotonic() - started
        report(Advance(what, place, total, place, seconds, complete=place == total))
