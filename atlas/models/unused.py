"""What a checkpoint holds and the model does not take: named, so that nothing is left out."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from atlas.counted import counted
from atlas.errors import CorruptCheckpoint, UnsupportedArchitecture
from atlas.models.checkpoint import StoredTensor

# Tensors that no answer depends on: other heads of the same body, and buffers that are computed.
_HARMLESS = re.compile(
    r"(^|\.)("
    r"pooler\..+"
    r"|cls\.seq_relationship\..+|sop_classifier\..+|nsp_cls\..+"  # which sentence comes next
    r"|v_head\..+|score\.weight"  # a value head or a reward head beside the language model's
    r"|position_ids|token_type_ids"
    r"|([a-z_]*(rotary|rope)[a-z_]*\.)?inv_freq"
    r")$"
)
_CAUSAL_MASK = re.compile(r"(^|\.)(attn|attention)(\.attention)?\.(bias|masked_bias|causal_mask)$")
# Codes and scales of GPTQ, AWQ, bitsandbytes, fp8 and compressed-tensors
_QUANTISED = re.compile(
    r"\.(SCB|qweight|qzeros|g_idx|weight_format|weight_packed|weight_scale(_inv)?|weight_zero_point"
    r"|input_scale|weight\.(absmax|nested_absmax|quant_map|nested_quant_map|quant_state\..+))$"
)
_FLOATS = ("F16", "BF16", "F32", "F64")


def first_names(names: Iterable[str]) -> str:
    """The first three of some names, and whether there are more."""
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (", …" if len(ordered) > 3 else "")


def refuse_quantised(directory: Path, stored: Mapping[str, StoredTensor]) -> None:
    """Raise UnsupportedArchitecture if weights are stored as codes, whatever the config says.

    transformers would take the codes for the weights where config.json does not name a method.
    """
    coded = [
        name
        for name, tensor in stored.items()
        if _QUANTISED.search(name) or (name.endswith("weight") and tensor.dtype not in _FLOATS)
    ]
    if coded:
        raise UnsupportedArchitecture(
            f"{str(directory)!r} holds quantised weights: {len(coded)} of its tensors are codes or "
            f"scales ({first_names(coded)}); use the unquantised model, or a GGUF file"
        )


def refuse_unused(
    names: Iterable[str], stored: Mapping[str, StoredTensor], class_name: str
) -> None:
    """Raise CorruptCheckpoint naming the tensors that the model does not take, harmless ones aside.

    names: the tensors that the model did not take, as transformers reports them.
    """
    unused = [name for name in map(str, names) if not _harmless(name, stored.get(name))]
    if unused:
        adapter = any("lora_" in name for name in unused)
        advice = (
            "merge the adapter into the weights first (merge_and_unload in peft)"
            if adapter
            else "its config.json belongs to another model, or part of the model would be left out"
        )
        raise CorruptCheckpoint(
            f"{counted(len(unused), 'tensor')} of the checkpoint "
            f"{'is' if len(unused) == 1 else 'are'} not used by {class_name} "
            f"({first_names(unused)}): {advice}"
        )


def _harmless(name: str, tensor: StoredTensor | None) -> bool:
    if _CAUSAL_MASK.search(name):  # older GPTs keep their mask, one for all heads, and its -inf
        return tensor is not None and (len(tensor.shape) == 4 or tensor.shape in ((), (1,)))
    return _HARMLESS.search(name) is not None
