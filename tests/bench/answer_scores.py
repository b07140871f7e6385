"""Which score of an answer of several tokens predicts what suppression does to the whole answer.

    python tests/bench/answer_scores.py --gguf SmolLM2.gguf [--facts 60] [--pararel DIR]

Prompts: answers of 2 to 4 tokens that the model gives at least `LEAST_P`, one prompt a fact.
Measured: how much log P of the whole answer falls when a set of neurons is suppressed. Spearman:
over `SETS` sets of five, drawn from the highest scores of every method and from all neurons,
between the sum of scores and the fall. Intervals: 95 %, bootstrap over facts.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from atlas.datasets import read_dataset
from atlas.engine.answer_tokens import Attribution
from atlas.engine.attribution import attribute_targets
from atlas.engine.probe import probe
from atlas.engine.settings import Integration
from atlas.engine.suppression import Suppressed, ask_suppressed
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.prompts import Target, UnusablePrompt, fill

LEAST_P, PER_RELATION, SETS, OF_EACH = 0.005, 9, 50, 50
ASKED_FACTS = 60  # of a relation
# of which the model knows answers of several tokens
RELATIONS = ("P36", "P127", "P138", "P176", "P178", "P279", "P449", "P1001")
Float = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facts", type=int, default=60)
    parser.add_argument("--gguf", type=Path, required=True, help="SmolLM2-135M-Instruct as GGUF")
    parser.add_argument("--pararel", type=Path, help="ParaRel's directory; default: embedded")
    options = parser.parse_args()
    lm = load_model(str(options.gguf))
    generator = np.random.default_rng(0)
    chosen = _known(lm, options.pararel, options.facts)
    rows = [_of_fact(lm, targets, generator) for targets in track(chosen, "facts")]
    console = Console(width=120)
    sizes = np.bincount([len(targets) for targets in chosen])
    console.print(f"{len(chosen)} facts; answers by number of tokens: {sizes.tolist()}")
    table = Table()
    for column in ("score", "Spearman", "minus mean's", "top 5", "minus mean's", "top 20",
                   "minus mean's", "last token's share"):  # fmt: skip
        table.add_column(column)
    for name in (*SCORES, "random"):
        cells = [name]
        for figure in ("spearman", "top 5", "top 20"):
            values = np.array([row.get((name, figure), np.nan) for row in rows])
            means = np.array([row[("mean", figure)] for row in rows])
            cells += [_interval(values, generator), _interval(values - means, generator)]
        cells.append(
            _interval(np.array([row.get((name, "last"), np.nan) for row in rows]), generator)
        )
        table.add_row(*cells)
    console.print(table)


def _known(lm: LanguageModel, pararel: Path | None, count: int) -> list[list[Target]]:
    """One prompt of each of so many facts, spread over relations."""
    found: list[list[Target]] = []
    relations = [r for r in read_dataset(pararel).relations if r.relation_id in RELATIONS]
    for relation in relations:
        asked: list[list[Target]] = []
        for number, fact in enumerate(relation.facts):
            for template in relation.templates[number % 3 :]:
                try:
                    targets = lm.targets(fill(template, fact), fact.object)
                except UnusablePrompt:
                    continue
                if 2 <= len(targets) <= 4:
                    asked.append(targets)
                break
            if len(asked) == ASKED_FACTS:
                break
        if asked:
            p = probe(lm, asked).p_answer
            best = [asked[i] for i in np.argsort(-p, kind="stable") if p[i] >= LEAST_P]
            found += best[:PER_RELATION]
    return found[:: max(1, len(found) // count)][:count]


def _mean(s: Float, end: Float, start: Float) -> Float:
    return s / len(s)


def _joint_p(s: Float, end: Float, start: Float) -> Float:
    """Integrals of P by token, rescaled by logarithmic means so that they sum to that of ∏ P."""
    joint = _log_mean(end.sum(0), start.sum(0))
    return s * np.exp(joint - _log_mean(end, start))[:, :, None]


def _log_p(s: Float, end: Float, start: Float) -> Float:
    return s * np.exp(-_log_mean(end, start))[:, :, None]


# Each token's part of the score, [token, layer, neuron], of the integrals s of P by token and
# log P with the whole layer and without it, [token, layer].
SCORES: dict[str, Callable[[Float, Float, Float], Float]] = {
    "mean": _mean,
    "joint P": _joint_p,
    "log P": _log_p,
}


def _log_mean(a: Float, b: Float) -> Float:
    """log((e^a − e^b) / (a − b)), and a where they are equal."""
    apart = np.abs(a - b)
    safe = np.where(apart > 0, apart, 1)
    return np.maximum(a, b) + np.where(apart > 0, np.log(-np.expm1(-safe) / safe), 0)


def _of_fact(
    lm: LanguageModel, targets: list[Target], generator: np.random.Generator
) -> dict[tuple[str, str], float]:
    each: Attribution = attribute_targets(
        lm,
        [[replace(t, index=0)] for t in targets],
        method="integrated-gradients",
        how=Integration(tolerance=0.03),
    )
    s = each.scores.astype(float)
    end = np.log(each.p_answer.astype(float))[:, None] + 0 * each.effect
    start = np.log(np.maximum(np.exp(end) - each.effect, 1e-30))
    parts = {name: score(s, end, start) for name, score in SCORES.items()}
    flat = {name: part.sum(0).ravel() for name, part in parts.items()}
    order = {name: np.argsort(-score, kind="stable") for name, score in flat.items()}
    some = generator.choice(s[0].size, 3 * OF_EACH, replace=False)
    pool = np.unique(np.concatenate([*(o[:OF_EACH] for o in order.values()), some]))
    sets = [generator.choice(pool, 5, replace=False) for _ in range(SETS)]
    tops = {(name, k): o[:k] for name, o in order.items() for k in (5, 20)}
    tops |= {("random", k): generator.choice(s[0].size, k, replace=False) for k in (5, 20)}
    width = s.shape[2]
    asked = [np.array([], int), *sets, *tops.values()]
    neurons = [tuple((int(i) // width, int(i) % width) for i in chosen) for chosen in asked]
    log_p = ask_suppressed(lm, [Suppressed(targets, n) for n in neurons]).log_p
    fall = log_p[0] - log_p[1:]
    found = {(name, f"top {k}"): float(f) for (name, k), f in zip(tops, fall[SETS:], strict=True)}
    for name, score in flat.items():
        sums = np.array([score[chosen].sum() for chosen in sets])
        found[name, "spearman"] = _spearman(sums, fall[:SETS])
        top = order[name][:20]
        of_tokens = parts[name].reshape(len(s), -1)[:, top].sum(1)
        found[name, "last"] = float(of_tokens[-1] / of_tokens.sum())
    return found


def _spearman(a: Float, b: Float) -> float:
    ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def _interval(values: Float, generator: np.random.Generator) -> str:
    values = values[np.isfinite(values)]
    if not len(values):
        return ""
    draws = generator.choice(values, (2000, len(values))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
