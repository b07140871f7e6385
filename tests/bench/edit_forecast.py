"""How well `atlas edit forecast` tells who suffers: prints one row a method of making edits.

    python tests/bench/edit_forecast.py --db ATLAS [--model MODEL] [--facts 12] [--check 1000]

The atlas is copied. One known fact each of so many relations (in the order of a hash) gets another
object of its relation, by every method; each edit is forecast and then measured on so many prompts,
of every relation alike, without the edit's own. Columns: the AUC of the forecast per prompt for top
answers that changed, beside that of the share of the fact's score mass on the edited neurons, and
Spearman per fact with |Δ log P|; means over edits with their 95 % bootstrap intervals. Edits with
fewer than five changed top answers have no AUC; n says how many have one. On an atlas that has more
activations than --check, all prompts that have some are asked.
"""

import argparse
import contextlib
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from atlas.atlas import Atlas, open_atlas
from atlas.edits.making.settings import METHODS
from atlas.edits.stored import read_edits
from atlas.errors import AtlasError
from atlas.models.language_model import LanguageModel
from atlas.models.load import load_model
from atlas.moments import measure
from atlas.selection.chosen import choose_selection
from atlas.side_effects.check import check_prompts
from atlas.side_effects.forecast import prompt_forecasts
from atlas.side_effects.foretold import Foretold, foretold
from atlas.side_effects.scopes import Scope, checked_by, scoped_prompts
from atlas.statistics import mean_interval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--facts", type=int, default=12, help="each of another relation")
    parser.add_argument("--check", type=int, default=1000, help="prompts")
    parser.add_argument("--method", action="append", choices=list(METHODS), help="default: all")
    options = parser.parse_args()
    measure.MOST_PROMPTS = measure.FEWEST_PROMPTS = options.check
    lm, console = load_model(options.model), Console(width=110)
    with tempfile.TemporaryDirectory() as directory:
        db = open_atlas(shutil.copy(options.db, Path(directory) / "atlas.duckdb"))
        done: dict[str, list[Foretold]] = {}
        edited = 0
        for fact_id, new in _cases(db):
            try:
                found = _foretold(db, lm, fact_id, new, options.method or list(METHODS))
            except AtlasError as e:  # no knowledge neuron, or an object that cannot be asked for
                console.print(f"{fact_id} is left out: {e}", highlight=False)
                continue
            for name, one in found.items():
                done.setdefault(name, []).append(one)
            edited += 1
            if edited % 2 == 0 or edited == options.facts:
                console.print(_table(done))
            if edited == options.facts:
                break


def _cases(db: Atlas) -> list[tuple[str, str]]:
    """A known fact of every relation and another object of that, both by a hash."""
    with db.reading() as connection:
        rows = connection.execute(
            """
            SELECT f.relation_id, f.fact_id, f.object
            FROM facts AS f
            JOIN prompts AS p USING (fact_id)
            JOIN prompt_results AS r USING (prompt_id)
            WHERE r.run_id = ?
              AND f.fact_id IN (FROM knowledge_neurons SELECT fact_id)
            GROUP BY f.relation_id, f.fact_id, f.object
            HAVING count(*) FILTER (WHERE r.answer_rank = 1) >= 0.5 * count(*)
            ORDER BY md5(f.relation_id), md5(f.fact_id)
            """,
            [choose_selection(connection).run_id],
        ).fetchall()
    cases = []
    for relation in dict.fromkeys(relation for relation, *_ in rows):
        _, fact_id, old = next(row for row in rows if row[0] == relation)
        objects = sorted({row[2] for row in rows if row[0] == relation} - {old})
        if objects:
            cases.append((fact_id, random.Random(fact_id).choice(objects)))
    return cases


def _foretold(
    db: Atlas, lm: LanguageModel, fact_id: str, new: str, methods: Sequence[str]
) -> dict[str, Foretold]:
    """By method and choice of neurons, how well the edit's side effects were foretold."""
    found = {}
    for method in methods:
        for neurons in (None, 20):
            settings = {} if neurons is None else {"neurons": neurons}
            report = db.edit_update(fact_id, new, lm=lm, method=method, **settings)
            number = report.edit_id
            db.forecast(number, lm=lm, limit=1)
            with db.reading() as connection:
                (edit,), by = read_edits(connection, [number]), checked_by(connection, number)
                forecasts = prompt_forecasts(connection, edit, by)
                known = set() if forecasts is None else set(forecasts.prompt_ids.tolist())
                scoped = scoped_prompts(connection, by, Scope("all"))
            asked = [p for p in scoped if p.prompt_id in known and not p.own]
            with contextlib.closing(check_prompts(db, lm, edit, asked)) as events:
                for _ in events:
                    pass
            with db.reading() as connection:
                one = foretold(connection, edit, by, [prompt.prompt_id for prompt in asked])
            if one is not None:
                found[f"{method}, {neurons} neurons" if neurons else method] = one
    return found


def _table(done: dict[str, list[Foretold]]) -> Table:
    table = Table("edit", "edits", "flips", "n", "AUC", "AUC of mass", "Spearman", "of mass")
    for name, edits in done.items():
        table.add_row(
            name,
            str(len(edits)),
            f"{sum(e.flips for e in edits) / sum(e.prompts for e in edits):.1%}",
            str(sum(e.forecast_auc is not None for e in edits)),
            _mean([e.forecast_auc for e in edits]),
            _mean([e.mass_auc for e in edits]),
            _mean([e.forecast_spearman for e in edits]),
            _mean([e.mass_spearman for e in edits]),
        )
    return table


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    interval = mean_interval(known)
    if interval is None:
        return "-"
    low, high = interval
    return f"{sum(known) / len(known):.3f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
