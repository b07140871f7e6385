"""How well the stored scores predict what suppressing a fact's neurons does to other facts.

    python tests/bench/interference.py --db atlas.duckdb [--facts 30] [--seed 0] [--model M]

For facts with knowledge neurons, drawn by the seed: `atlas query --interference FACT --measure`,
and the mean over these facts of how well the prediction held, on the extremes (predicted ones
against matched controls) and on random facts. Columns: Spearman of the predicted with the measured
Δ log P; of their sizes alone; of the share of score mass with |Δ log P|; AUC of |Δ log P|, facts
with mass on the neurons against those without; and over how many facts it is a mean. The atlas
keeps what was measured.
"""

import argparse
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

import atlas
from atlas.interference.measure import MeasuredInterference, Measurement
from atlas.statistics import spearman

GROUPS = {"extremes": ("predicted", "control"), "random": ("random",)}


def facts_with_neurons(db: atlas.Atlas) -> list[str]:
    """Their ids, of the default selection."""
    with db.reading() as connection:
        found = connection.execute(
            """
            SELECT DISTINCT fact_id
            FROM knowledge_neurons
            SEMI JOIN default_selection USING (selection_id)
            ORDER BY fact_id
            """
        ).fetchall()
    return [fact_id for (fact_id,) in found]


def of_sizes(rows: Sequence[Measurement]) -> float | None:
    """Spearman of the predicted with the measured |Δ log P|."""
    return spearman(
        [abs(row.predicted_change) for row in rows], [abs(row.delta_log_p) for row in rows]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--facts", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--asked", type=int, default=20, help="predicted facts, as many controls")
    asked = parser.parse_args()
    db = atlas.open(asked.db)
    lm = atlas.load_model(asked.model, device="cpu")
    every = facts_with_neurons(db)
    drawn = random.Random(asked.seed).sample(every, min(asked.facts, len(every)))
    found = []
    for fact in drawn:
        one = db.interference(fact, measure=lm, facts=asked.asked)
        assert isinstance(one, MeasuredInterference)
        found.append(one)
    print(f"{'':10}{'signed':>8}{'sizes':>8}{'share':>8}{'AUC':>8}{'facts':>8}")
    for name, roles in GROUPS.items():
        held = [getattr(one, name) for one in found]
        rows = [[row for row in one.measurements if row.role in roles] for one in found]
        columns = (
            [validation.spearman_change for validation in held],
            [of_sizes(own) for own in rows],
            [validation.spearman for validation in held],
            [validation.auc for validation in held],
        )
        known = [[value for value in column if value is not None] for column in columns]
        means = "".join(f"{statistics.mean(column):8.2f}" for column in known)
        print(f"{name:10}{means}{len(known[0]):8}")


if __name__ == "__main__":
    main()
