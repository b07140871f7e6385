"""In how many of its fact's prompts, and of their halves, each neuron passes.

The prompts of a fact are halved SPLITS times, each time in another order that their ids decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from atlas.selection.frequency import Counts, Flags, Floats, selection_frequency
from atlas.selection.measured_prompts import MEASURED_PROMPTS
from atlas.selection.stored_ratios import stored_ratios
from atlas.selection.thresholds import WHOLE, Thresholds

SPLITS = 10


@dataclass(frozen=True, eq=False)
class PassingCounts:
    """In how many prompts of its fact a neuron passes; the first axis of all is [neuron]."""

    fact_id: np.ndarray[Any, Any]
    layer: Counts
    neuron: Counts
    prompts: Counts
    needed: Counts  # in how many it must pass
    needed_lower: Counts  # of the lower half of the prompts, the smaller one
    needed_upper: Counts
    own: Counts  # prompts that it passes by the selection's own ratio
    ratios: tuple[float, ...]  # those of GRID that the run stored; if none, the selection's own
    by_ratio: Counts  # [neuron, ratio]
    lower: Counts  # of the own, those in the lower half, [neuron, split]
    lower_by_ratio: Counts | None  # [neuron, split, ratio]; None: the thresholds do not ask

    def frequency(self) -> Floats:
        """How often it is chosen, [neuron]."""
        return selection_frequency(self.prompts, self.by_ratio, self.needed)

    def frequent(self, thresholds: Thresholds) -> Flags:
        """Whether that is as often as the thresholds ask, [neuron]."""
        return is_frequent(self.frequency(), thresholds)

    def chosen(self, thresholds: Thresholds) -> Flags:
        """Whether the selection chooses it, [neuron]."""
        return (self.own >= self.needed) & self.frequent(thresholds)

    def chosen_by_halves(self, thresholds: Thresholds) -> tuple[Flags, Flags]:
        """Whether the lower and the upper half of the prompts choose it, each [neuron, split]."""
        upper = self.own[:, None] - self.lower
        by_lower = self.lower >= self.needed_lower[:, None]
        # one prompt has no two halves
        by_upper = (upper >= self.needed_upper[:, None]) & (self.prompts > 1)[:, None]
        if self.lower_by_ratio is None:
            return by_lower, by_upper
        half = self.prompts // 2
        for split in range(SPLITS):
            passed = self.lower_by_ratio[:, split]
            for by_half, size, ratios, needed in (
                (by_lower, half, passed, self.needed_lower),
                (by_upper, self.prompts - half, self.by_ratio - passed, self.needed_upper),
            ):
                at = np.flatnonzero(by_half[:, split])
                frequency = selection_frequency(size[at], ratios[at], needed[at])
                by_half[at, split] = is_frequent(frequency, thresholds)
        return by_lower, by_upper


def is_frequent(frequency: Floats, thresholds: Thresholds) -> Flags:
    """Whether neurons chosen as often are chosen often enough, [neuron]."""
    asked = round((thresholds.frequency or 0) * WHOLE)
    frequent: Flags = np.round(frequency * WHOLE) >= asked
    return frequent


def count_passing(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    thresholds: Thresholds,
    sharing: Mapping[str, int],
) -> PassingCounts:
    """Every neuron that the selection, a half, or half of the bootstraps may choose.

    Makes the table halved_prompts, of this connection. sharing: of the relations counted.
    """
    _halve(connection, run_id, thresholds, sharing)
    ratios = stored_ratios(connection, run_id) or (thresholds.ratio,)

    def passes(ratio: float) -> str:
        return f"a.score::DOUBLE {thresholds.comparison} {ratio!r}::DOUBLE * h.max_score"

    own = passes(thresholds.ratio)
    counted = {"own": own}
    counted |= {f"ratio_{i}": passes(ratio) for i, ratio in enumerate(ratios)}
    counted |= {f"lower_{s}": f"{own} AND h.lower_{s}" for s in range(SPLITS)}
    if thresholds.frequency is not None:
        counted |= {
            f"lower_{s}_{i}": f"{passes(ratio)} AND h.lower_{s}"
            for s in range(SPLITS)
            for i, ratio in enumerate(ratios)
        }
    counts = ",\n".join(f"count(*) FILTER ({test}) AS {name}" for name, test in counted.items())
    rows = connection.execute(
        f"""
        SELECT h.fact_id,
               a.layer,
               a.neuron,
               any_value(h.prompts) AS prompts,
               any_value(h.needed) AS needed,
               any_value(h.needed_lower) AS needed_lower,
               any_value(h.needed_upper) AS needed_upper,
               {counts}
        FROM attributions AS a
        JOIN halved_prompts AS h USING (prompt_id)
        WHERE a.run_id = $run_id
          AND a.score > 0
          AND {passes(min(*ratios, thresholds.ratio))}
        GROUP BY h.fact_id, a.layer, a.neuron
        -- a bootstrap chooses with probability one half or more what the prompts themselves choose
        HAVING own >= least(any_value(h.needed), any_value(h.needed_lower))
            OR ratio_0 >= any_value(h.needed)
        ORDER BY h.fact_id, a.layer, a.neuron
        """,
        {"run_id": run_id},
    ).fetchnumpy()

    def column(name: str) -> Counts:
        return np.asarray(rows[name], np.int64)

    def stacked(names: Sequence[str]) -> Counts:
        return np.stack([column(name) for name in names], axis=1)

    splits = [f"lower_{s}" for s in range(SPLITS)]
    of_halves = None
    if thresholds.frequency is not None:
        of_halves = np.stack(
            [stacked([f"{name}_{i}" for i in range(len(ratios))]) for name in splits], axis=1
        )
    return PassingCounts(
        fact_id=np.asarray(rows["fact_id"]),
        layer=column("layer"),
        neuron=column("neuron"),
        prompts=column("prompts"),
        needed=column("needed"),
        needed_lower=column("needed_lower"),
        needed_upper=column("needed_upper"),
        own=column("own"),
        ratios=ratios,
        by_ratio=stacked([f"ratio_{i}" for i in range(len(ratios))]),
        lower=stacked(splits),
        lower_by_ratio=of_halves,
    )


def _halve(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    thresholds: Thresholds,
    sharing: Mapping[str, int],
) -> None:
    """Make the table halved_prompts: what a fact needs, and which prompts are its lower halves."""

    def needed(prompts: str) -> str:
        # rounded up, in whole numbers; a half needs its part of min_prompts
        return (
            f"greatest((s.sharing * ({prompts}) + {WHOLE - 1}) // {WHOLE}, "
            f"($min_prompts * ({prompts}) + m.prompts - 1) // m.prompts, 1)"
        )

    lower = ",\n".join(
        f"row_number() OVER (PARTITION BY m.fact_id "
        f"ORDER BY md5(concat_ws(' ', {s}, m.prompt_id)), m.prompt_id) "
        f"<= m.prompts // 2 AS lower_{s}"
        for s in range(SPLITS)
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMPORARY TABLE halved_prompts AS
        WITH measured AS (
            {MEASURED_PROMPTS}
        ),
        settled AS (
            SELECT unnest($relations) AS relation_id,
                   unnest($sharing::BIGINT[]) AS sharing
        )
        SELECT m.prompt_id,
               m.fact_id,
               m.max_score,
               m.prompts,
               {needed("m.prompts")} AS needed,
               {needed("m.prompts // 2")} AS needed_lower,
               {needed("m.prompts - m.prompts // 2")} AS needed_upper,
               {lower}
        FROM measured AS m
        JOIN settled AS s USING (relation_id)
        """,
        {
            "run_id": run_id,
            "relations": list(sharing),
            "sharing": list(sharing.values()),
            "known_only": thresholds.known_only,
            "templates": thresholds.templates,
            "min_prompts": thresholds.min_prompts,
        },
    )
