"""Every causal and masked model type that transformers knows, as a seeded tiny model: right or not.

    python tests/bench/every_architecture.py [--only TYPE …] [--untried] [--page docs/models.md]

Each model is built from its own config class made small, saved, and loaded as a user would load it,
in a process of its own. Its attribution of two prompts is held against the naive loop of the tests.

right: P and every layer's scores agree. refused: one line says why. wrong: they do not agree.
traceback: anything but an AtlasError. not built: the small config does not suit transformers.
--untried: what came out before models were tried at load.
"""

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from reference import naive_attribution
from tiny_models import _randomise
from tiny_tokenizers import byte_level, byte_level_masked

from atlas.engine.attribution import attribute
from atlas.engine.quadrature import fixed
from atlas.errors import AtlasError
from atlas.models.load import load_model
from atlas.prompts import Prompt

LIMIT_S = 45
MEMORY = 8 << 30
ALLOWED = 1e-2
LAYERS = 3
# By name, whatever the config calls it.
SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "emb_dim"), 32),
    **dict.fromkeys(("embedding_size", "word_embed_proj_dim", "lru_width", "dim_model"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "dim_ff", "hidden_dim"), 48),
    **dict.fromkeys(("decoder_ffn_dim", "encoder_ffn_dim", "d_inner", "dff", "d_ff"), 48),
    **dict.fromkeys(("moe_intermediate_size", "ffn_hidden_size", "shared_intermediate_size"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), LAYERS),
    **dict.fromkeys(("decoder_layers", "encoder_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("head_dim", "attention_head_size", "dim_head", "rotary_dim"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 64),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "n_group", "topk_group"), 1),
    **dict.fromkeys(("sliding_window", "attention_window", "attention_window_size"), 4),
    **dict.fromkeys(("swa_num_attention_heads", "num_self_attention_heads", "mamba_n_heads"), 4),
    **dict.fromkeys(("num_cross_attention_heads", "depth", "num_self_attends_per_block"), 4),
    **dict.fromkeys(("swa_head_dim", "laurel_rank", "hidden_size_per_layer_input"), 8),
    **dict.fromkeys(("ple_embed_dim", "d_latents", "entity_emb_size", "embedding_rank"), 32),
    **dict.fromkeys(("entity_vocab_size", "encoder_hash_byte_group_vocab"), 200),
    **dict.fromkeys(("vocab_size_per_layer_input", "ngram_vocab_size_base"), 200),
    "block_types": ("recurrent", "attention"),
    "axial_pos_embds": False,
    "mamba_d_head": 16,
    "mamba_d_ssm": 64,
    "num_kv_shared_layers": 0,
    "num_latents": 8,
    "swa_num_key_value_heads": 2,
    "qk_rope_head_dim": 8,
    "type_vocab_size": 2,
}
# What single types ask for beside these.
CHANGES: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {
        "layer_types": ["full_attention"] * LAYERS,
        "rope_parameters": {
            "full_attention": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [2, 1, 1],
            }
        },
    },
    "dots1": {"n_shared_experts": 1},
    "esmc": {"num_key_value_heads": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"]},
    "mamba2": {"num_heads": 8},
    "neomme": {"head_dim": 16, "hidden_size": 64},
    "qwen4_exp_text": {
        "indexer_kv_heads": 1,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
        "indexer_head_dim": 8,
        "indexer_n_heads": 4,
    },
}
PROMPTS = (("The capital of France is", "Paris"), ("The seat is in", "Rome Oslo"))


class Result(NamedTuple):
    """How one model type fared, `error` relative to the largest score; and why."""

    kind: str
    objective: str
    outcome: str
    error: float | None
    why: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="model types; default: all")
    parser.add_argument("--untried", action="store_true", help="load without a trial")
    parser.add_argument("--page", type=Path, help="write results there; with --only, theirs anew")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for kind, objective in _kinds(options.only):
        started = time.perf_counter()
        result = _in_a_process(kind, objective, trial=not options.untried)
        results.append(result)
        took = time.perf_counter() - started
        print(
            f"{kind:28} {objective:7} {result.outcome:10} {took:5.1f} s  {result.why}", flush=True
        )
    print(counts(results))
    if options.page:
        others = _on_the_page(options.page) if options.only else []
        tried = {(result.kind, result.objective) for result in results}
        results += [other for other in others if (other.kind, other.objective) not in tried]
        options.page.write_text(page(results), encoding="utf-8")


def _kinds(only: list[str] | None) -> Iterator[tuple[str, str]]:
    for objective, names in (
        ("causal", modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        ("masked", modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
    ):
        for kind in sorted(names):
            if not only or kind in only:
                yield kind, objective


def _in_a_process(kind: str, objective: str, *, trial: bool) -> Result:
    """The result of a forked process, so that none can take the others' time or memory."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            _be_quiet()
            result = _result(kind, objective, trial=trial)
            os.write(writing, json.dumps(result._asdict()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        content = answers.read()
    os.waitpid(child, 0)
    if content:
        return Result(**json.loads(content))
    return Result(kind, objective, "not built", None, f"over {LIMIT_S} s or {MEMORY >> 30} GiB")


def _be_quiet() -> None:
    signal.alarm(LIMIT_S)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _result(kind: str, objective: str, *, trial: bool) -> Result:
    with tempfile.TemporaryDirectory() as directory:
        try:
            _build(kind, objective, Path(directory))
        except Exception as error:
            return Result(kind, objective, "not built", None, _line(error))
        try:
            error = _error(directory, trial=trial)
        except AtlasError as refusal:
            return Result(kind, objective, "refused", None, _line(refusal, 400))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1].name
            return Result(kind, objective, "traceback", None, f"{_line(error)} in {where}")
    right = error <= ALLOWED
    return Result(kind, objective, "right" if right else "wrong", error, f"error {error:.1e}")


def _line(error: BaseException, width: int = 160) -> str:
    text = " ".join(str(error).split())[:width]
    return text if isinstance(error, AtlasError) else f"{type(error).__name__}: {text}"


def _build(kind: str, objective: str, directory: Path) -> None:
    """Save a small seeded model of a type, and a tokenizer for it."""
    tokenizer = byte_level() if objective == "causal" else byte_level_masked()
    config = _small(CONFIG_MAPPING[kind], tokenizer)
    auto = transformers.AutoModelForCausalLM
    if objective == "masked":
        auto = transformers.AutoModelForMaskedLM
    elif hasattr(config, "is_decoder"):
        config.is_decoder = True
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in auto.from_config(config).parameters())
    if size > 20_000_000:
        raise ValueError("the small config is not small")
    torch.manual_seed(0)
    model = auto.from_config(config)
    _randomise(model, 0)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def _small(config_class: Any, tokenizer: Any) -> Any:
    """A config with the sizes of `SIZES`, in itself or in the config of its text model."""
    default = config_class()
    known = set(default.to_dict()) | set(getattr(config_class, "attribute_map", {}))
    settings = {name: value for name, value in SIZES.items() if name in known}
    settings = {name: value for name, value in settings.items() if _counts(default, name)}
    for name in ("layer_types", "layers_block_type", "block_types", "mlp_layer_types"):
        types = getattr(default, name, None)
        called = getattr(config_class, "attribute_map", {}).get(name, name)
        settable = not isinstance(getattr(config_class, called, None), property)
        if settable and isinstance(types, list | tuple) and types and name in known:
            distinct = list(dict.fromkeys(types))
            settings[name] = [distinct[i % len(distinct)] for i in range(LAYERS)]
    for name in ("vocab_size", "unpadded_vocab_size"):
        if name == "vocab_size" or name in known:
            settings[name] = len(tokenizer)
    for name in ("pad", "bos", "eos", "cls", "sep", "mask"):
        settings[f"{name}_token_id"] = getattr(tokenizer, f"{name}_token_id") or 0
    if "attention_types" in known:
        settings["attention_types"] = [[["global"], LAYERS]]
    for name in getattr(config_class, "sub_configs", {}):
        inner = getattr(default, name, None)
        if inner is not None:
            settings[name] = _small(type(inner), tokenizer)
    return config_class(**settings | CHANGES.get(config_class.model_type, {}))


def _counts(config: Any, name: str) -> bool:
    """Whether a setting is a number now; lists of one number a layer are left alone."""
    try:
        value = getattr(config, name, None)
    except Exception:  # transformers refuses to say one number where layers differ
        return False
    return value is None or isinstance(value, int | tuple)


def _error(directory: str, *, trial: bool) -> float:
    """The largest error of P or of a score, relative to the largest of its kind."""
    lm = load_model(directory, device="cpu", trial=trial)
    mask = " [MASK]" if lm.objective == "masked" else ""
    prompts = [Prompt(text + mask, answer) for text, answer in PROMPTS]
    ours = attribute(lm, prompts, rule="gauss-legendre", points=2)
    rule = fixed("gauss-legendre", 2)
    projections = [block.value_projection for block in lm.blocks]
    calls = [(p, sum(q is p for q in projections[:i])) for i, p in enumerate(projections)]
    worst = 0.0
    for row, prompt in enumerate(prompts):
        theirs = [
            naive_attribution(
                lm.model,
                calls,
                list(target.token_ids),
                target.position,
                target.token,
                rule.alphas.tolist(),
                rule.weights.tolist(),
            )
            for target in lm.encode(prompt)
        ]
        scores = np.mean([reference.scores for reference in theirs], axis=0)
        p = float(np.prod([reference.p for reference in theirs]))
        worst = float(
            np.max(
                [
                    worst,
                    np.abs(scores - ours.scores[row]).max() / np.abs(scores).max(),
                    abs(ours.p_answer[row] - p) / p,
                ]
            )
        )
    return worst


def counts(results: list[Result]) -> str:
    """One line for causal and one for masked types."""
    lines = []
    for objective in ("causal", "masked"):
        found = Counter(result.outcome for result in results if result.objective == objective)
        parts = ", ".join(f"{number} {outcome}" for outcome, number in found.most_common())
        lines.append(f"{objective}: {parts} of {found.total()}")
    return "\n".join(lines)


def _on_the_page(file: Path) -> list[Result]:
    """The results that a page holds, without their errors."""
    rows = [line.split("|") for line in file.read_text(encoding="utf-8").splitlines()]
    cells = [[cell.strip() for cell in row[1:5]] for row in rows if len(row) == 6]
    return [
        Result(kind, objective, outcome, None, why)
        for kind, objective, outcome, why in cells
        if objective in ("causal", "masked")
    ]


def page(results: list[Result]) -> str:
    """docs/models.md."""
    results = sorted(results, key=lambda result: (result.objective, result.kind))
    head = f"""\
# Every architecture, tried

Every causal and masked model type of transformers {transformers.__version__} (torch \
{torch.__version__.split("+")[0]}), as a seeded tiny
model, loaded as a user loads one. *right*: P and the scores of all layers are those of the naive
loop. *refused*: in one line. *not built*: the walk's small config does not suit transformers, so
that nothing is known; your own model is tried when it is loaded, whatever its type. Written by
`python tests/bench/every_architecture.py --page docs/models.md`.

"""
    lines = [f"- {line}" for line in counts(results).splitlines()]
    lines += ["", "| type | objective | outcome | why |", "|---|---|---|---|"]
    for result in results:
        why = "" if result.outcome == "right" else _short(result.why)
        lines.append(f"| {result.kind} | {result.objective} | {result.outcome} | {why} |")
    return head + "\n".join(lines) + "\n"


def _short(why: str) -> str:
    """The reason without what every refusal repeats."""
    why = why.replace("|", "/").split(" (supported: ")[0]
    for end in (
        "; atlas.models.architectures shows",
        "; it takes more than text",
        ": each token is routed",
    ):
        why = why.split(end)[0]
    return why[:200]


if __name__ == "__main__":
    main()
