"""A tiny Llama as a GGUF file, so that the conversion can be tested without a real model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tiny_tokenizers import byte_level
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_HEADS, _GROUPS = 4, 2
_ADD = {
    bool: gguf.GGUFWriter.add_bool,
    int: gguf.GGUFWriter.add_uint32,
    float: gguf.GGUFWriter.add_float32,
    str: gguf.GGUFWriter.add_string,
}


def save_tiny_gguf(
    path: Path,
    seed: int = 0,
    quantised: bool = False,
    tied: bool = False,
    keys: Mapping[str, bool | int | float | str] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
    pre: str = "gpt-2",
    pieces: Any = None,
    **changes: Any,
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Write a seeded tiny Llama to `path` and return the model and tokenizer that went into it.

    quantised: matrices as Q8_0, so that the file's weights differ a little from the model's.
    keys, tensors: what the file says and holds beyond the model; `changes` to the model's config.
    pre: how the file says that a text is cut; the tokenizer that is returned does it as GPT-2 does.
    pieces: a SentencePieceProcessor whose vocabulary the file has in place of that tokenizer's.
    """
    tokenizer = byte_level()
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
    config = LlamaConfig(**settings | changes)
    model = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.3 * noise if parameter.dim() > 1 else 1 + 0.3 * noise)
    writer = gguf.GGUFWriter(path, "llama")
    _write_config(writer, config)
    if pieces is None:
        _write_tokenizer(writer, tokenizer, pre)
    else:
        _write_pieces(writer, pieces)
    for key, value in (keys or {}).items():
        _ADD[type(value)](writer, key, value)
    for name, values in (tensors or {}).items():
        writer.add_tensor(name, values.astype(np.float32))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        content = _permuted(name, tensor).numpy().astype(np.float32)
        target = names.get_name(name, try_suffixes=(".weight",))
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


def _permuted(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Query and key rows in llama.cpp's order: the two halves of a head interleaved."""
    heads = {"q_proj": _HEADS, "k_proj": _GROUPS}.get(name.split(".")[-2])
    if heads is None:
        return tensor
    return tensor.view(heads, 2, -1, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape)


def _write_config(writer: gguf.GGUFWriter, config: LlamaConfig) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
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
