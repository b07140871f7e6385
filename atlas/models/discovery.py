"""Blocks and value projections of an architecture that is not in the table, found by looking.

The guess: the blocks are the largest list of like modules; a block's value projection is the last
linear layer that it runs and that writes to the residual stream; a norm that it runs after that is
the norm which follows the FFN. The guess is tried: neurons are set to 0 in the real model, block
by block, and what comes out must be what `CleanPass.patched` would make of it.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from atlas.errors import UnsupportedArchitecture
from atlas.models.architectures import TABLE, Block
from atlas.models.hooks import after_forward, before_forward

_TOKENS = 4  # length of the input that the guess is tried on


def discover_blocks(model: Any) -> tuple[Block, ...]:
    """Return the blocks of a model whose architecture is not in `TABLE`.

    Raises UnsupportedArchitecture, saying how to register one, if the guess proves wrong, and for
    mixtures of experts: which neurons a token has there depends on its router.
    """
    kind = model.config.model_type
    if any("expert" in name.lower() for name, _ in model.named_modules()):
        raise UnsupportedArchitecture(
            f"architecture '{kind}' is a mixture of experts: each token is routed to FFNs of its "
            "own, which the atlas does not support; choose a dense model"
        )
    try:
        blocks = _guess(model)
        worst = max(_mismatch(model, block) for block in blocks)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the model's own code raises: it is not read rightly
        raise UnsupportedArchitecture(how_to_register(model.config)) from error
    if not worst < (1e-3 if model.dtype == torch.float32 else 5e-2):
        raise UnsupportedArchitecture(how_to_register(model.config))
    return blocks


def how_to_register(config: Any) -> str:
    """Why a model of no listed kind is refused, and the way out."""
    known = ", ".join(sorted(TABLE))
    return (
        f"architecture '{config.model_type}' is not supported (supported: {known}), and its FFNs "
        f"were not found by looking: {way_out(config)}"
    )


def way_out(config: Any) -> str:
    """What to do with a model whose blocks are not found."""
    if any(getattr(config, f"{kind}_config", None) for kind in ("vision", "audio")):
        return "it takes more than text, so save its text model as a checkpoint of its own"
    return "atlas.models.architectures shows how to register it in four lines"


def _guess(model: Any) -> tuple[Block, ...]:
    lists = [
        list(module)
        for module in model.base_model.modules()
        if isinstance(module, nn.ModuleList) and len({type(item) for item in module}) == 1
    ]
    modules = max(lists, key=lambda items: sum(p.numel() for i in items for p in i.parameters()))
    names = {module: name for name, module in modules[0].named_modules()}
    ran: list[tuple[str, nn.Module]] = []
    with ExitStack() as hooks:
        for module, name in names.items():
            hooks.enter_context(after_forward(module, partial(_append, ran, name)))
        _run(model)
    width = model.get_input_embeddings().weight.shape[-1]
    width = getattr(model.config, "hidden_size", width)
    writers = [i for i, (_, module) in enumerate(ran) if _writes(module, width)]
    if len({ran[i][0] for i in writers}) < 2:
        raise ValueError("attention and FFN both write to the residual stream; here one thing does")
    projection = ran[writers[-1]][0]
    norms = [name for name, module in ran[writers[-1] :] if "norm" in type(module).__name__.lower()]
    return tuple(
        Block(
            module,
            module.get_submodule(projection),
            module.get_submodule(norms[0]) if norms else None,
        )
        for module in modules
    )


def _append(
    ran: list[tuple[str, nn.Module]], name: str, module: nn.Module, args: Any, output: Any
) -> None:
    ran.append((name, module))


def _writes(module: nn.Module, width: int) -> bool:
    if isinstance(module, nn.Linear):
        return module.out_features == width
    return isinstance(module, Conv1D) and module.weight.shape[1] == width


def _mismatch(model: Any, block: Block) -> float:
    """How far the guessed formula is from the real block with its neurons off, relatively."""
    clean = _observe(model, block, scale=1.0)
    off = _observe(model, block, scale=0.0)
    u, change = clean.norm_input, off.projected - clean.projected
    if block.norm_after is None:
        predicted = clean.output + change
    else:
        norm = block.norm_after
        predicted = clean.output - norm(u) + norm(u + change)
    effect = torch.linalg.vector_norm(off.output - clean.output)
    return float(torch.linalg.vector_norm(predicted - off.output) / effect)


@dataclass(frozen=True, eq=False)
class _Observed:
    """What one block did at the last position, each [d_model]."""

    output: Tensor
    projected: Tensor
    norm_input: Tensor


def _observe(model: Any, block: Block, scale: float) -> _Observed:
    seen: dict[str, Tensor] = {}

    def scaled(module: nn.Module, args: Any) -> Any:
        x = args[0].clone()
        x.view(-1, x.shape[-1])[-1] *= scale
        return (x, *args[1:])

    def note(name: str, tensor: Any) -> None:
        tensor = tensor[0] if isinstance(tensor, tuple) else tensor
        seen[name] = tensor.reshape(-1, tensor.shape[-1])[-1]

    with ExitStack() as hooks:
        hooks.enter_context(before_forward(block.value_projection, scaled))
        for module, name in ((block.module, "output"), (block.value_projection, "projected")):
            hooks.enter_context(after_forward(module, lambda m, a, o, n=name: note(n, o)))
        if block.norm_after is not None:
            noted = after_forward(block.norm_after, lambda m, a, o: note("norm_input", a))
            hooks.enter_context(noted)
        _run(model)
    seen.setdefault("norm_input", seen["projected"])
    return _Observed(**seen)


def _run(model: Any) -> None:
    ids = torch.arange(1, _TOKENS + 1, device=model.device)[None]
    with torch.no_grad():
        model(input_ids=ids)
