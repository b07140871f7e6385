"""How many facts can be edited at once, and one after the other: prints a row per number of facts.

    python tests/bench/edit_batches.py --db ATLAS [--model MODEL] [--facts 1,3,10,30,100]
        [--way at-once] [--check 400] [--at answer|subject] [--layer N]

As `edits.py` does, the atlas is copied and half of its facts are taken out of the copy's run; edits
are made from the copy, of known facts of the half that is left, the first of every relation before
the second of any. `at-once`: solved together, one edit. `one-by-one`: each made from the atlas and
the unedited model, all applied together. `in-sequence`: each made on the model with all earlier
ones applied. Columns: share of prompts with the new object on top, of those that the edits were
made from and of those held out, all edits applied (mean over facts); facts of which all prompts
that were made from have it; right answers kept among prompts of facts that were taken out; CPU
seconds for all.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from edits import Case, edit_of, kept_out_prompts, known_facts, take_out

from atlas.atlas import Atlas, open_atlas
from atlas.edits.applying import applied
from atlas.edits.edit import Edit
from atlas.edits.making.basis import EditBasis, read_basis
from atlas.edits.making.found import Change
from atlas.edits.making.methods import TOGETHER, prepare, update_deltas
from atlas.edits.making.questions import Questions, ask_for
from atlas.edits.making.settings import EditSettings
from atlas.engine.probe import probe
from atlas.engine.settings import POSITIONS
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.selection.chosen import choose_selection

WAYS = ("at-once", "one-by-one", "in-sequence")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--selection", help="whose run is edited; default: the atlas's")
    parser.add_argument("--facts", default="1,3,10,30,100", help="how many, with commas")
    parser.add_argument("--way", choices=WAYS, default=WAYS[0])
    parser.add_argument("--check", type=int, default=400, help="prompts of the half kept out")
    parser.add_argument(
        "--at", choices=POSITIONS, help="where the edit is written; default: spare's"
    )
    parser.add_argument("--layer", type=int, help="in which layer; default: spare's")
    options = parser.parse_args()
    counts = [int(count) for count in options.facts.split(",")]
    lm, whole = load_model(options.model), open_atlas(options.db)
    with tempfile.TemporaryDirectory() as directory:
        half = open_atlas(shutil.copy(options.db, Path(directory) / "half.duckdb"))
        with half.reading() as connection:
            chosen = choose_selection(connection, options.selection)
        kept_out = take_out(half, chosen.run_id)
        cases = known_facts(half, lm, chosen.run_id, max(counts))
        sample = ask_for(lm, kept_out_prompts(whole, chosen.run_id, kept_out, options.check))
        right = probe(lm, sample).answer_rank == 1
        how = EditSettings(
            selection_id=chosen.selection_id, position=options.at, layer=options.layer
        )
        bases = [read_basis(lm, half, c.fact_id, how, neurons_too=False) for c in cases]
        prepare(lm, half, bases[0], how, lambda event: None)
        print(f"{lm.name}, {options.way}, {right.sum()} right prompts of facts taken out")
        print("facts  made from  held out  facts that hold  kept  CPU s")
        for edits, count, seconds in made(lm, half, bases, cases, how, counts, options.way):
            with applied(lm, edits):
                rows = [share_of(lm, *pair) for pair in zip(bases, cases[:count], strict=False)]
                kept = (probe(lm, sample).answer_rank[right] == 1).mean()
            own, held = np.array(rows, np.float64).T
            print(
                f"{count:5}  {own.mean():9.1%}  {np.nanmean(held):8.1%}  "
                f"{(own == 1).mean():15.1%}  {kept:.1%}  {seconds:.1f}",
                flush=True,
            )


def made(
    lm: LanguageModel,
    atlas: Atlas,
    bases: Sequence[EditBasis],
    cases: Sequence[Case],
    how: EditSettings,
    counts: Sequence[int],
    way: str,
) -> Iterator[tuple[list[Edit], int, float]]:
    """Edits of the first so many facts, and the CPU seconds that making all of them took."""
    if way == "at-once":
        for count in counts:
            started = time.process_time()
            changes = [Change(b, c.new_object) for b, c in zip(bases, cases[:count], strict=False)]
            found = TOGETHER[how.method](lm, atlas, changes, how, lambda event: None)
            deltas = sum(found.deltas[1:], found.deltas[0])
            edit = edit_of(lm, bases[0], found.neurons, deltas, "")
            yield [edit], count, time.process_time() - started
        return
    edits: list[Edit] = []
    seconds = 0.0
    for basis, case in zip(bases[: max(counts)], cases, strict=False):
        started = time.process_time()
        with ExitStack() as stack:
            if way == "in-sequence":
                stack.enter_context(applied(lm, edits))
            found_one = update_deltas(lm, atlas, basis, case.new_object, how)
        neurons = found_one.neurons or basis.neurons
        edits.append(edit_of(lm, basis, neurons, found_one.deltas, case.new_object))
        seconds += time.process_time() - started
        if len(edits) in counts:
            yield edits, len(edits), seconds


def share_of(lm: LanguageModel, basis: EditBasis, case: Case) -> tuple[float, float]:
    """Shares of the prompts learnt from and held out with the new object on top; NaN of none."""
    return _on_top(lm, ask_for(lm, basis.prompts, case.new_object)), _on_top(
        lm, ask_for(lm, basis.held_out, case.new_object)
    )


def _on_top(lm: LanguageModel, questions: Questions) -> float:
    return float((probe(lm, questions).answer_rank == 1).mean()) if questions else float("nan")


if __name__ == "__main__":
    main()
