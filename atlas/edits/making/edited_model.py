"""A model as a function of deltas: what an optimiser of edits differentiates."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from atlas.engine.clean_pass import carried, padded_inputs, prefill
from atlas.models.hooks import after_forward
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target

PARTS = 3  # that rows are dealt into by length


class EditedModel:
    """Logits at the answer positions of many targets, as a function of the deltas.

    With `prefix_as_is` (causal models only) the deltas act from the targets' sites on: every row is
    the few tokens from there behind keys and values of the unedited model, which is much cheaper.
    At the answer position that is a single token. Where sites are not equally far from the end,
    the deltas act from the farthest on.
    """

    def __init__(
        self,
        lm: LanguageModel,
        neurons: Sequence[tuple[int, int]],
        targets: Sequence[Target],
        prefix_as_is: bool = False,
    ) -> None:
        def length(row: int) -> int:
            return len(targets[row].token_ids)

        order = sorted(range(len(targets)), key=length)
        size = len(order) if prefix_as_is else -(-len(order) // PARTS)
        groups = [order[start : start + size] for start in range(0, len(order), size)]
        self.groups = groups
        self.parts = [
            _Part(lm, neurons, [targets[row] for row in group], prefix_as_is) for group in groups
        ]
        self.back = torch.tensor(order, device=lm.model.device).argsort()

    def logits(self, deltas: Tensor | None) -> Tensor:
        """[target, vocabulary] float32, in the targets' order; None: no edit."""
        return torch.cat([part.logits(deltas) for part in self.parts])[self.back]

    def logits_along(self, directions: Tensor, shifts: Tensor) -> Tensor:
        """The same for deltas U Tᵢ, each target having its own: U [neuron, key], T [target, key,
        d_model]; with one T for all, its gradients are those of the targets one by one.
        """
        parts = [
            part.logits(directions, shifts[group])
            for part, group in zip(self.parts, self.groups, strict=True)
        ]
        return torch.cat(parts)[self.back]


class _Part:
    """Rows of similar length.

    They are padded behind (a causal model never looks there, a masked one gets an attention mask);
    before, where they go on behind a prefix. What comes before the first edited block does not
    depend on the deltas and is run once.
    """

    def __init__(
        self,
        lm: LanguageModel,
        neurons: Sequence[tuple[int, int]],
        targets: list[Target],
        prefix_as_is: bool,
    ) -> None:
        self.lm = lm
        device = lm.model.device
        self.at = torch.tensor([target.position for target in targets], device=device)
        if prefix_as_is:
            self.inputs, skipped = _continued(lm, targets)
            self.at = self.at + skipped
        else:
            self.inputs = _inputs(lm, targets)
        self.by_module: dict[int, tuple[nn.Module, list[int], Tensor]] = {}
        for module_id, module in {
            id(block.value_projection): block.value_projection for block in lm.blocks
        }.items():
            columns = [
                column
                for column, (layer, _) in enumerate(neurons)
                if id(lm.blocks[layer].value_projection) == module_id
            ]
            if columns:
                index = torch.tensor([neurons[c][1] for c in columns], device=device)
                self.by_module[module_id] = (module, columns, index)
        shared = len({id(block.module) for block in lm.blocks}) < lm.layers
        self.first = 0 if shared else min(layer for layer, _ in neurons)
        self.entering: Tensor | None = None

    def logits(self, deltas: Tensor | None, shifts: Tensor | None = None) -> Tensor:
        """[target, vocabulary] float32; None: no edit; with shifts, `deltas` are directions."""
        with ExitStack() as stack:
            seen: list[Tensor] = []
            stack.enter_context(_noted(self.lm.blocks[-1].module, seen))
            if self.entering is not None:
                skipped = self.lm.blocks[: self.first]
                stack.enter_context(self.lm.bypassed(skipped, self.entering))
            before: list[Tensor] = []
            if self.entering is None and self.first:
                stack.enter_context(_noted(self.lm.blocks[self.first - 1].module, before))
            if deltas is not None:
                for module, columns, index in self.by_module.values():
                    stack.enter_context(_added(module, index, deltas[columns], shifts))
            is_narrowed = stack.enter_context(narrowed(self.lm, self.at))
            self.lm.model.base_model(**self.inputs)
        if before:
            self.entering = before[0].detach()
        hidden = seen[0].reshape(len(self.at), -1, self.lm.d_model)
        row = torch.arange(len(self.at), device=hidden.device)
        answer = hidden[:, 0] if is_narrowed else hidden[row, self.at]
        return self.lm.head(answer).float()


def _inputs(lm: LanguageModel, targets: list[Target]) -> dict[str, Any]:
    longest = max(len(target.token_ids) for target in targets)
    pad = lm.pad_id
    rows = [(*t.token_ids, *[pad] * (longest - len(t.token_ids))) for t in targets]
    ids = torch.tensor(rows, device=lm.model.device)
    if lm.objective == "causal":
        return {"input_ids": ids, "use_cache": False}
    lengths = torch.tensor([len(t.token_ids) for t in targets], device=ids.device)
    positions = torch.arange(longest, device=ids.device)
    return {"input_ids": ids, "attention_mask": (positions < lengths[:, None]).long()}


def _continued(lm: LanguageModel, targets: list[Target]) -> tuple[dict[str, Any], Tensor]:
    """A causal model's inputs from the sites on, and by how much each row's positions shift."""
    ids, pads, padding = padded_inputs(lm, targets)
    start = ids.shape[1] - max(carried(lm, target) for target in targets)
    inputs = {"input_ids": ids[:, start:], **padding}
    if "position_ids" in padding:
        inputs["position_ids"] = padding["position_ids"][:, start:]
    return {**inputs, **lm.continuing(prefill(lm, ids, start, padding))}, pads - start


@contextmanager
def _noted(module: nn.Module, seen: list[Tensor]) -> Iterator[None]:
    """Leave the module's last output in `seen`."""

    def note(_: Any, args: Any, output: Any) -> None:
        seen[:] = [output[0] if isinstance(output, tuple) else output]

    with after_forward(module, note):
        yield


@contextmanager
def narrowed(lm: LanguageModel, at: Tensor) -> Iterator[bool]:
    """Let the last block go on with the answer position alone behind its attention, if it can."""
    ffn_input = lm.blocks[-1].ffn_input
    shared = sum(block.ffn_input is ffn_input for block in lm.blocks) > 1
    if ffn_input is None or shared:
        yield False
        return
    rows = torch.arange(len(at), device=at.device)
    with after_forward(ffn_input, lambda _, args, output: output[rows, at][:, None]):
        yield True


@contextmanager
def _added(
    module: nn.Module, index: Tensor, deltas: Tensor, shifts: Tensor | None
) -> Iterator[None]:
    """Let the value projection's output be what it would be with the deltas in its weight."""

    def add(_: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        change = args[0][..., index].to(deltas.dtype) @ deltas
        if shifts is not None:  # OPT flattens rows and positions
            change = (change.reshape(len(shifts), -1, change.shape[-1]) @ shifts).view_as(output)
        return output + change.to(output.dtype)

    with after_forward(module, add):
        yield
