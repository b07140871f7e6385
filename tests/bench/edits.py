"""What edits do to facts that they never looked at, and to plain prose: prints a table per model.

    python tests/bench/edits.py --db ATLAS [--model MODEL] [--facts 100] [--check 400] [--every 10]

The atlas is copied, and half of its facts (by a hash) are taken out of the copy's run. Edits are
made from the copy, of facts of the half that is left that the model knows, relation by relation:
the object becomes another one of the same relation. What they break is taken on a sample of right
prompts of the half that was taken out, whose activations nothing has seen. Columns: new object on
top of the prompts that the edit was made from and of those held out; of held-out prompts that had
the old object on top, those that have the new one; held-out prompts with P(new) > P(old); the
same two of texts that are no template (free_texts.csv); right to wrong among facts kept out, mean
with a 95 % bootstrap interval over edits, and the worst edit; KL (before ‖ after) of the next
token's distribution, or of a masked token's, over the sentences of prose.txt in millinats; CPU
seconds. Methods other than spare are tried on every so many-th fact.
With --unseen the facts and their new objects are those that the hypernetwork, which is trained from
the copy first, has not seen.
"""

import argparse
import csv
import random
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from atlas.atlas import Atlas, open_atlas
from atlas.edits.applying import applied
from atlas.edits.edit import Edit
from atlas.edits.making import sources
from atlas.edits.making.basis import EditBasis, read_basis
from atlas.edits.making.methods import CHOOSE_THEMSELVES, prepare, update_deltas
from atlas.edits.making.outcomes import measured_outcomes
from atlas.edits.making.questions import ask_for
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.sources import MeasuredPrompt
from atlas.edits.network.parts import part_of
from atlas.engine.probe import Probed, probe
from atlas.engine.settings import POSITIONS
from atlas.errors import AtlasError, EditError
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.selection.chosen import choose_selection

FREE_TEXTS = Path(__file__).with_name("free_texts.csv")
PROSE = Path(__file__).with_name("prose.txt")
EVERYTHING = 1 << 20  # neurons: all of a layer
HALF = "substr(md5(fact_id), 1, 1) >= '8'"


@dataclass(frozen=True)
class Case:
    """A fact to edit."""

    fact_id: str
    new_object: str


@dataclass(eq=False)
class Figures:
    """What a method came to, one entry per edit."""

    success: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    held_out_of_old: list[float] = field(default_factory=list)
    preferred: list[float] = field(default_factory=list)
    free_of_old: list[float] = field(default_factory=list)
    free_preferred: list[float] = field(default_factory=list)
    broken: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Prose:
    """Sentences, and what the unedited model expects in them."""

    def __init__(self, lm: LanguageModel, sentences: Sequence[str]) -> None:
        self.lm, draw = lm, random.Random(0)
        by_length: dict[int, list[tuple[list[int], int]]] = defaultdict(list)
        for sentence in sentences:
            ids = list(lm.tokenizer(sentence)["input_ids"])
            place = draw.randrange(1, len(ids) - 1)
            if lm.objective == "masked":
                ids[place] = lm.tokenizer.mask_token_id
            by_length[len(ids)].append((ids, place))
        self.batches = list(by_length.values())
        self.before = self._log_p()

    def _log_p(self) -> list[torch.Tensor]:
        found = []
        with self.lm.frozen(), torch.no_grad():
            for batch in self.batches:
                ids = torch.tensor([ids for ids, _ in batch], device=self.lm.model.device)
                logits = self.lm.model(input_ids=ids).logits.float()
                if self.lm.objective == "masked":
                    rows = torch.arange(len(batch))
                    logits = logits[rows, [place for _, place in batch]]
                else:  # after the first word, at every third token
                    logits = logits[:, 1::3].flatten(0, 1)
                found.append(logits.log_softmax(-1).half())
        return found

    def kl(self) -> float:
        """Mean KL(before ‖ after) in nats, of the model as it is now."""
        parts = [
            (b.float().exp() * (b.float() - a.float())).sum(-1)
            for b, a in zip(self.before, self._log_p(), strict=True)
        ]
        return float(torch.cat(parts).mean()) if parts else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--selection", help="whose run is edited; default: the atlas's")
    parser.add_argument("--facts", type=int, default=100)
    parser.add_argument("--check", type=int, default=400, help="prompts of the half kept out")
    parser.add_argument("--every", type=int, default=10, help="fact, by methods other than spare")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="of a method")
    parser.add_argument("--layer", type=int, action="append", default=[], help="also in this layer")
    parser.add_argument("--unseen", action="store_true", help="facts and objects, alone")
    parser.add_argument("--prose", type=int, default=1 << 20, help="sentences of prose.txt")
    parser.add_argument("--skip", type=int, default=0, help="facts, for what another call did")
    parser.add_argument("--held-out", type=float, default=0.25, help="share of a fact's prompts")
    options = parser.parse_args()
    lm, console = load_model(options.model), Console(width=200)
    whole = open_atlas(options.db)
    with tempfile.TemporaryDirectory() as directory:
        half = open_atlas(shutil.copy(options.db, Path(directory) / "half.duckdb"))
        with half.reading() as connection:
            chosen = choose_selection(connection, options.selection)
        kept_out = take_out(half, chosen.run_id)
        cases = known_facts(half, lm, chosen.run_id, options.facts, options.unseen)[options.skip :]
        sample = kept_out_prompts(whole, chosen.run_id, kept_out, options.check)
        before = probe(lm, ask_for(lm, sample))
        prose = Prose(lm, PROSE.read_text().splitlines()[: options.prose])
        how = EditSettings(
            method="spare", selection_id=chosen.selection_id, held_out=options.held_out
        )
        methods = {"spare": how, "spare, all neurons (ROME-like)": replace(how, neurons=EVERYTHING)}
        methods |= {f"spare, at the {p}": replace(how, position=p) for p in POSITIONS}
        methods |= {f"spare, layer {layer}": replace(how, layer=layer) for layer in options.layer}
        methods |= {f"spare, {n} neurons": replace(how, neurons=n) for n in (20, 50, 100, 200, 400)}
        methods |= {
            "solve": replace(how, method="solve"),
            "solve, 20 neurons": replace(how, method="solve", neurons=20),
            "paper, 20 neurons": replace(how, method="paper", neurons=20),
            "hypernetwork": replace(how, method="hypernetwork"),
        }
        if options.only:
            methods = {n: m for n, m in methods.items() if n in options.only}
        done = {name: Figures() for name in methods}
        first = read_basis(lm, half, cases[0].fact_id, how, neurons_too=False)
        prepare(lm, half, first, how, lambda event: None)
        if "hypernetwork" in methods:
            trained = half.edit_train(lm=lm, selection=chosen.selection_id)
            console.print(f"trained in {trained.cpu_seconds:.0f} CPU s", *trained.parts)
        for place, case in enumerate(cases):
            for name, settings in methods.items():
                if name == "spare" or place % options.every == 0:
                    measure(lm, half, case, settings, sample, before, prose, done[name])
            if place % 10 == 9 or place == len(cases) - 1:
                console.print(f"{lm.name}, {place + 1} of {len(cases)} facts", highlight=False)
                console.print(table(done))


def take_out(atlas: Atlas, run_id: str) -> set[str]:
    """Take half of the facts out of the run; returns their ids."""
    with atlas.writing() as connection:
        rows = connection.execute(f"SELECT fact_id FROM facts WHERE {HALF}").fetchall()
        for name in ("prompt_results", "attributions", "prompt_activations"):
            connection.execute(
                f"""
                DELETE FROM {name}
                WHERE run_id = ?
                  AND prompt_id IN (SELECT prompt_id FROM prompts WHERE {HALF})
                """,
                [run_id],
            )
        connection.execute("DELETE FROM activation_layers")
    return {fact_id for (fact_id,) in rows}


def known_facts(
    atlas: Atlas, lm: LanguageModel, run_id: str, count: int, unseen: bool = False
) -> list[Case]:
    """Known facts of the run, the first of every relation before the second of any.

    unseen: of facts and new objects, those that no hypernetwork learns from or is chosen by.
    """
    with atlas.reading() as connection:
        rows = connection.execute(
            """
            SELECT f.fact_id, f.object, f.relation_id
            FROM all_fact_knowledge AS k
            JOIN facts AS f USING (fact_id)
            WHERE k.run_id = ?
              AND k.known
              AND k.prompts >= 3
            ORDER BY row_number() OVER (PARTITION BY f.relation_id ORDER BY md5(f.fact_id)),
                     f.relation_id
            """,
            [run_id],
        ).fetchall()
        rows = [row for row in rows if not unseen or part_of(row[0]) == "unseen"]
        objects: dict[str, list[str]] = defaultdict(list)
        for relation_id, name in connection.execute(
            "SELECT DISTINCT relation_id, object FROM facts ORDER BY ALL"
        ).fetchall():
            objects[relation_id].append(name)
        prompts = {
            fact_id: sources.measured_prompts(connection, run_id, [fact_id])
            for fact_id, *_ in rows[: 3 * count]
        }
    cases = []
    for fact_id, old, relation_id in rows[: 3 * count]:
        others = [name for name in objects[relation_id] if name.casefold() != old.casefold()]
        others = [name for name in others if not unseen or part_of(name) == "unseen"]
        random.Random(fact_id).shuffle(others)
        for new in others:
            try:
                ask_for(lm, prompts[fact_id], new)
            except AtlasError:
                continue
            cases.append(Case(fact_id, new))
            break
    return cases[:count]


def kept_out_prompts(
    atlas: Atlas, run_id: str, facts: set[str], count: int
) -> list[MeasuredPrompt]:
    """A sample of the prompts of these facts that the model answers right."""
    with atlas.reading() as connection:
        rows = connection.execute(
            "SELECT prompt_id FROM prompt_results WHERE run_id = ? AND answer_rank = 1", [run_id]
        ).fetchall()
        prompts = sources.measured_prompts(connection, run_id, sorted(facts))
    right = {prompt_id for (prompt_id,) in rows}
    prompts = [prompt for prompt in prompts if prompt.prompt_id in right]
    return random.Random(0).sample(prompts, min(count, len(prompts)))


def measure(
    lm: LanguageModel,
    atlas: Atlas,
    case: Case,
    settings: EditSettings,
    sample: Sequence[MeasuredPrompt],
    before: Probed,
    prose: Prose,
    figures: Figures,
) -> None:
    try:
        chooses = settings.method in CHOOSE_THEMSELVES
        basis = read_basis(lm, atlas, case.fact_id, settings, neurons_too=not chooses)
    except EditError:  # no knowledge neuron
        return
    prepare(lm, atlas, basis, settings, lambda event: None)
    started = time.process_time()
    found = update_deltas(lm, atlas, basis, case.new_object, settings)
    figures.seconds.append(time.process_time() - started)
    edit = edit_of(lm, basis, found.neurons or basis.neurons, found.deltas, case.new_object)
    outcomes = measured_outcomes(lm, edit, basis.prompts, basis.held_out)
    own = [o.new_rank_after == 1 for o in outcomes if not o.held_out]
    held = [o for o in outcomes if o.held_out]
    figures.success.append(float(np.mean(own)))
    if held:
        figures.held_out.append(float(np.mean([o.new_rank_after == 1 for o in held])))
        figures.preferred.append(
            float(np.mean([(o.p_new_after or 0) > o.p_old_after for o in held]))
        )
    of_old = [o for o in held if o.old_rank_before == 1]
    if of_old:
        figures.held_out_of_old.append(float(np.mean([o.new_rank_after == 1 for o in of_old])))
    for free in measured_outcomes(lm, edit, free_texts(lm, atlas, basis)):
        figures.free_preferred.append((free.p_new_after or 0) > free.p_old_after)
        if free.old_rank_before == 1:
            figures.free_of_old.append(free.new_rank_after == 1)
    with applied(lm, edit):
        after = probe(lm, ask_for(lm, sample))
        figures.kl.append(prose.kl())
    right = before.answer_rank == 1
    figures.broken.append(float((after.answer_rank[right] > 1).mean()))


def free_texts(lm: LanguageModel, atlas: Atlas, basis: EditBasis) -> list[MeasuredPrompt]:
    """What free_texts.csv says of the fact that no template of the atlas does.

    Of a causal model, what ends in the object.
    """
    fact = basis.fact
    with atlas.reading() as connection:
        rows = connection.execute("SELECT text FROM templates").fetchall()
    templates = {text.rstrip(" .") for (text,) in rows}
    found = []
    with FREE_TEXTS.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["relation"] != fact.relation_id or row["text"].rstrip(" .") in templates:
                continue
            before, _, after = row["text"].partition("[X]")
            text, end = before + fact.subject + after, len(before + fact.subject)
            if lm.objective == "masked" or text.rstrip(" .").endswith("[Y]"):
                found.append(MeasuredPrompt(-1, fact.fact_id, fact.object, text, end))
    return found


def edit_of(
    lm: LanguageModel,
    basis: EditBasis,
    neurons: Sequence[tuple[int, int]],
    deltas: torch.Tensor,
    new_object: str,
) -> Edit:
    return Edit(
        kind="update",
        method="spare",
        weights_sha256=lm.weights_sha256,
        model_identity=lm.identity,
        layers=np.array([layer for layer, _ in neurons]),
        neurons=np.array([neuron for _, neuron in neurons]),
        deltas=deltas.float().cpu().numpy(),
        old_object=basis.fact.object,
        new_object=new_object,
    )


def table(done: Mapping[str, Figures]) -> Table:
    made = Table(
        "method",
        "edits",
        "success",
        "held out",
        "held out, old on top",
        "P(new)>P(old)",
        "free text, old on top",
        "free, P(new)>P(old)",
        "right to wrong (95 %)",
        "worst",
        "KL prose, mnat",
        "CPU s",
    )
    for name, figures in done.items():
        if figures.broken:
            made.add_row(name, str(len(figures.broken)), *cells(figures))
    return made


def cells(figures: Figures) -> list[str]:
    low, high = interval(figures.broken)
    return [
        percent(figures.success),
        percent(figures.held_out),
        percent(figures.held_out_of_old),
        percent(figures.preferred),
        percent(figures.free_of_old),
        percent(figures.free_preferred),
        f"{percent(figures.broken, 2)} ({100 * low:.2f}-{100 * high:.2f})",
        f"{100 * max(figures.broken):.2f} %",
        f"{1000 * np.mean(figures.kl):.2f}",
        f"{np.median(figures.seconds):.2f}",
    ]


def percent(values: Sequence[float], digits: int = 1) -> str:
    return f"{100 * np.mean(values):.{digits}f} %" if values else "-"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % of the means of resampled edits."""
    draw = np.random.default_rng(0)
    means = draw.choice(values, (2000, len(values))).mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


if __name__ == "__main__":
    main()
