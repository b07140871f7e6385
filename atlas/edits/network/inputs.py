"""What the network is told of an edit: asked of the unedited model in one pass over its prompts."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from atlas.edits.making.directions import output_directions
from atlas.edits.making.questions import Questions
from atlas.edits.network.network import ShiftInputs
from atlas.engine.probe import BATCH_TOKENS
from atlas.models.hooks import Hook, after_forward
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target


@dataclass(frozen=True, eq=False)
class Told:
    """An edit's inputs, and the keys that they were taken with."""

    keys: Tensor  # [key, neuron] mean activations at the keys' positions
    inputs: ShiftInputs
    entering: list[list[Tensor | None]]  # by prompt and token, [position, d_model] into the layer


def told(
    lm: LanguageModel,
    questions: Sequence[tuple[Questions, Questions]],
    layer: int,
    scales: Sequence[float] | None = None,
) -> list[Told]:
    """For each edit, of its prompts with the new object and with the old one as the answer.

    There is a key for each token of the new object with a position of its own, as of method spare.
    An old object of fewer tokens has its last one repeated; where one key stands for all tokens,
    the objects' directions are the means of their tokens'. scales: None: the root mean square of
    what the layer writes at the keys.
    """
    flat = [target for new, _ in questions for targets in new for target in targets]
    seen = _seen(lm, flat, layer)
    vectors = lm.value_vectors(layer).detach().float()
    places = torch.arange(len(flat)).split([len(new) * len(new[0]) for new, _ in questions])
    rows = [at.reshape(len(new), -1) for at, (new, _) in zip(places, questions, strict=True)]
    of_new, of_old = _directions(lm, questions)
    found = []
    for number, at in enumerate(rows):
        tokens = at.shape[1]
        keyed = 1 if flat[int(at[0, 0])].subject_token is not None else tokens
        keys, states = (all_of[at[:, :keyed]].mean(0) for all_of in (seen.activations, seen.states))
        e_new, e_old = of_new[number], of_old[number]
        if keyed < tokens:
            e_new, e_old = e_new.mean(0, keepdim=True), e_old.mean(0, keepdim=True)
        scale = scales[number] if scales else float((keys @ vectors).square().mean().sqrt()) or 1.0
        inputs = ShiftInputs(
            states=states,
            old=e_old,
            new=e_new,
            layer=torch.full((keyed,), layer, device=states.device),
            scale=torch.full((keyed,), scale, device=states.device),
        )
        entering = [[seen.entering[int(row)] for row in of_prompt] for of_prompt in at]
        found.append(Told(keys, inputs, entering))
    return found


def _directions(
    lm: LanguageModel, questions: Sequence[tuple[Questions, Questions]]
) -> list[Sequence[Tensor]]:
    """Of the new and of the old objects, by edit, the output direction of each token."""
    counts = [len(new[0]) for new, _ in questions]
    found: list[Sequence[Tensor]] = []
    for which in range(2):
        asked = [pair[which][0] for pair in questions]  # the tokens are the same in all prompts
        tokens = [
            targets[min(place, len(targets) - 1)].token
            for targets, count in zip(asked, counts, strict=True)
            for place in range(count)
        ]
        found.append(output_directions(lm, tokens).split(counts))
    return found


@dataclass(frozen=True, eq=False)
class _Seen:
    activations: Tensor  # [target, neuron] float32 at the targets' sites
    states: Tensor  # [target, d_model] behind the layer's block, there
    entering: list[Tensor | None]  # by target, [position, d_model]; None: into the first layer


def _seen(lm: LanguageModel, targets: Sequence[Target], layer: int) -> _Seen:
    """Run every different input once."""
    device = lm.model.device
    inputs: dict[tuple[int, ...], list[int]] = {}
    for number, target in enumerate(targets):
        inputs.setdefault(target.token_ids, []).append(number)
    found = _Seen(
        torch.empty(len(targets), lm.neurons_per_layer, device=device),
        torch.empty(len(targets), lm.d_model, device=device),
        [None] * len(targets),
    )
    with lm.frozen(), torch.no_grad():
        for length, group in groupby(sorted(inputs, key=len), key=len):
            different = list(group)
            size = max(1, BATCH_TOKENS // length)
            for start in range(0, len(different), size):
                ids = different[start : start + size]
                pairs = [(row, n) for row, one in enumerate(ids) for n in inputs[one]]
                rows, numbers = [row for row, _ in pairs], [n for _, n in pairs]
                passed = _passed(lm, ids, layer)
                sites = [targets[n].site for n in numbers]
                found.activations[numbers] = passed[0][rows, sites].float()
                found.states[numbers] = passed[1][rows, sites].float()
                for row, number in pairs if layer else ():
                    found.entering[number] = passed[2][row]
    return found


def _passed(lm: LanguageModel, ids: list[tuple[int, ...]], layer: int) -> list[Tensor]:
    """What enters the layer's value projection, leaves its block, and leaves the one before.

    Each is [input, position, width].
    """
    taken: dict[str, Tensor] = {}

    def entering(_: Any, args: tuple[Tensor, ...], output: Any) -> None:
        taken["activations"] = args[0]

    def leaving(name: str) -> Hook:
        def note(_: Any, args: Any, output: Any) -> None:
            taken[name] = output[0] if isinstance(output, tuple) else output

        return note

    blocks = {"state": layer, "before": max(layer - 1, 0)}
    kwargs = {"use_cache": False} if lm.objective == "causal" else {}
    with ExitStack() as stack:
        stack.enter_context(after_forward(lm.blocks[layer].value_projection, entering))
        for name, place in blocks.items():
            stack.enter_context(after_forward(lm.blocks[place].module, leaving(name)))
        lm.model.base_model(input_ids=torch.tensor(ids, device=lm.model.device), **kwargs)
    return [taken[name].reshape(len(ids), len(ids[0]), -1) for name in ("activations", *blocks)]
