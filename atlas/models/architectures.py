"""The one table of architectures: where a model keeps its blocks and their value projections.

All else (attention, masks, rotary embeddings, final norm, head) is run as the model's own code
runs it, so an entry names two modules and, where a norm follows the FFN, that norm. To register an
architecture that is not in the table:

    from atlas.models.architectures import TABLE, Architecture
    TABLE["my_model_type"] = Architecture(blocks="layers", value_projection="mlp.down_proj")
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from atlas.errors import UnsupportedArchitecture


@dataclass(frozen=True)
class Architecture:
    """How to find a model's FFN neurons.

    blocks: path of the block list below the base model, or a function that returns the blocks in
        the order in which they run (one module may stand in it many times, as in ALBERT).
    value_projection: path inside a block of the linear layer whose inputs are the neurons.
    norm_after: path inside a block of the norm that the value projection's output passes, alone or
        with the residual stream, before the block ends; None where there is no such norm.
    ffn_input: path inside a block of the module whose output is all that the rest of the block
        reads, position by position; None where there is no such module (pre-norm blocks add the
        residual stream later). It lets the last block go on with the answer position alone.
    per_head: names of block arguments whose first axis is batch times heads.
    """

    blocks: str | Callable[[Any], Sequence[nn.Module]]
    value_projection: str
    norm_after: str | Callable[[Any], str | None] | None = None
    ffn_input: str | None = None
    per_head: tuple[str, ...] = ()


def _albert_blocks(base: Any) -> list[nn.Module]:
    config, groups = base.config, base.encoder.albert_layer_groups
    layers_per_group = config.num_hidden_layers / config.num_hidden_groups
    order = [int(layer / layers_per_group) for layer in range(config.num_hidden_layers)]
    return [block for group in order for block in groups[group].albert_layers]


def _opt_norm(config: Any) -> str | None:
    return None if config.do_layer_norm_before else "final_layer_norm"


_BERT = Architecture(
    "encoder.layer", "output.dense", norm_after="output.LayerNorm", ffn_input="attention.output"
)
_GPT2 = Architecture("h", "mlp.c_proj")
_LLAMA = Architecture("layers", "mlp.down_proj")
_GEMMA2 = Architecture("layers", "mlp.down_proj", norm_after="post_feedforward_layernorm")

TABLE: dict[str, Architecture] = {
    "albert": Architecture(
        _albert_blocks,
        "ffn_output",
        norm_after="full_layer_layer_norm",
        ffn_input="attention.LayerNorm",
    ),
    "bert": _BERT,
    "bloom": Architecture("h", "mlp.dense_4h_to_h", per_head=("alibi",)),
    "distilbert": Architecture(
        "transformer.layer",
        "ffn.lin2",
        norm_after="output_layer_norm",
        ffn_input="sa_layer_norm",
    ),
    "gemma": _LLAMA,
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA2,
    "gpt2": _GPT2,
    "gpt_neo": _GPT2,
    "gpt_neox": Architecture("layers", "mlp.dense_4h_to_h"),
    "gptj": Architecture("h", "mlp.fc_out"),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "modernbert": Architecture("layers", "mlp.Wo"),
    "olmo2": _GEMMA2,
    "opt": Architecture("decoder.layers", "fc2", norm_after=_opt_norm),
    "phi": Architecture("layers", "mlp.fc2"),
    "phi3": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "roberta": _BERT,
    "stablelm": _LLAMA,
    "xlm-roberta": _BERT,
}


def may_be_value_projection(architecture: str, layer: int, path: str) -> bool:
    """Whether a module's path can be that of a layer's value projection, by the table.

    What is not in the table, or has its blocks found by a function, is judged by its end, if at
    all.
    """
    entry = TABLE.get(architecture)
    if entry is None:
        return True
    end = entry.value_projection
    if not isinstance(entry.blocks, str):
        return path.endswith(f".{end}")
    return f".{path}".endswith(f".{entry.blocks}.{layer}.{end}")


@dataclass(frozen=True)
class Block:
    """One layer's modules, as `Architecture` describes them."""

    module: nn.Module
    value_projection: nn.Module
    norm_after: nn.Module | None
    ffn_input: nn.Module | None = None
    per_head: tuple[str, ...] = ()


def find_blocks(model: Any) -> tuple[Block, ...]:
    """Return the blocks of a model whose architecture is in `TABLE`, in the order they run in.

    Raises UnsupportedArchitecture if the model does not fit its entry.
    """
    kind = model.config.model_type
    entry = TABLE[kind]
    try:
        if callable(entry.blocks):
            modules = entry.blocks(model.base_model)
        else:
            modules = list(model.base_model.get_submodule(entry.blocks))
        norm = entry.norm_after(model.config) if callable(entry.norm_after) else entry.norm_after
        return tuple(
            Block(
                module,
                module.get_submodule(entry.value_projection),
                module.get_submodule(norm) if norm else None,
                module.get_submodule(entry.ffn_input) if entry.ffn_input else None,
                entry.per_head,
            )
            for module in modules
        )
    except AttributeError as error:
        raise UnsupportedArchitecture(
            f"this '{kind}' model does not fit its entry in atlas.models.architectures: {error}"
        ) from error
