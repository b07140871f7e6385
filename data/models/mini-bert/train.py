"""Rebuild mini-bert from its seed: `python train.py [--output DIRECTORY] [--seed N]`.

Reads vocab.txt and ../../relations; writes config, weights, tokenizer, held_out.json and
SHA256SUMS. The same machine with the same versions gives the same bytes.
"""

import argparse
import hashlib
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from examples import HELD_OUT, HERE, Example, choose_held_out, examples, split, write_held_out
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

SEED = 20220501
THREADS = 1
LAYERS, WIDTH, HEADS = 6, 128, 4
STEPS, BATCH, WARMUP = 4000, 64, 100
LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 1e-3, 0.05, 0.05
ANSWER_MASKED, ELSEWHERE_MASKED = 0.60, 0.15
CHECKED = ("config.json", "held_out.json", "model.safetensors", "tokenizer.json")
CHECKED += ("tokenizer_config.json", "vocab.txt")


@dataclass(frozen=True)
class Sequences:
    """Texts with their answers filled in: `ids` [sequence, position], `answer_at` [sequence]."""

    ids: torch.Tensor
    answer_at: torch.Tensor
    lengths: torch.Tensor


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Cased WordPiece over vocab.txt, as BERT's."""
    vocabulary = (HERE / "vocab.txt").read_text(encoding="utf-8").splitlines()
    ids = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(vocab=ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=128,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def build_model(tokens: int) -> BertForMaskedLM:
    return BertForMaskedLM(
        BertConfig(
            vocab_size=tokens,
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=4 * WIDTH,
            hidden_act="gelu",
            hidden_dropout_prob=DROPOUT,
            attention_probs_dropout_prob=0.0,
            max_position_embeddings=128,
            pad_token_id=0,
        )
    )


def encode(tokenizer: PreTrainedTokenizerFast, chosen: list[Example]) -> Sequences:
    encoded = tokenizer([e.text for e in chosen], padding=True, return_tensors="pt")
    ids = encoded["input_ids"]
    answer_at = (ids == tokenizer.mask_token_id).int().argmax(dim=1)
    answers = torch.tensor(tokenizer.convert_tokens_to_ids([e.answer for e in chosen]))
    ids[torch.arange(len(ids)), answer_at] = answers
    return Sequences(ids, answer_at, encoded["attention_mask"].sum(dim=1))


def batches(sequences: Sequences, chance: torch.Generator, steps: int) -> list[torch.Tensor]:
    """Row numbers of each step's batch; sorted by length within groups of eight batches."""
    chosen: list[torch.Tensor] = []
    while len(chosen) < steps:
        order = torch.randperm(len(sequences.ids), generator=chance)
        for group in order.split(8 * BATCH):
            by_length = group[sequences.lengths[group].argsort(stable=True)]
            full = [rows for rows in by_length.split(BATCH) if len(rows) == BATCH]
            chosen += [full[i] for i in torch.randperm(len(full), generator=chance)]
    return chosen[:steps]


def masked(
    sequences: Sequences, rows: torch.Tensor, mask_token: int, chance: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids with masks, attention mask, where to predict), each [row, position]."""
    length = int(sequences.lengths[rows].max())
    ids = sequences.ids[rows, :length]
    position = torch.arange(length)
    inner = (position > 0) & (position < sequences.lengths[rows, None] - 1)
    asked = position == sequences.answer_at[rows, None]
    answer_only = torch.rand(len(rows), 1, generator=chance) < ANSWER_MASKED
    anywhere = torch.rand(ids.shape, generator=chance) < ELSEWHERE_MASKED
    predict = torch.where(answer_only, asked, anywhere & inner)
    attention = (position < sequences.lengths[rows, None]).long()
    return ids.masked_fill(predict, mask_token), attention, predict


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a half cosine down to zero; a factor of LEARNING_RATE."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (steps - WARMUP)))


def train(
    model: BertForMaskedLM, sequences: Sequences, mask_token: int, steps: int, seed: int
) -> None:
    chance = torch.Generator().manual_seed(seed)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0}],
        lr=LEARNING_RATE,
        betas=(0.9, 0.98),
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, steps))
    started = time.monotonic()
    model.train()
    for step, rows in enumerate(batches(sequences, chance, steps), start=1):
        ids, attention, predict = masked(sequences, rows, mask_token, chance)
        hidden = model.bert(ids, attention_mask=attention).last_hidden_state
        targets = sequences.ids[rows, : ids.shape[1]][predict]
        loss = cross_entropy(model.cls(hidden[predict]), targets)  # head only where it is asked
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == steps:
            seconds = time.monotonic() - started
            print(f"step {step} of {steps}, loss {loss:.3f}, {seconds:.0f} s", flush=True)


def write_checksums(directory: Path) -> None:
    """SHA256SUMS in the format of sha256sum(1); the loader verifies it."""
    sums = [hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in CHECKED]
    lines = [f"{digest}  {name}\n" for digest, name in zip(sums, CHECKED, strict=True)]
    (directory / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument(
        "--seed", type=int, default=SEED, help="of weights and batches; the texts stay the same"
    )
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs a tenth of the time
    torch.manual_seed(options.seed)

    every = examples()
    write_held_out(choose_held_out(every, SEED))
    trained, _ = split(every)
    tokenizer = build_tokenizer()
    model = build_model(len(tokenizer))
    print(f"{len(trained)} texts, {len(tokenizer)} tokens, {model.num_parameters()} parameters")
    train(model, encode(tokenizer, trained), tokenizer.mask_token_id, options.steps, options.seed)

    model.save_pretrained(options.output)
    (options.output / "model.safetensors").chmod(0o644)  # transformers leaves it private
    tokenizer.save_pretrained(options.output)
    if options.output != HERE:
        for path in (HELD_OUT, HERE / "vocab.txt"):
            shutil.copy(path, options.output)
    write_checksums(options.output)


if __name__ == "__main__":
    main()
