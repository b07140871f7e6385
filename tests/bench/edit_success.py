"""How well edits work, and what else they break: prints one table per model.

    python tests/bench/edit_success.py --db ATLAS [--model MODEL] [--facts 3] [--check 300]

For the first facts of every relation (in the order of a hash) that have a knowledge neuron of their
own, the object is replaced by another one of the same relation, by each method and on each choice
of neurons; nothing is stored. Side effects are taken on a sample of other facts' prompts, without
those that method solve was told to leave alone. Columns: success = new object on top, on the
prompts the edit was made from and on those held out; changed = old object no longer on top;
perplexity = exp(mean -log P) after / before on the same and on other relations; flips = share of
the sampled prompts whose top answer changed, mean and median over edits.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from atlas.atlas import Atlas, open_atlas
from atlas.edits.applying import applied
from atlas.edits.edit import Edit
from atlas.edits.making import neurons as edit_neurons
from atlas.edits.making import sources
from atlas.edits.making.basis import (
    EditBasis,
    read_basis,
    value_vectors,
)
from atlas.edits.making.methods import update_deltas
from atlas.edits.making.outcomes import measured_outcomes
from atlas.edits.making.questions import ask_for
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.sources import MeasuredPrompt
from atlas.engine.probe import Probed, probe
from atlas.errors import AtlasError, EditError
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.selection.chosen import choose_selection

ERASED = ("P27", "P36", "P106", "P19")


@dataclass(frozen=True)
class Case:
    """A fact to edit, with both choices of neurons."""

    own: EditBasis  # its knowledge neurons, without common ones
    wide: EditBasis  # its neurons of highest mean score
    new_object: str


@dataclass(eq=False)
class Figures:
    """What a method came to, one entry per edit."""

    success: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)
    same: list[tuple[float, float, int]] = field(default_factory=list)
    other: list[tuple[float, float, int]] = field(default_factory=list)
    flips: list[float] = field(default_factory=list)
    spoilt: list[float] = field(default_factory=list)  # right before, wrong after
    norm: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Sample:
    """Prompts on which side effects are taken, and what the unedited model answers."""

    prompts: Sequence[MeasuredPrompt]
    relations: Sequence[str]
    before: Probed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--facts", type=int, default=3, help="per relation")
    parser.add_argument("--check", type=int, default=300, help="prompts")
    parser.add_argument("--wide", type=int, default=20, help="neurons of the second choice")
    parser.add_argument("--common", type=float, default=0.1)
    parser.add_argument("--keep", type=int, default=40)
    parser.add_argument(
        "--random", type=int, default=3, help="every so many-th fact, random neurons"
    )
    parser.add_argument("--skip", action="append", default=[], metavar="WORD", help="of a variant")
    options = parser.parse_args()
    lm, atlas = load_model(options.model), open_atlas(options.db)
    console = Console(width=160)
    cases = _cases(lm, atlas, options)
    relations = {case.own.fact.relation_id for case in cases}
    console.print(f"{lm.name}: {len(cases)} facts of {len(relations)} relations", highlight=False)
    sample = _sample(lm, atlas, options.check)
    solve = EditSettings(keep=options.keep)
    paper = replace(solve, method="paper")
    wide = f"{options.wide} neurons"
    pulled = replace(paper, pull_back=True)
    variants: dict[str, Callable[[Case], tuple[EditSettings, EditBasis]]] = {
        "paper, knowledge neurons": lambda c: (paper, c.own),
        "paper pulled back, knowledge neurons": lambda c: (pulled, c.own),
        "solve, knowledge neurons": lambda c: (solve, c.own),
        f"paper, {wide}": lambda c: (paper, c.wide),
        f"solve, {wide}": lambda c: (solve, c.wide),
        "paper, as many random neurons": lambda c: (paper, _random(lm, c.own)),
        "solve, as many random neurons": lambda c: (solve, _random(lm, c.own)),
        f"solve, {options.wide} random neurons": lambda c: (solve, _random(lm, c.wide)),
    }
    variants = {n: v for n, v in variants.items() if not any(w in n for w in options.skip)}
    done = {name: Figures() for name in variants}
    console.print(_erasures(lm, atlas, options.check))
    for place, case in enumerate(cases):
        for name, variant in variants.items():
            if "random" in name and (not options.random or place % options.random):
                continue
            settings, basis = variant(case)
            _measure(lm, atlas, basis, case.new_object, settings, sample, done[name])
        if place % 10 == 9:
            console.print(_table(done))
    console.print(_table(done))


def _cases(lm: LanguageModel, atlas: Atlas, options: argparse.Namespace) -> list[Case]:
    with atlas.reading() as connection:
        selection = choose_selection(connection)
        rows = connection.execute(
            """
            SELECT f.relation_id, f.fact_id
            FROM facts AS f
            JOIN prompts AS p USING (fact_id)
            JOIN prompt_results AS r USING (prompt_id)
            WHERE r.run_id = ?
            GROUP BY f.relation_id, f.fact_id
            HAVING count(*) FILTER (WHERE r.answer_rank = 1 AND r.p_answer >= 0.1)
                   >= 0.3 * count(*) FILTER (WHERE r.skipped_because IS NULL)
            ORDER BY f.relation_id, md5(f.fact_id)
            """,
            [selection.run_id],
        ).fetchall()
    cases: list[Case] = []
    for relation_id, fact_id in rows:
        if sum(case.own.fact.relation_id == relation_id for case in cases) == options.facts:
            continue
        try:
            own = read_basis(lm, atlas, fact_id, EditSettings(common=options.common))
            wide = read_basis(lm, atlas, fact_id, EditSettings(neurons=options.wide))
        except EditError:  # no knowledge neuron
            continue
        if own.widened_because is not None:  # all of them common: the second choice is the first
            continue
        new = _another_object(lm, atlas, own)
        if new is not None:
            cases.append(Case(own, wide, new))
    # the first fact of every relation comes before the second of any
    return [case for n in range(options.facts) for case in _nth(cases, n)]


def _nth(cases: list[Case], number: int) -> list[Case]:
    """The number-th case of every relation that has so many."""
    relations = list(dict.fromkeys(case.own.fact.relation_id for case in cases))
    each = [[c for c in cases if c.own.fact.relation_id == relation] for relation in relations]
    return [found[number] for found in each if len(found) > number]


def _another_object(lm: LanguageModel, atlas: Atlas, basis: EditBasis) -> str | None:
    """Another object of the relation that the model can be asked for; depends on the fact alone."""
    with atlas.reading() as connection:
        objects = sources.objects_of(connection, basis.fact.relation_id)
    objects = [o for o in objects if o.casefold() != basis.fact.object.casefold()]
    random.Random(basis.fact.fact_id).shuffle(objects)
    for new in objects:
        try:
            ask_for(lm, [*basis.prompts, *basis.held_out], new)
        except AtlasError:
            continue
        return new
    return None


def _sample(lm: LanguageModel, atlas: Atlas, count: int) -> Sample:
    with atlas.reading() as connection:
        run_id = choose_selection(connection).run_id
        facts = connection.execute(
            "SELECT fact_id, relation_id FROM facts ORDER BY fact_id"
        ).fetchall()
        prompts = sources.measured_prompts(connection, run_id, [fact for fact, _ in facts])
    relation_of = dict(facts)
    prompts = random.Random(0).sample(prompts, min(count, len(prompts)))
    relations = [relation_of[prompt.fact_id] for prompt in prompts]
    return Sample(prompts, relations, probe(lm, ask_for(lm, prompts)))


def _random(lm: LanguageModel, basis: EditBasis) -> EditBasis:
    draw = random.Random(basis.fact.fact_id)
    places = draw.sample(range(lm.layers * lm.neurons_per_layer), len(basis.neurons))
    return replace(basis, neurons=tuple(divmod(p, lm.neurons_per_layer) for p in places))


def _measure(
    lm: LanguageModel,
    atlas: Atlas,
    basis: EditBasis,
    new_object: str,
    settings: EditSettings,
    sample: Sample,
    figures: Figures,
) -> None:
    started = time.monotonic()
    found = update_deltas(lm, atlas, basis, new_object, settings)
    figures.seconds.append(time.monotonic() - started)
    edit = _edit(lm, basis.neurons, found.deltas, new_object)
    figures.norm.append(edit.norm)
    outcomes = measured_outcomes(lm, edit, basis.prompts, basis.held_out)
    for shares, held_out in ((figures.success, False), (figures.held_out, True)):
        ranks = [outcome.new_rank_after for outcome in outcomes if outcome.held_out == held_out]
        if ranks:
            shares.append(float(np.mean([rank == 1 for rank in ranks])))
    figures.changed.append(float(np.mean([o.old_rank_after > 1 for o in outcomes])))
    with applied(lm, edit):
        after = probe(lm, ask_for(lm, sample.prompts))
    apart = {basis.fact.fact_id, *found.settings.get("kept_facts", ())}
    counted = np.array([prompt.fact_id not in apart for prompt in sample.prompts])
    same = np.array([relation == basis.fact.relation_id for relation in sample.relations])
    for into, rows in ((figures.same, counted & same), (figures.other, counted & ~same)):
        if rows.any():
            b, a = (-float(probed.log_p[rows].mean()) for probed in (sample.before, after))
            into.append((b, a, int(rows.sum())))
    pairs = zip(sample.before.predicted, after.predicted, strict=True)
    flipped = np.array([b != a for b, a in pairs])
    right, wrong = sample.before.answer_rank == 1, after.answer_rank > 1
    figures.flips.append(float(flipped[counted].mean()))
    figures.spoilt.append(float((right & wrong)[counted].mean()))


def _edit(
    lm: LanguageModel,
    neurons: Sequence[tuple[int, int]],
    deltas: torch.Tensor,
    new_object: str | None = None,
) -> Edit:
    return Edit(
        kind="erase" if new_object is None else "update",
        method="zero" if new_object is None else "solve",
        weights_sha256=lm.weights_sha256,
        model_identity=lm.identity,
        layers=np.array([layer for layer, _ in neurons]),
        neurons=np.array([neuron for _, neuron in neurons]),
        deltas=deltas.cpu().numpy(),
        new_object=new_object,
    )


def _cells(figures: Figures) -> list[str]:
    def perplexity(pairs: list[tuple[float, float, int]]) -> str:
        if not pairs:
            return "-"
        before, after, rows = (np.array(column) for column in zip(*pairs, strict=True))
        ratio = np.exp((rows * (after - before)).sum() / rows.sum())
        return f"{100 * (ratio - 1):+.1f} %"

    return [
        f"{100 * np.mean(figures.success):.1f} %",
        f"{100 * np.mean(figures.held_out):.1f} %",
        f"{100 * np.mean(figures.changed):.1f} %",
        perplexity(figures.same),
        perplexity(figures.other),
        f"{100 * np.mean(figures.flips):.2f} / {100 * np.median(figures.flips):.2f} %",
        f"{100 * np.mean(figures.spoilt):.2f} %",
        f"{np.mean(figures.norm):.1f}",
        f"{np.median(figures.seconds):.2f} s",
    ]


HEADS = (
    "success",
    "held out",
    "changed",
    "ppl same rel.",
    "ppl other rel.",
    "flips mean/median",
    "right to wrong",
    "norm",
    "time (median)",
)


def _table(done: dict[str, Figures]) -> Table:
    table = Table("edit", "edits", *HEADS)
    for name, figures in done.items():
        table.add_row(name, str(len(figures.norm)), *_cells(figures))
    return table


def _erasures(lm: LanguageModel, atlas: Atlas, count: int) -> Table:
    """Perplexity of a relation's and of other relations' prompts with its neurons zeroed."""
    table = Table("erased relation", "own perplexity", "others' perplexity", "own right", "others'")
    with atlas.reading() as connection:
        selection = choose_selection(connection)
        facts = connection.execute(
            "SELECT fact_id, relation_id FROM facts ORDER BY fact_id"
        ).fetchall()
        prompts = sources.measured_prompts(
            connection, selection.run_id, [fact for fact, _ in facts]
        )
        chosen = {
            relation: edit_neurons.most_frequent(connection, selection.selection_id, relation, 20)
            for relation in ERASED
        }
    relation_of = dict(facts)
    for relation, found in chosen.items():
        own = [p for p in prompts if relation_of[p.fact_id] == relation]
        others = [p for p in prompts if relation_of[p.fact_id] != relation]
        if not own or not found:
            continue
        neurons = [(neuron.layer, neuron.neuron) for neuron in found]
        edit = _edit(lm, neurons, -value_vectors(lm, neurons))
        cells, rights = [], []
        for some in (own, others):
            questions = ask_for(lm, random.Random(0).sample(some, min(count, len(some))))
            before = probe(lm, questions)
            with applied(lm, edit):
                after = probe(lm, questions)
            ppl = [float(np.exp(-probed.log_p.mean())) for probed in (before, after)]
            right = [float((probed.answer_rank == 1).mean()) for probed in (before, after)]
            cells.append(f"{ppl[0]:.2f} → {ppl[1]:.2f} ({100 * (ppl[1] / ppl[0] - 1):+.0f} %)")
            rights.append(f"{100 * right[0]:.0f} → {100 * right[1]:.0f} %")
        table.add_row(relation, *cells, *rights)
    return table


if __name__ == "__main__":
    main()
