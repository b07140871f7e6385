"""One growing batch of rows through the blocks: a row joins where it first differs.

A row is a target whose activations at its site are changed at some layer. Until there it is the
unpatched run, which the clean pass has, so no row runs a block that its change cannot reach.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from atlas.engine.clean_pass import CleanPass

Joining = Callable[[int], tuple[Tensor, Tensor] | None]
Passing = Callable[[int, int], AbstractContextManager[None]]


def run_growing(
    clean: CleanPass,
    start: int,
    joining: Joining,
    passing: Passing = lambda _layer, _rows: nullcontext(),
) -> tuple[Tensor, Tensor]:
    """The last block's output at the answer position [row, d_model], and the rows' targets [row].

    Rows are in the order in which they join, and none joins below the layer `start`.

    joining(layer): the targets [row] that join behind this block, as indices into the clean pass's,
    and what its value projection gives them at their sites [row, d_model]; None where none does.
    passing(layer, rows): the context in which a block runs those that have joined before it.
    """
    last = clean.lm.layers - 1
    answers: list[Tensor] = []
    hidden: Tensor | None = None
    targets: list[Tensor] = []
    for layer in range(start, clean.lm.layers):
        if hidden is not None:
            moving = torch.cat(targets)
            with passing(layer, len(moving)):
                if layer == last:
                    answers.append(clean.run_last_block(hidden, moving))
                else:
                    hidden = clean.run_block(layer, hidden, moving)
        joined = joining(layer)
        if joined is None:
            continue
        rows, projected = joined
        patched = clean.patched(layer, rows, projected)
        if layer == last:
            answers.append(clean.answered(rows, patched))
        else:
            whole = clean.with_patched(layer, rows, patched)
            hidden = whole if hidden is None else torch.cat([hidden, whole])
        targets.append(rows)
    return torch.cat(answers), torch.cat(targets)
