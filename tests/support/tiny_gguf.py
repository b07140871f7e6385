"""A tiny model as a GGUF file, so that the conversion can be tested without a real model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import sentencepiece
import torch
from tiny_tokenizers import byte_level, sentence_pieces
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

_HEADS, _GROUPS = 4, 2
_KINDS = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
_ADD = {
    bool: gguf.GGUFWriter.add_bool,
    int: gguf.GGUFWriter.add_uint32,
    float: gguf.GGUFWriter.add_float32,
    str: gguf.GGUFWriter.add_string,
}
# What the config of an architecture has of its own: its heads need not share out the width.
_SETTINGS: dict[str, dict[str, Any]] = {
    "gemma2": {
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 5.0,
        "sliding_window": 4,
    },
    "phi3": {"pad_token_id": 0},
    "qwen3": {"head_dim": 16},
}
_GEMMA_PIECES = {
    "vocab_size": 330,
    "byte_fallback": True,
    "add_dummy_prefix": False,
    "pad_id": 0,
    "eos_id": 1,
    "bos_id": 2,
    "unk_id": 3,
    "eos_piece": "<eos>",
    "bos_piece": "<bos>",
}


def save_tiny_gguf(
    path: Path,
    seed: int = 0,
    architecture: str = "llama",
    quantised: bool = False,
    tied: bool = False,
    keys: Mapping[str, bool | int | float | str] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
    pre: str = "gpt-2",
    pieces: Any = None,
    **changes: Any,
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Write a seeded tiny model to `path` and return the model and tokenizer that went into it.

    architecture: gemma2, llama, phi3, qwen2 or qwen3, as both llama.cpp and transformers name it.
    quantised: matrices as Q8_0, so that the file's weights differ a little from the model's.
    keys, tensors: what the file says and holds beyond the model; `changes` to the model's config.
    pre: how the file says that a text is cut; the tokenizer that is returned does it as GPT-2 does.
    pieces: a SentencePieceProcessor whose vocabulary the file has in place of that tokenizer's,
    as a Gemma always has.
    """
    tokenizer = byte_level()
    if architecture == "gemma2" and pieces is None:
        pieces = sentencepiece.SentencePieceProcessor(model_proto=sentence_pieces(**_GEMMA_PIECES))
        keys = {"tokenizer.ggml.add_space_prefix": False, **(keys or {})}
    settings: dict[str, Any] = dict(
        vocab_size=len(tokenizer) if pieces is None else pieces.get_piece_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=_HEADS,
        num_key_value_heads=_GROUPS,
        max_position_embeddings=40,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        rms_norm_eps=1e-5,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=tied,
    )
    settings |= _SETTINGS.get(architecture, {}) | changes
    config = AutoConfig.for_model(architecture, **settings)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.3 * noise if parameter.dim() > 1 else 1 + 0.3 * noise)
    writer = gguf.GGUFWriter(path, architecture)
    _write_config(writer, config)
    if pieces is None:
        _write_tokenizer(writer, tokenizer, pre)
    else:
        _write_pieces(writer, pieces)
    for key, value in (keys or {}).items():
        _ADD[type(value)](writer, key, value)
    for name, values in (tensors or {}).items():
        writer.add_tensor(name, values.astype(np.float32))
    names = gguf.get_tensor_name_map(_KINDS[architecture], config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        content = _stored(architecture, name, tensor).numpy().astype(np.float32)
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if quantised and tensor.dim() > 1:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(target, gguf.quants.quantize(content, kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, content)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model, tokenizer


def _stored(architecture: str, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A weight as llama.cpp's converter stores it.

    Llama's query and key rows have the two halves of a head interleaved, and Gemma's norms have
    the 1 added that its code adds.
    """
    if architecture == "gemma2" and name.endswith("norm.weight"):
        return tensor + 1
    heads = {"q_proj": _HEADS, "k_proj": _GROUPS}.get(name.split(".")[-2])
    if architecture != "llama" or heads is None:
        return tensor
    return tensor.view(heads, 2, -1, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape)


def _write_config(writer: gguf.GGUFWriter, config: PreTrainedConfig) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(head)
    if head * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(head)
        writer.add_value_length(head)
    if config.pad_token_id is not None:
        writer.add_pad_token_id(config.pad_token_id)
    if config.model_type == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
        writer.add_sliding_window(config.sliding_window)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _write_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast, pre: str) -> None:
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    special = set(tokenizer.all_special_tokens)
    kinds = [gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(_merges(tokenizer))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)


def _write_pieces(writer: gguf.GGUFWriter, pieces: Any) -> None:
    every = range(pieces.get_piece_size())
    kinds = [
        gguf.TokenType.UNKNOWN
        if pieces.is_unknown(i)
        else gguf.TokenType.CONTROL
        if pieces.is_control(i)
        else gguf.TokenType.BYTE
        if pieces.is_byte(i)
        else gguf.TokenType.NORMAL
        for i in every
    ]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([pieces.id_to_piece(i) for i in every])
    writer.add_token_scores([pieces.get_score(i) for i in every])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(pieces.bos_id())
    writer.add_eos_token_id(pieces.eos_id())
    writer.add_unk_token_id(pieces.unk_id())


def _merges(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    return [" ".join(pair) for pair in content["model"]["merges"]]
