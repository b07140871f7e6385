"""How stable a selection is: what other ratios, draws of prompts and half of them would choose.

`selection_frequency`: how often a fact chooses a neuron over the ratios of GRID and bootstraps of
the fact's measured prompts, exactly (see frequency.py); the sharing is the one that the selection
uses in the fact's relation, and min_prompts its own. `split_half_jaccard`: the prompts are halved
SPLITS times, each time in another order that their ids decide, and each half chooses neurons by the
selection's own thresholds, min_prompts in proportion.

Whether a neuron serves its answer elsewhere (`against`) is no matter of stability: neurons that a
selection leaves out for that count here as chosen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np

from atlas.selection.frequency import Counts, Flags, Floats, agreement, selection_frequency
from atlas.selection.measured_prompts import MEASURED_PROMPTS
from atlas.selection.thresholds import WHOLE, Thresholds
from atlas.store import bulk
from atlas.store.rows import fetch_one

GRID = (0.1, 0.15, 0.2, 0.25, 0.3)  # ratios; those below the scores that a run stored are left out
SPLITS = 10
FREQUENT = 0.5  # what is chosen as often is stored, also where the selection did not choose it


@dataclass(frozen=True)
class StabilityTables:
    """Where the stability of some facts stands: tables laid out as those named here."""

    facts: str = "fact_stability"
    neurons: str = "neuron_stability"


STORED = StabilityTables()
_UNSTORED = StabilityTables("unstored_fact_stability", "unstored_neuron_stability")


def refresh_stability(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    relations: Sequence[str] | None = None,
) -> None:
    """Store the stability of the relations (None: of all) of which it is not stored.

    Of an imported selection there is none. Selecting anew takes away what is outdated.
    """
    _record(connection, selection_id, _lacking(connection, selection_id, relations), STORED)


def stability_tables(
    connection: duckdb.DuckDBPyConnection, selection_id: str, relations: Sequence[str]
) -> StabilityTables:
    """Tables with the stability of these relations' facts.

    They are those stored; of a selection that an earlier version made, computed now and forgotten.
    """
    if not _lacking(connection, selection_id, relations):
        return STORED
    for table, stored in ((_UNSTORED.facts, STORED.facts), (_UNSTORED.neurons, STORED.neurons)):
        connection.execute(  # also a read-only file takes temporary tables
            f"""
            CREATE OR REPLACE TEMPORARY TABLE {table} AS
            FROM {stored}
            LIMIT 0
            """
        )
    everything = _settled(connection, selection_id, relations)
    _record(connection, selection_id, everything, _UNSTORED)
    return _UNSTORED


def keep_frequent(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    thresholds: Thresholds,
    sharing: Mapping[str, int],
    chosen: str,
) -> None:
    """Delete from `chosen` (fact_id, layer, neuron) what the thresholds' frequency rules out.

    sharing: what each relation came to, in millionths.
    """
    # how the halves choose is not asked here
    found = _count(connection, run_id, replace(thresholds, frequency=None), sharing)
    kept = found.frequent(thresholds)
    names = {"fact_id": found.fact_id, "layer": found.layer, "neuron": found.neuron}
    with bulk.offered(connection, {name: column[kept].tolist() for name, column in names.items()}):
        connection.execute(
            f"""
            DELETE FROM {chosen}
            WHERE (fact_id, layer, neuron) NOT IN (
                SELECT (fact_id, layer, neuron)
                FROM {bulk.OFFERED}
            )
            """
        )


@dataclass(frozen=True, eq=False)
class _Counted:
    """In how many prompts of its fact a neuron passes; the first axis of all is [neuron]."""

    fact_id: np.ndarray[Any, Any]
    layer: Counts
    neuron: Counts
    prompts: Counts
    needed: Counts  # in how many it must pass
    needed_lower: Counts  # of the lower half of the prompts, the smaller one
    needed_upper: Counts
    own: Counts  # prompts that it passes by the selection's own ratio
    by_ratio: Counts  # [neuron, ratio]
    lower: Counts  # of the own, those in the lower half, [neuron, split]
    lower_by_ratio: Counts | None  # [neuron, split, ratio]; None: the thresholds do not ask

    def frequency(self) -> Floats:
        """How often it is chosen, [neuron]."""
        return selection_frequency(self.prompts, self.by_ratio, self.needed)

    def frequent(self, thresholds: Thresholds) -> Flags:
        """Whether that is as often as the thresholds ask, [neuron]."""
        return _frequent(self.frequency(), thresholds)

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
                by_half[at, split] = _frequent(frequency, thresholds)
        return by_lower, by_upper


def _frequent(frequency: Floats, thresholds: Thresholds) -> Flags:
    asked = round((thresholds.frequency or 0) * WHOLE)
    frequent: Flags = np.round(frequency * WHOLE) >= asked
    return frequent


def _lacking(
    connection: duckdb.DuckDBPyConnection, selection_id: str, relations: Sequence[str] | None
) -> dict[str, int]:
    """Those of the relations whose stability is not stored, with the sharing of each."""
    stored = {
        relation_id
        for (relation_id,) in connection.execute(
            """
            SELECT DISTINCT f.relation_id
            FROM fact_stability AS s
            JOIN facts AS f USING (fact_id)
            WHERE s.selection_id = $selection_id
            """,
            {"selection_id": selection_id},
        ).fetchall()
    }
    settled = _settled(connection, selection_id, relations)
    return {relation_id: s for relation_id, s in settled.items() if relation_id not in stored}


def _settled(
    connection: duckdb.DuckDBPyConnection, selection_id: str, relations: Sequence[str] | None
) -> dict[str, int]:
    """The sharing, in millionths, that each of the relations came to, if it has facts."""
    return dict(
        connection.execute(
            f"""
            SELECT relation_id,
                   round(sharing * {WHOLE})::BIGINT
            FROM selection_relations
            WHERE selection_id = $selection_id
              AND sharing IS NOT NULL
              AND facts > 0
              AND ($relations IS NULL OR relation_id IN $relations)
            """,
            {
                "selection_id": selection_id,
                "relations": None if relations is None else list(relations),
            },
        ).fetchall()
    )


def _record(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    sharing: Mapping[str, int],
    tables: StabilityTables,
) -> None:
    if not sharing:
        return
    run_id, settings, known_only = fetch_one(
        connection,
        """
        SELECT run_id, settings, known_only
        FROM selections
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    )
    # a null has the settings of its real selection, and none of its facts is known
    thresholds = replace(Thresholds.from_settings(settings), known_only=known_only)
    found = _count(connection, run_id, thresholds, sharing)
    frequency = found.frequency()
    stored = found.chosen(thresholds) | (frequency >= FREQUENT)
    bulk.insert(
        connection,
        tables.neurons,
        {
            "selection_id": [selection_id] * int(stored.sum()),
            "fact_id": found.fact_id[stored].tolist(),
            "layer": found.layer[stored].tolist(),
            "neuron": found.neuron[stored].tolist(),
            "selection_frequency": frequency[stored].tolist(),
        },
    )
    facts = dict(
        connection.execute(
            """
            SELECT fact_id,
                   any_value(prompts)
            FROM halved_prompts
            GROUP BY fact_id
            ORDER BY fact_id
            """
        ).fetchall()
    )
    place = {fact_id: i for i, fact_id in enumerate(facts)}
    of = np.array([place[fact_id] for fact_id in found.fact_id], np.int64)
    agreed = agreement(of, len(place), *found.chosen_by_halves(thresholds))
    ratios = _ratios(connection, run_id, thresholds)
    bulk.insert(
        connection,
        tables.facts,
        {
            "selection_id": [selection_id] * len(place),
            "fact_id": list(facts),
            "prompts": list(facts.values()),
            "split_half_jaccard": [None if math.isnan(j) else j for j in agreed.jaccard.tolist()],
            "splits": agreed.splits.tolist(),
            "lowest_ratio": [ratios[0]] * len(place),
            "highest_ratio": [ratios[-1]] * len(place),
        },
    )


def _ratios(
    connection: duckdb.DuckDBPyConnection, run_id: str, thresholds: Thresholds
) -> tuple[float, ...]:
    """Those of GRID that the run stored all scores for; if none, the selection's own."""
    (floor,) = fetch_one(
        connection,
        """
        SELECT score_floor
        FROM runs
        WHERE run_id = $run_id
        """,
        {"run_id": run_id},
    )
    return tuple(ratio for ratio in GRID if ratio >= floor - 1 / WHOLE) or (thresholds.ratio,)


def _count(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    thresholds: Thresholds,
    sharing: Mapping[str, int],
) -> _Counted:
    """Every neuron that the selection, a half, or half of the bootstraps may choose.

    Makes the table halved_prompts, of this connection. sharing: of the relations counted.
    """
    _halve(connection, run_id, thresholds, sharing)
    ratios = _ratios(connection, run_id, thresholds)

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
    return _Counted(
        fact_id=np.asarray(rows["fact_id"]),
        layer=column("layer"),
        neuron=column("neuron"),
        prompts=column("prompts"),
        needed=column("needed"),
        needed_lower=column("needed_lower"),
        needed_upper=column("needed_upper"),
        own=column("own"),
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
