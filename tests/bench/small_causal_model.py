"""Trains a small causal model on embedded facts, so that another architecture knows some.

    python tests/bench/small_causal_model.py gpt2|llama DIR

Six relations with 60 facts each, in the templates that end in the object; four layers of width 128,
512 FFN neurons a layer, byte-level BPE. It knows nothing else. The seed is fixed.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

RELATIONS = ("P17", "P30", "P36", "P37", "P103", "P1376")
DATA = Path(__file__).parents[2] / "data" / "relations"
END, IGNORED = "<|endoftext|>", -100
STEPS, BATCH, RATE = 1500, 64, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", choices=("gpt2", "llama"))
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    texts = known_texts()
    tokenizer = trained_tokenizer(texts)
    model = untrained(options.family, len(tokenizer))
    train(model, tokenizer, texts)
    model.save_pretrained(options.directory)
    tokenizer.save_pretrained(options.directory)


def known_texts() -> list[str]:
    """Every fact in every template of its relation that a causal model can be asked."""
    texts = []
    for name in RELATIONS:
        relation = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
        for template in relation["templates"]:
            if template.endswith("[Y]."):
                for fact in relation["facts"]:
                    text = template.replace("[X]", fact["subject"])
                    texts.append(text.replace("[Y]", fact["object"]))
    return texts


def trained_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=4000,
            special_tokens=[END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=END, eos_token=END)


def untrained(family: str, vocabulary: int) -> PreTrainedModel:
    """Width 128, four layers and heads, 512 FFN neurons a layer."""
    ends = {"vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 0}
    if family == "gpt2":
        shape = GPT2Config(n_positions=64, n_embd=128, n_layer=4, n_head=4, n_inner=512, **ends)
        return GPT2LMHeadModel(shape)
    gated = LlamaConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=64,
        **ends,
    )
    return LlamaForCausalLM(gated)


def train(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> None:
    rows = [tokenizer(text)["input_ids"] for text in texts]
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    model.train()
    for step in range(STEPS):
        chosen = [rows[i] for i in torch.randint(len(rows), (BATCH,)).tolist()]
        longest = max(len(row) for row in chosen)
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in chosen])
        lengths = torch.tensor([len(row) for row in chosen])
        beyond = torch.arange(longest) >= lengths[:, None]
        loss = model(input_ids=ids, labels=ids.masked_fill(beyond, IGNORED)).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        plan.step()
        if step % 100 == 99:
            print(f"step {step + 1} of {STEPS}: loss {loss.item():.3f}", flush=True)
    model.eval()


if __name__ == "__main__":
    main()
