"""How far each rule's scores are from 200 Gauss-Legendre points, on a real model: prints one table.

    python tests/bench/attribution_accuracy.py --gguf SmolLM2.gguf [--prompts 50] [--pararel DIR]

Score error: the largest |score - reference| of a prompt, relative to its largest reference score.
Jaccard: of the neurons whose score is at least 0.2 of the prompt's largest.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from attribution_speed import choose_prompts
from rich.console import Console
from rich.table import Table

from atlas.engine.answer_tokens import Attribution
from atlas.engine.attribution import attribute
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.prompts import Prompt

REFERENCE_POINTS = 200
RULES: tuple[tuple[str, int | None], ...] = (
    ("adaptive", None),
    ("riemann-left", 20),
    ("riemann-right", 20),
    ("riemann-linspace", 20),
    ("gauss-legendre", 4),
    ("gauss-legendre", 8),
    ("gauss-legendre", 16),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--gguf", type=Path, required=True, help="SmolLM2-135M-Instruct as GGUF")
    parser.add_argument("--pararel", type=Path, help="ParaRel's directory; default: embedded")
    options = parser.parse_args()
    lm = load_model(str(options.gguf))
    prompts = choose_prompts(lm, options.pararel, options.prompts, shortest=4, longest=40)
    console = Console(width=140)
    console.print(f"{len(prompts)} prompts, {REFERENCE_POINTS} Gauss-Legendre points as reference")
    started = time.perf_counter()
    reference = attribute(lm, prompts, rule="gauss-legendre", points=REFERENCE_POINTS)
    console.print(f"reference: {time.perf_counter() - started:.0f} s")
    table = Table()
    for column in (
        "rule", "evaluations", "mean gap", "worst gap", "mean error", "worst error",
        "mean Jaccard", "worst Jaccard",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column == "rule" else "right")
    for rule, points in RULES:
        result = run(lm, prompts, rule, points)
        table.add_row(f"{rule} {points or ''}".strip(), *figures(result, reference))
        if rule == "adaptive":
            console.print(f"adaptive, mean evaluations by layer: {result.evaluations.mean(0)}")
            console.print(f"adaptive, over tolerance: {int(result.over_tolerance.sum())} prompts")
    console.print(table)


def run(lm: LanguageModel, prompts: Sequence[Prompt], rule: str, points: int | None) -> Attribution:
    return (
        attribute(lm, prompts, rule=rule)
        if points is None
        else attribute(lm, prompts, rule=rule, points=points)
    )


def figures(result: Attribution, reference: Attribution) -> list[str]:
    largest = reference.scores.max((1, 2))
    gap = np.abs(result.completeness_gap).max(1) / result.largest_effect
    error = np.abs(result.scores - reference.scores).max((1, 2)) / largest
    ours = result.scores >= 0.2 * result.scores.max((1, 2))[:, None, None]
    theirs = reference.scores >= 0.2 * largest[:, None, None]
    jaccard = (ours & theirs).sum((1, 2)) / (ours | theirs).sum((1, 2))
    return [
        f"{result.evaluations.mean():.1f}",
        f"{gap.mean():.2%}",
        f"{gap.max():.2%}",
        f"{error.mean():.2%}",
        f"{error.max():.2%}",
        f"{jaccard.mean():.3f}",
        f"{jaccard.min():.3f}",
    ]


if __name__ == "__main__":
    main()
