"""How fast attribution is, side by side with its peers, in one run: prints a table a model.

    python tests/bench/attribution_speed.py [--gguf SmolLM2.gguf] [--pararel DIR] [--prompts 48]
        [--at subject]

At the subject, the same prompts at the answer are timed, too, and both positions one after the
other, as `atlas index --at both` does.

Peers (`pip install '.[bench]'`): EleutherAI's `knowledge-neurons` and captum's IntegratedGradients,
both with 20 steps in one batch. All are warm, and take turns, so that a machine whose speed drifts
favours nobody: in each round ours attributes all prompts in one call, and each peer, which knows no
batches of prompts, the next prompt of an even sample of the same. Ours and the matrix-multiply rate
are medians over the rounds, a peer's time the mean over its prompts. Each peer's completeness gap
is taken against the same F(1) - F(0), relative to the prompt's largest effect of a layer.
"""

import argparse
import copy
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from atlas.datasets import read_dataset
from atlas.engine.answer_tokens import Attribution
from atlas.engine.attribution import attribute
from atlas.engine.clean_pass import carried
from atlas.engine.settings import POSITIONS
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.paths import EMBEDDED_MODEL
from atlas.prompts import Prompt, UnusablePrompt, cloze, encode, fill, subject_end

STEPS = 20


@dataclass(frozen=True)
class Sample:
    """An even sample of so many prompts."""

    prompts: list[Prompt]
    size: int

    def indices(self) -> list[int]:
        step = max(1, len(self.prompts) // self.size)
        return list(range(step // 2, len(self.prompts), step))[: self.size]


@dataclass(frozen=True)
class Timing:
    """Seconds per prompt, and the worst layer's |gap| relative to the prompt's largest effect."""

    name: str
    seconds: float
    mean_gap: float
    worst_gap: float
    note: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--peer-prompts", type=int, default=6, help="rounds, one prompt each")
    parser.add_argument("--gguf", type=Path, help="SmolLM2-135M-Instruct as GGUF")
    parser.add_argument("--pararel", type=Path, help="ParaRel's directory; default: embedded")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--skip-bert", action="store_true")
    parser.add_argument("--at", choices=POSITIONS, default="answer")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    console = Console(width=160)
    console.print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; {options.prompts} prompts, "
        f"{options.peer_prompts} rounds"
    )
    if not options.skip_bert:
        bert(options, console)
    if options.gguf:
        smollm2(options, console)


def bert(options: argparse.Namespace, console: Console) -> None:
    lm, low = bert_base(torch.float32), bert_base(torch.bfloat16)
    prompts = choose_prompts(lm, options, shortest=8, longest=16)
    full, half = Ours("atlas float32", lm, prompts), Ours("atlas bfloat16", low, prompts)
    console.print(f"peak memory, ours: {peak_memory():.2f} GiB")
    error = np.abs(half.result.scores - full.result.scores).max((1, 2))
    error /= full.result.scores.max((1, 2))
    console.print(f"bfloat16's scores are at most {error.max():.1%} of the largest from float32's")
    sample = Sample(prompts, options.peer_prompts)
    kn = Peer("knowledge-neurons", eleutherai(lm), sample, full.result)
    captum = Peer("captum", captum_per_layer(lm, "gausslegendre"), sample, full.result)
    title = "BERT-base shape (12 × 768 × 3072), seeded weights"
    race(console, title, [full, half, kn, captum, *elsewhere(lm, prompts)], options.peer_prompts)


def smollm2(options: argparse.Namespace, console: Console) -> None:
    lm = load_model(str(options.gguf))
    prompts = choose_prompts(lm, options, shortest=4, longest=40)
    ours = Ours("atlas float32", lm, prompts)
    console.print(f"peak memory, ours: {peak_memory():.2f} GiB")
    sample = Sample(prompts, options.peer_prompts)
    captum = Peer("captum", captum_per_layer(lm, "riemann_left"), sample, ours.result)
    runners = [ours, captum, *elsewhere(lm, prompts)]
    race(console, f"SmolLM2-135M-Instruct, at the {options.at}", runners, options.peer_prompts)


def elsewhere(lm: LanguageModel, prompts: Sequence[Prompt]) -> list["Ours | Both"]:
    """For prompts at the subject: the same at the answer, and both."""
    if prompts[0].subject_end is None:
        return []
    at_answer = [replace(prompt, subject_end=None) for prompt in prompts]
    return [Ours("atlas float32, at the answer", lm, at_answer), Both(lm, prompts, at_answer)]


def peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def bert_base(dtype: torch.dtype) -> LanguageModel:
    """BERT-base's shape with seeded weights; mini-bert's tokenizer gives ids below 30,522."""
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig()).to(dtype)
    return LanguageModel.from_parts(
        model=model,
        tokenizer=AutoTokenizer.from_pretrained(EMBEDDED_MODEL),
        name="bert-base-shape",
        revision=None,
        weights_sha256="0" * 64,
        dtype=str(dtype).removeprefix("torch."),
        device="cpu",
    )


def choose_prompts(
    lm: LanguageModel, options: argparse.Namespace, *, shortest: int, longest: int
) -> list[Prompt]:
    """One-token prompts over all relations, spread evenly."""
    found: list[Prompt] = []
    for relation in read_dataset(options.pararel).relations:
        for index, template in enumerate(relation.templates):
            fact = relation.facts[index % len(relation.facts)]
            end = subject_end(template, fact) if options.at == "subject" else None
            try:
                prompt = cloze(fill(template, fact), fact.object, lm.objective, end)
                targets = encode(prompt, lm.tokenizer, lm.objective, lm.context)
            except UnusablePrompt:
                continue
            if len(targets) == 1 and shortest <= len(targets[0].token_ids) <= longest:
                found.append(prompt)
    return found[:: max(1, len(found) // options.prompts)][: options.prompts]


class Ours:
    """The atlas on all prompts in one call."""

    def __init__(self, name: str, lm: LanguageModel, prompts: Sequence[Prompt]) -> None:
        self.name, self.lm, self.prompts = name, lm, prompts
        self.result = attribute(lm, prompts)  # warm
        self.times: list[float] = []
        self.rates: list[float] = []

    def turn(self) -> None:
        start = time.perf_counter()
        attribute(self.lm, self.prompts)
        self.times.append((time.perf_counter() - start) / len(self.prompts))
        self.rates.append(matmul_rate(self.lm))

    def timing(self) -> Timing:
        seconds, rate = statistics.median(self.times), statistics.median(self.rates)
        gaps = np.abs(self.result.completeness_gap).max(1) / self.result.largest_effect
        flops = useful_flops(self.lm, self.prompts, self.result)
        note = (
            f"{self.result.evaluations.mean():.1f} evaluations per (prompt, layer); "
            f"{flops / seconds / 1e9:.0f} GFLOP/s, {flops / seconds / rate:.0%} of matmul's "
            f"{rate / 1e9:.0f}"
        )
        return Timing(self.name, seconds, float(gaps.mean()), float(gaps.max()), note)


class Both:
    """The atlas at the subject and at the answer, one after the other."""

    def __init__(
        self, lm: LanguageModel, at_subject: Sequence[Prompt], at_answer: Sequence[Prompt]
    ) -> None:
        self.lm, self.prompts = lm, (at_subject, at_answer)
        self.times: list[float] = []

    def turn(self) -> None:
        start = time.perf_counter()
        for prompts in self.prompts:
            attribute(self.lm, prompts)
        self.times.append((time.perf_counter() - start) / len(self.prompts[0]))

    def timing(self) -> Timing:
        return Timing("atlas float32, both", statistics.median(self.times), np.nan, np.nan)


class Peer:
    """Another tool on one prompt a turn, and how far its scores are from complete."""

    def __init__(
        self,
        name: str,
        scores_of: Callable[[Prompt], np.ndarray],
        sample: Sample,
        ours: Attribution,
    ) -> None:
        self.name, self.scores_of, self.sample, self.ours = name, scores_of, sample, ours
        scores_of(sample.prompts[0])  # warm
        self.left = sample.indices()
        self.times: list[float] = []
        self.gaps: list[float] = []

    def turn(self) -> None:
        prompt = self.left.pop(0)
        start = time.perf_counter()
        scores = self.scores_of(self.sample.prompts[prompt])
        self.times.append(time.perf_counter() - start)
        gaps = np.abs(scores.sum(1) - self.ours.effect[prompt])
        self.gaps.append(float(gaps.max() / self.ours.largest_effect[prompt]))

    def timing(self) -> Timing:
        mean = statistics.mean
        return Timing(self.name, mean(self.times), mean(self.gaps), max(self.gaps))


def race(console: Console, title: str, runners: Sequence[Ours | Both | Peer], rounds: int) -> None:
    for _ in range(rounds):
        for runner in runners:
            runner.turn()
    show(console, title, [runner.timing() for runner in runners])


def useful_flops(lm: LanguageModel, prompts: Sequence[Prompt], result: Attribution) -> float:
    """Matrix-multiply work per prompt of the rows that the evaluations need, forward and back."""
    block, head = block_weights(lm), head_weights(lm)
    total = 0.0
    for i, prompt in enumerate(prompts):
        (target,) = encode(prompt, lm.tokenizer, lm.objective, lm.context)
        length, positions = len(target.token_ids), carried(lm, target)
        rows = result.evaluations[i] - 1  # the evaluation at alpha = 1 is the clean pass's
        blocks_after = lm.layers - 1 - np.arange(lm.layers)
        patched = (rows * (blocks_after * block * positions + head)).sum()
        clean = lm.layers * block * length + head
        total += 2 * 2 * (patched + clean)
    return total / len(prompts)


def block_weights(lm: LanguageModel) -> int:
    return sum(p.numel() for p in lm.blocks[0].module.parameters() if p.dim() == 2)


def head_weights(lm: LanguageModel) -> int:
    return int(lm.model.get_output_embeddings().weight.numel())


def matmul_rate(lm: LanguageModel) -> float:
    """FLOP/s of the value projection's own product at a wave's number of rows."""
    rows, weight = 1024, lm.value_vectors(0).T.contiguous()
    x = torch.randn(rows, weight.shape[1], dtype=weight.dtype)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        times.append(time.perf_counter() - start)
    return 2 * rows * weight.numel() / statistics.median(times[5:])


def eleutherai(lm: LanguageModel) -> Callable[[Prompt], np.ndarray]:
    from knowledge_neurons.knowledge_neurons import KnowledgeNeurons

    tokenizer = copy.deepcopy(lm.tokenizer)
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]  # it wants all
    peer_model = KnowledgeNeurons(lm.model, tokenizer, model_type="bert", device="cpu")

    def scores_of(prompt: Prompt) -> np.ndarray:
        text = prompt.text.replace("[MASK]", lm.tokenizer.mask_token)
        with torch.enable_grad():
            scores = peer_model.get_scores(text, prompt.answer, STEPS, STEPS, pbar=False)
        return scores.detach().numpy()

    return scores_of


def captum_per_layer(lm: LanguageModel, method: str) -> Callable[[Prompt], np.ndarray]:
    def scores_of(prompt: Prompt) -> np.ndarray:
        (target,) = encode(prompt, lm.tokenizer, lm.objective, lm.context)
        ids = torch.tensor([target.token_ids])
        rows = []
        for block in lm.blocks:
            replaced: list[Any] = [None]
            seen: list[torch.Tensor] = []

            def hook(module: Any, args: Any, replaced: Any = replaced, seen: Any = seen) -> Any:
                if replaced[0] is None:
                    seen.append(args[0][0, target.site].detach())
                    return None
                x = args[0].clone()
                x[:, target.site] = replaced[0]
                return (x,)

            def forward(w: torch.Tensor, replaced: Any = replaced) -> torch.Tensor:
                replaced[0] = w
                logits = lm.model(input_ids=ids.expand(len(w), -1)).logits
                return logits[:, target.position].softmax(-1)[:, target.token]

            handle = block.value_projection.register_forward_pre_hook(hook)
            with torch.no_grad():
                lm.model(input_ids=ids)
            rows.append(
                IntegratedGradients(forward).attribute(seen[0][None], n_steps=STEPS, method=method)[
                    0
                ]
            )
            handle.remove()
        return torch.stack(rows).detach().numpy()

    return scores_of


def show(console: Console, title: str, rows: Sequence[Timing]) -> None:
    table = Table(title=title)
    for column in ("", "s/prompt", "times faster", "mean gap", "worst gap", ""):
        table.add_column(column, justify="left" if not column else "right")
    for row in rows:
        faster = "" if row is rows[0] else f"{row.seconds / rows[0].seconds:.1f}"
        table.add_row(
            row.name,
            f"{row.seconds:.3f}",
            faster,
            f"{row.mean_gap:.2%}",
            f"{row.worst_gap:.2%}",
            row.note,
        )
    console.print(table)


if __name__ == "__main__":
    main()
