"""What a GGUF file's metadata says of its model: set in the config, or refused by name.

transformers follows some of it and passes over the rest, so every key is looked at here. Keys:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf

from atlas.counted import counted
from atlas.errors import UnsupportedArchitecture
from atlas.models.gguf_header import ROPE_FACTORS, GGUFHeader
from atlas.models.unused import first_names

# Under which of these names a config keeps what a key says.
_PLAIN = {
    "block_count": ("num_hidden_layers", "n_layer"),
    "embedding_length": ("hidden_size", "n_embd"),
    "vocab_size": ("vocab_size",),
    "attention.head_count": ("num_attention_heads", "n_head"),
    "attention.head_count_kv": ("num_key_value_heads", "num_kv_heads"),
    "attention.key_length": ("head_dim",),
    "feed_forward_length": ("intermediate_size", "n_inner", "ffn_hidden_size"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps", "layer_norm_epsilon"),
    "attention.layer_norm_epsilon": (
        "layer_norm_epsilon",
        "layer_norm_eps",
        "norm_epsilon",
        "norm_eps",
    ),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "expert_count": ("num_experts", "num_local_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "use_parallel_residual": ("use_parallel_residual",),
    "logit_scale": ("logit_scale",),
    "embedding_scale": ("embedding_multiplier",),
    "residual_scale": ("residual_multiplier",),
}
# What a key may say without any effect, also to a model that knows nothing of it.
_WITHOUT_EFFECT: dict[str, Callable[[Any, Mapping[str, Any]], bool]] = {
    "context_length": lambda value, said: True,
    "tensor_data_layout": lambda value, said: True,
    "attention.causal": lambda value, said: value is True,
    "pooling_type": lambda value, said: value == 0,
    "expert_count": lambda value, said: value == 0,
    "expert_used_count": lambda value, said: value == 0,
    "logit_scale": lambda value, said: value in (0.0, 1.0),
    "embedding_scale": lambda value, said: value in (0.0, 1.0),
    "residual_scale": lambda value, said: value in (0.0, 1.0),
    "attention.scale": lambda value, said: value == 0.0,
    "attention.clamp_kqv": lambda value, said: value == 0.0,
    "attention.max_alibi_bias": lambda value, said: value in (0.0, 8.0),
    "attn_logit_softcapping": lambda value, said: value == 0.0,
    "final_logit_softcapping": lambda value, said: value == 0.0,
    "attention.head_count_kv": lambda value, said: value == said.get("attention.head_count"),
    "attention.key_length": lambda value, said: value == _head_width(said),
    "attention.value_length": lambda value, said: (
        value == said.get("attention.key_length", _head_width(said))
    ),
    "feed_forward_length": lambda value, said: value == 4 * said.get("embedding_length", 0),
    "attention.sliding_window": lambda value, said: (
        value == 0 or value >= said.get("context_length", float("inf"))
    ),
    "rope.scaling.finetuned": lambda value, said: True,
}
_ROPE = ("rope.dimension_count", "rope.freq_base", "rope.freq_base_swa", "rope.scale_linear")
_SCALING = {
    "linear": ("type", "factor", "original_context_length"),
    "yarn": ("type", "factor", "original_context_length", "yarn_beta_fast", "yarn_beta_slow"),
    "longrope": ("type", "factor", "original_context_length", "attn_factor"),
    "none": ("type", "factor", "original_context_length", "attn_factor"),
}

# The layers of Gemma's models of 27B, whose queries are scaled by the share of a head in the
# width; those of its other models by the width of a head. llama.cpp tells them apart by this too.
_SCALED_BY_SHARE = {"gemma2": 46, "gemma3": 62}


def follow_metadata(path: Path, header: GGUFHeader, config: Any) -> None:
    """Make `config`, which transformers read from the file, say all that its metadata says.

    Raises UnsupportedArchitecture naming the first three keys that the model cannot follow.
    """
    prefix = f"{header.architecture}."
    said = {
        key.removeprefix(prefix): value
        for key, value in header.metadata.items()
        if key.startswith(prefix)
    }
    if getattr(config, "head_dim", None) is not None:
        config.head_dim = said.get("attention.key_length", _head_width(said))
    if hasattr(config, "query_pre_attn_scalar"):  # no key has it
        share = said.get("block_count") == _SCALED_BY_SHARE.get(header.architecture)
        config.query_pre_attn_scalar = _head_width(said) if share else config.head_dim
    refused = [key for key, value in said.items() if not _follow(key, value, said, config)]
    refused += _follow_rope(path, header, said, config)
    if refused:
        raise UnsupportedArchitecture(
            f"{str(path)!r} sets what its conversion cannot follow, {len(refused)} in all: "
            f"{first_names(prefix + key for key in refused)}; use the model's safetensors"
        )


def refuse_leftovers(path: Path, header: GGUFHeader, model: Any) -> None:
    """Raise UnsupportedArchitecture unless the model took every tensor of the file.

    By their number of values: transformers passes over names that it does not know.
    """
    inside = {name: size for name, size in header.tensors.items() if name not in ROPE_FACTORS}
    if header.architecture in ("bloom", "falcon"):  # tied, whatever is stored for the head
        inside.pop("output.weight", None)
    taken = sum(parameter.numel() for parameter in model.parameters())
    surplus = sum(inside.values()) - taken
    if surplus:
        biases = [name for name in inside if not name.endswith(".weight")]
        named = f" (such as {first_names(biases)})" if biases else ""
        raise UnsupportedArchitecture(
            f"{str(path)!r} holds {counted(sum(inside.values()), 'weight')} but "
            f"{type(model).__name__} takes {taken:,}{named}: its conversion would leave some "
            "out, use the model's safetensors"
        )


def _head_width(said: Mapping[str, Any]) -> int:
    heads = said.get("attention.head_count")
    return said.get("embedding_length", 0) // heads if isinstance(heads, int) and heads else 0


def _follow(key: str, value: Any, said: Mapping[str, Any], config: Any) -> bool:
    """Set one key that says nothing of rotary positions; whether the model follows it."""
    if key in _ROPE or (key.startswith("rope.scaling.") and key not in _WITHOUT_EFFECT):
        return True  # `_follow_rope` looks at these together
    if value is None:  # an array: another value for every layer
        return False
    if key == "context_length" and hasattr(config, "max_position_embeddings"):
        config.max_position_embeddings = value
    if key == "attention.sliding_window" and _slides(config):
        config.sliding_window = value
        return True
    for name in _PLAIN.get(key, ()):
        if hasattr(config, name):
            setattr(config, name, value)
            return True
    harmless = _WITHOUT_EFFECT.get(key)
    return harmless is not None and harmless(value, said)


def _slides(config: Any) -> bool:
    if not hasattr(config, "sliding_window"):
        return False
    kinds = getattr(config, "layer_types", None)
    return kinds is None or "sliding_attention" in kinds


def _follow_rope(path: Path, header: GGUFHeader, said: Mapping[str, Any], config: Any) -> list[str]:
    """Set the rotary positions; returns the keys that cannot be followed."""
    rope = getattr(config, "rope_parameters", None)
    scaling = {
        key.removeprefix("rope.scaling."): value
        for key, value in said.items()
        if key.startswith("rope.scaling.") and key not in _WITHOUT_EFFECT
    }
    if not rope:
        return [key for key in said if key in _ROPE] + [f"rope.scaling.{key}" for key in scaling]
    full = rope.get("full_attention", rope)  # Gemma 3 scales its full attention alone
    if "rope.freq_base" in said:
        full["rope_theta"] = said["rope.freq_base"]
    refused = []
    if "rope.freq_base_swa" in said:
        if "sliding_attention" in rope:
            rope["sliding_attention"]["rope_theta"] = said["rope.freq_base_swa"]
        else:
            refused.append("rope.freq_base_swa")
    if not _follow_width(said, config, full):
        refused.append("rope.dimension_count")
    factor = scaling.get("factor", said.get("rope.scale_linear", 1.0)) or 1.0
    kind = scaling.get("type", "linear")
    known = _SCALING.get(str(kind), ())
    refused += [f"rope.scaling.{key}" for key in scaling if key not in known]
    original = scaling.get("original_context_length") or said.get("context_length")
    factors = {name: _read(path, name) for name in ROPE_FACTORS if name in header.tensors}
    if kind == "yarn":
        full |= {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original,
        }
        full |= {
            key[5:]: scaling[key] for key in ("yarn_beta_fast", "yarn_beta_slow") if key in scaling
        }
        refused += list(factors)
    elif factors:
        scale = factor if kind == "linear" else 1.0
        whole = factors.get("rope_freqs.weight", [])
        full |= {
            # each frequency divided by a factor of its own, which is what longrope means
            "rope_type": "longrope",
            "short_factor": [scale * x for x in factors.get("rope_factors_short.weight", whole)],
            "long_factor": [scale * x for x in factors.get("rope_factors_long.weight", whole)],
            "factor": 1.0,
            "attention_factor": scaling.get("attn_factor", 1.0),
            "original_max_position_embeddings": original,
        }
    elif kind == "linear" and factor != 1.0:
        full |= {"rope_type": "linear", "factor": factor}
    elif kind == "longrope":
        refused.append("rope.scaling.type")
    return refused


def _follow_width(said: Mapping[str, Any], config: Any, rope: dict[str, Any]) -> bool:
    """Set how much of a head is rotated; whether the model follows it."""
    width = said.get("rope.dimension_count")
    head = said.get("attention.key_length", _head_width(said))
    share = rope.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", None))
    if width is None or not head or width == int(head * (1.0 if share is None else share)):
        return True
    if share is None:
        return False
    rope["partial_rotary_factor"] = width / head
    if hasattr(config, "partial_rotary_factor"):
        config.partial_rotary_factor = width / head
    return True


def _read(path: Path, name: str) -> list[float]:
    """The values of a small tensor."""
    (tensor,) = (tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == name)
    values: list[float] = gguf.dequantize(tensor.data, tensor.tensor_type).ravel().tolist()
    return values
