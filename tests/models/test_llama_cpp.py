"""GGUF files against llama.cpp itself, where its Python package (xllamacpp) is installed."""

import importlib.util
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_gguf import save_tiny_gguf

from atlas.models.load import load_model

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="xllamacpp is not installed"
)
PROMPTS = (
    "The capital of France is",
    "The capital of Italy is",
    "The capital of Norway is in",
    "The capital of Ireland, Dublin, is",
    "Ouagadougou is",
    "The is of",
    "in in in in of of",
    "(Paris)",
    "The official language of Peru is",
    "Oslo",
)
# In a process of its own: it writes to the file descriptors, and ends with its threads running.
_PROGRAM = """
import json, os, sys
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.n_ctx, parameters.warmup, parameters.cpuparams.n_threads = 64, False, 1
parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
server = xllamacpp.Server(parameters)
answers = []
for prompt in json.loads(sys.argv[2]):
    request = {"prompt": prompt, "n_predict": 1, "n_probs": 10, "samplers": []}
    answer = server.handle_completions({**request, "cache_prompt": False})
    found = answer["choices"][0]["logprobs"]  # nothing where the text ends here
    top = found["content"][0]["top_logprobs"] if found else []
    pairs = [[token["id"], token["logprob"]] for token in top]
    answers.append([answer["usage"]["prompt_tokens"], pairs])
print("ANSWERS" + json.dumps(answers), flush=True)
os._exit(0)
"""


def agrees(path, prompts=PROMPTS, tolerance=1e-4):
    """How many P were compared: of llama.cpp's ten likeliest tokens, each the converted model's.

    tolerance: relative to P.
    """
    command = [sys.executable, "-c", _PROGRAM, str(path), json.dumps(prompts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    answers = json.loads(done.stdout.split("ANSWERS")[1])
    lm = load_model(str(path), device="cpu")
    compared = 0
    for prompt, (length, top) in zip(prompts, answers, strict=True):
        ids = lm.tokenizer(prompt).input_ids
        assert len(ids) == length, prompt
        with torch.no_grad():
            p = lm.model(input_ids=torch.tensor([ids])).logits[0, -1].double().softmax(-1)
        for token, logarithm in top:
            assert p[token].item() == pytest.approx(math.exp(logarithm), rel=tolerance), prompt
            compared += 1
    return compared


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tied": True},
        {"keys": {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}},
        {
            "keys": {
                "llama.rope.scaling.type": "yarn",
                "llama.rope.scaling.factor": 4.0,
                "llama.rope.scaling.original_context_length": 16,
            }
        },
        {"tensors": {"rope_freqs.weight": np.array([1.0, 2.0, 4.0, 8.0])}},
        {"pre": "llama-bpe"},
        {"pre": "qwen2", "keys": {"tokenizer.ggml.add_bos_token": True}},
        {"architecture": "qwen2", "pre": "qwen2"},
        {"architecture": "qwen3", "pre": "qwen2", "tied": True},
        {"architecture": "phi3"},
        {"architecture": "gemma2", "tied": True},
    ],
    ids=[
        "plain",
        "tied",
        "linear",
        "yarn",
        "factors",
        "BOS by pre",
        "BOS by key",
        "qwen2",
        "qwen3",
        "phi3",
        "gemma2",
    ],
)
def test_ten_prompts_have_llama_cpps_probabilities(tmp_path, settings):
    save_tiny_gguf(tmp_path / "tiny.gguf", **settings)
    # llama.cpp reads the GELU, which Gemma alone has here, from a table in float16.
    tolerance = 1e-3 if settings.get("architecture") == "gemma2" else 1e-4
    assert agrees(tmp_path / "tiny.gguf", tolerance=tolerance) > 50
