"""What scoring all neurons costs by each method: prints passes and seconds a prompt.

    python tests/bench/method_cost.py [--model MODEL] [--data FILE] [--prompts 24] [--at answer]

Prompts are the first of the facts' (embedded ones unless others are named), in the batches that the
index would take them in, on one thread; the least of three rounds. A pass is one run of one prompt
through the model, forward or with gradients. `ablation` suppresses as many neurons alone as the
methods table has candidates (the union of 20 by each method).
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from atlas.datasets import read_dataset
from atlas.engine.attribution import attribute_targets
from atlas.engine.settings import AT_THE_ANSWER, METHODS, Integration
from atlas.evidence.experiments.methods import BUDGETS, best, by_single_effects
from atlas.models.load import load_model
from atlas.prompts import Target, UnusablePrompt, fill, subject_end
from atlas.specificity.partners import AskedPrompt

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--data")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--at", choices=("answer", "subject"), default="answer")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lm = load_model(options.model, device="cpu")
    prompts: list[AskedPrompt] = []
    encoded: list[list[Target]] = []
    for relation in read_dataset(options.data and Path(options.data)).relations:
        fact, template = relation.facts[0], relation.templates[0]
        end = subject_end(template, fact) if options.at == "subject" else None
        prompt = AskedPrompt(fact.fact_id, fill(template, fact), fact.object, end, 0)
        try:
            encoded.append(lm.targets(prompt.text, prompt.object, end))
        except UnusablePrompt:
            continue
        prompts.append(prompt)
    prompts, encoded = prompts[: options.prompts], encoded[: options.prompts]
    table = Table("method", "passes", "seconds a prompt")
    candidates = set()
    for method in METHODS:
        if options.at == "subject" and method in AT_THE_ANSWER:
            continue
        found = attribute_targets(lm, encoded, method=method, how=Integration())
        passes = max(1.0, float(found.evaluations.max(axis=1).mean()))
        candidates |= set(best(found.scores.mean(axis=0), max(BUDGETS)))
        seconds = least(
            lambda method=method: attribute_targets(lm, encoded, method=method, how=Integration())
        )
        table.add_row(method, f"{passes:.1f}", f"{seconds / len(prompts):.4f}")
    some = tuple(sorted(candidates))
    seconds = least(lambda: by_single_effects(lm, prompts, some))
    table.add_row("ablation", f"{len(some)}", f"{seconds / len(prompts):.4f}")
    Console().print(f"{lm!r}, {len(prompts)} prompts at the {options.at}")
    Console().print(table)


def least(work: Callable[[], object]) -> float:
    """Seconds of the fastest of the rounds."""
    found = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


if __name__ == "__main__":
    main()
