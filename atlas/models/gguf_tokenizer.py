"""The tokenizer of a GGUF file: how it cuts a text and what it puts around it, as llama.cpp does.

transformers takes the vocabulary and the merges and cuts every text as GPT-2 does.
https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp has the rules.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, pre_tokenizers, processors

from atlas.errors import UnsupportedArchitecture
from atlas.models.gguf_header import GGUFHeader

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_WORDS = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|"
    r"%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = (_WORDS % r"\p{N}{1,3}",)
_QWEN2 = (_WORDS % r"\p{N}",)
_DIGITS = (r"\p{N}", _GPT2)
# `tokenizer.ggml.pre` → the patterns by which a text is cut, one after the other
_CUTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt-2", "gpt2", "mpt", "olmo", "jais", "phi-2", "roberta-bpe"), (_GPT2,)),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral"), _LLAMA3),
    **dict.fromkeys(("dbrx", "smaug-bpe"), _LLAMA3),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen"), _QWEN2),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell"), _DIGITS),
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]"),
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
}
_WITH_BOS = ("llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral")
_WHOLE_WORDS_FIRST = _WITH_BOS  # a text that is a token is not cut, whatever the merges


def follow_tokenizer(path: Path, header: GGUFHeader, tokenizer: Any) -> None:
    """Make a tokenizer that transformers read from the file cut and frame a text as llama.cpp does.

    Raises UnsupportedArchitecture naming a rule of `tokenizer.ggml` that is not known.
    """
    said = {
        key.removeprefix("tokenizer.ggml."): value
        for key, value in header.metadata.items()
        if key.startswith("tokenizer.ggml.")
    }
    model, pre = said.get("model"), said.get("pre", "default")
    if model not in ("gpt2", "llama"):
        raise UnsupportedArchitecture(
            f"{str(path)!r} sets tokenizer.ggml.model to {model!r}, which the conversion does not "
            "follow: use the model's safetensors"
        )
    if model == "gpt2":
        if pre not in _CUTS:
            raise UnsupportedArchitecture(
                f"{str(path)!r} sets tokenizer.ggml.pre to {pre!r}, whose way to cut a text is not "
                "known here: use the model's safetensors"
            )
        backend = tokenizer.backend_tokenizer
        backend.model.ignore_merges = pre in _WHOLE_WORDS_FIRST
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                *(pre_tokenizers.Split(Regex(cut), "isolated") for cut in _CUTS[pre]),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    elif not said.get("add_space_prefix", True):
        _drop_space_prefix(tokenizer)
    bos = said.get("add_bos_token", model == "llama" or pre in _WITH_BOS)
    eos = said.get("add_eos_token", False)
    _frame(
        tokenizer,
        said.get("bos_token_id") if bos else None,
        said.get("eos_token_id") if eos else None,
    )


def _drop_space_prefix(tokenizer: Any) -> None:
    """Put no blank before the first word."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    normalizer = content["normalizer"] or {}
    steps = normalizer.get("normalizers", [normalizer] if normalizer else [])
    steps = [step for step in steps if step["type"] != "Prepend"]
    content["normalizer"] = {"type": "Sequence", "normalizers": steps} if steps else None
    cut = content["pre_tokenizer"]
    if cut and cut["type"] == "Metaspace":
        cut["prepend_scheme"] = "never"
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(content))


def _frame(tokenizer: Any, bos: int | None, eos: int | None) -> None:
    """Put these tokens, and no others, around a text."""
    first, last = (
        [] if token is None else [tokenizer.convert_ids_to_tokens(token)] for token in (bos, eos)
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=[*first, "$A", *last],
        pair=[*first, "$A", *last, *first, "$B:1", *last],
        special_tokens=[
            (name, token)
            for token in (bos, eos)
            if token is not None
            for name in [tokenizer.convert_ids_to_tokens(token)]
        ],
    )
