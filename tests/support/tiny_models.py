"""Seeded tiny models of every supported family, with tokenizers built in code: no network.

Weights are random but large, biases and norm gains are far from 0 and 1, so that every neuron,
bias and gain matters to the output and a forgotten one shows.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_tokenizers import (
    byte_level,
    byte_level_masked,
    metaspace,
    metaspace_masked,
    word_piece,
)
from transformers import (
    AlbertConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    BloomConfig,
    DistilBertConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    StableLmConfig,
    XLMRobertaConfig,
)

_WIDE = {"hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 4}
_ENCODER = {**_WIDE, "num_hidden_layers": 3, "max_position_embeddings": 40}
_DECODER = {**_ENCODER, "rope_theta": 100.0}
_GROUPED = {**_DECODER, "num_key_value_heads": 2}
_ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
_GEMMA = {**_GROUPED, "head_dim": 8}

_Build = tuple[type[PreTrainedConfig], dict[str, Any], Callable[[], PreTrainedTokenizerFast]]

MASKED: dict[str, _Build] = {
    "bert": (BertConfig, _ENCODER, word_piece),
    "roberta": (RobertaConfig, _ENCODER, byte_level_masked),
    "xlm-roberta": (XLMRobertaConfig, _ENCODER, metaspace_masked),
    "distilbert": (
        DistilBertConfig,
        {"dim": 24, "hidden_dim": 40, "n_heads": 4, "n_layers": 3, "max_position_embeddings": 40},
        word_piece,
    ),
    "albert": (AlbertConfig, {**_ENCODER, "embedding_size": 16}, word_piece),
    "modernbert": (
        ModernBertConfig,
        {
            **_ENCODER,
            "local_attention": 4,
            "global_attn_every_n_layers": 2,
            "cls_token_id": 0,
            "sep_token_id": 2,
        },
        byte_level_masked,
    ),
}
CAUSAL: dict[str, _Build] = {
    "gpt2": (GPT2Config, {"n_embd": 24, "n_head": 4, "n_layer": 3, "n_positions": 40}, byte_level),
    "gpt_neo": (
        GPTNeoConfig,
        {
            "hidden_size": 24,
            "num_heads": 4,
            "num_layers": 4,
            "intermediate_size": 40,
            "attention_types": [[["global", "local"], 2]],
            "window_size": 4,
            "max_position_embeddings": 40,
        },
        byte_level,
    ),
    "gptj": (
        GPTJConfig,
        {"n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 40, "rotary_dim": 4},
        byte_level,
    ),
    "gpt_neox": (GPTNeoXConfig, {**_DECODER, "hidden_size": 32}, byte_level),
    "opt": (
        OPTConfig,
        {
            "hidden_size": 24,
            "word_embed_proj_dim": 16,
            "ffn_dim": 40,
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "max_position_embeddings": 40,
        },
        metaspace,
    ),
    "bloom": (BloomConfig, {"hidden_size": 24, "n_head": 4, "n_layer": 3}, byte_level),
    "llama": (LlamaConfig, {**_GROUPED, "hidden_size": 32}, metaspace),
    "mistral": (MistralConfig, {**_GROUPED, "hidden_size": 32, "sliding_window": 4}, metaspace),
    "qwen2": (Qwen2Config, {**_GROUPED, "hidden_size": 32}, byte_level),
    "qwen3": (Qwen3Config, {**_GROUPED, "head_dim": 8}, byte_level),
    "gemma": (GemmaConfig, _GEMMA, metaspace),
    "gemma2": (
        Gemma2Config,
        {
            **_GEMMA,
            "num_hidden_layers": 4,
            "layer_types": _ALTERNATING,
            "sliding_window": 4,
            "query_pre_attn_scalar": 8,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 4.0,
        },
        metaspace,
    ),
    "gemma3_text": (
        Gemma3TextConfig,
        {
            **{k: v for k, v in _GEMMA.items() if k != "rope_theta"},
            "num_hidden_layers": 4,
            "layer_types": _ALTERNATING,
            "sliding_window": 4,
            "query_pre_attn_scalar": 8,
            "final_logit_softcapping": 4.0,
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 1000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            },
        },
        metaspace,
    ),
    "phi": (PhiConfig, {**_DECODER, "hidden_size": 32, "partial_rotary_factor": 0.5}, byte_level),
    "phi3": (Phi3Config, {**_GROUPED, "hidden_size": 32, "sliding_window": 4}, metaspace),
    "olmo2": (Olmo2Config, {**_GROUPED, "hidden_size": 32}, byte_level),
    "stablelm": (
        StableLmConfig,
        {**_GROUPED, "hidden_size": 32, "partial_rotary_factor": 0.5, "use_qkv_bias": True},
        byte_level,
    ),
}
FAMILIES: tuple[str, ...] = (*MASKED, *CAUSAL)


def tiny(
    family: str, seed: int = 0, **changes: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A seeded random model of `family` in eval mode and its tokenizer; `changes` to its config."""
    config_class, settings, build_tokenizer = {**MASKED, **CAUSAL}[family]
    tokenizer = build_tokenizer()
    config = config_class(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **{**settings, **changes},
    )
    auto = AutoModelForMaskedLM if family in MASKED else AutoModelForCausalLM
    model = auto.from_config(config)
    _randomise(model, seed)
    model.eval().requires_grad_(False)
    return model, tokenizer


def save_tiny(family: str, directory: Path, seed: int = 0) -> Path:
    """Write `tiny(family, seed)` as a Hugging Face directory and return the directory."""
    model, tokenizer = tiny(family, seed)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _randomise(model: PreTrainedModel, seed: int) -> None:
    """Fill every parameter from one generator: matrices 0.3, biases 0.2, norm gains 1 ± 0.3."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(0.3 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            else:
                # Gemma stores a gain as its difference from 1.
                parameter.copy_(0.3 * noise + parameter.mean().round())
