"""A model with other shifts in every row: what the network's training differentiates."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from atlas.edits.making.edited_model import narrowed
from atlas.models.hooks import after_forward
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target


@dataclass(frozen=True, eq=False)
class Row:
    """A target; entering: what enters the edited layer, [position, d_model], None: not kept."""

    target: Target
    entering: Tensor | None = None


def leads(
    lm: LanguageModel, layer: int, rows: Sequence[Row], directions: Tensor, shifts: Tensor
) -> Tensor:
    """By how many nats each row's token leads the highest other one, [row] float32.

    directions [row, neuron, key], shifts [row, key, d_model]: what is written into the layer for
    this row, at all its positions. It is differentiable in the shifts. Where all rows know what
    enters the layer, nothing before it is run.
    """
    device = lm.model.device
    tokens = torch.tensor([row.target.token for row in rows], device=device)[:, None]
    at = torch.tensor([row.target.position for row in rows], device=device)
    seen: list[Tensor] = []

    def add(_: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        entering = args[0].reshape(len(rows), -1, args[0].shape[-1]).float()
        moved = (entering @ directions) @ shifts
        return output + moved.reshape(output.shape).to(output.dtype)

    def note(_: Any, args: Any, output: Any) -> None:
        seen[:] = [output[0] if isinstance(output, tuple) else output]

    entering = [row.entering for row in rows if row.entering is not None]
    with ExitStack() as stack:
        if layer and len(entering) == len(rows):
            hidden = nn.utils.rnn.pad_sequence(entering, batch_first=True).to(device)
            stack.enter_context(lm.bypassed(lm.blocks[:layer], hidden))
        stack.enter_context(after_forward(lm.blocks[layer].value_projection, add))
        stack.enter_context(after_forward(lm.blocks[-1].module, note))
        answers_alone = stack.enter_context(narrowed(lm, at))
        lm.model.base_model(**_padded(lm, [row.target for row in rows]))
    last = seen[0].reshape(len(rows), -1, lm.d_model)
    answers = last[:, 0] if answers_alone else last[torch.arange(len(rows), device=device), at]
    logits = lm.head(answers).float()
    others = logits.scatter(1, tokens, -torch.inf).amax(-1)
    return logits.gather(1, tokens)[:, 0] - others


def _padded(lm: LanguageModel, targets: Sequence[Target]) -> dict[str, Any]:
    """Rows padded behind, where a causal model never looks and a masked one does not attend."""
    longest = max(len(target.token_ids) for target in targets)
    rows = [(*t.token_ids, *[lm.pad_id] * (longest - len(t.token_ids))) for t in targets]
    ids = torch.tensor(rows, device=lm.model.device)
    if lm.objective == "causal":
        return {"input_ids": ids, "use_cache": False}
    lengths = torch.tensor([len(t.token_ids) for t in targets], device=ids.device)
    positions = torch.arange(longest, device=ids.device)
    return {"input_ids": ids, "attention_mask": (positions < lengths[:, None]).long()}
