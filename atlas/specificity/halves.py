"""What the prompts of either half of a relation's templates choose, by the selection's own rule.

A relation's templates are halved in turn, by their ids. Of a fact's prompts that the selection goes
by, those of one half choose as all of them do in the selection: at its ratio, the sharing at which
the relation came to rest, its minimum of prompts in proportion, and its frequency, which a half
judges by its own prompts. Against the answer, what half 0 chooses is held against what half 0 of
other facts' prompts chooses, and so for half 1.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import duckdb
import numpy as np

from atlas.selection.against import leave_out
from atlas.selection.frequency import Counts, selection_frequency
from atlas.selection.measured_prompts import MEASURED_PROMPTS
from atlas.selection.passing_counts import is_frequent
from atlas.selection.recorded import recorded_thresholds
from atlas.selection.stored_ratios import stored_ratios
from atlas.selection.thresholds import WHOLE, Thresholds
from atlas.specificity.controls import Neuron, Neurons
from atlas.specificity.partners import HALVES
from atlas.store import bulk

# The half that the template of a prompt `p` of a fact `f` is in, among its relation's measured.
HALF = f"""
               (dense_rank() OVER (PARTITION BY f.relation_id ORDER BY p.template_id) - 1)
                   % {HALVES}"""

_Chosen = list[tuple[str, int, int]]  # fact, layer, neuron


def chosen_by_half(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    selection_id: str,
    fact_ids: Sequence[str],
) -> Mapping[str, tuple[Neurons, ...]]:
    """Of each fact, the neurons that either half chooses, by layer and neuron."""
    thresholds = recorded_thresholds(connection, selection_id)
    against = thresholds.against
    everybody = against is not None
    chosen = _chosen(connection, run_id, selection_id, thresholds, None if everybody else fact_ids)
    if against is not None:
        chosen = [
            _left(connection, run_id, thresholds.known_only, against, half) for half in chosen
        ]
    found: dict[str, tuple[list[Neuron], ...]] = defaultdict(lambda: tuple([] for _ in chosen))
    for half, rows in enumerate(chosen):
        for fact_id, layer, neuron in sorted(rows):
            found[fact_id][half].append((layer, neuron))
    return {fact_id: tuple(map(tuple, found[fact_id])) for fact_id in fact_ids}


def _chosen(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    selection_id: str,
    thresholds: Thresholds,
    fact_ids: Sequence[str] | None,
) -> list[_Chosen]:
    """What each half chooses; of these facts, None: of all. Whom it serves is not asked yet."""
    ratios: tuple[float, ...] = ()
    if thresholds.frequency is not None:
        ratios = stored_ratios(connection, run_id) or (thresholds.ratio,)

    def passes(ratio: float) -> str:
        return f"t.score::DOUBLE {thresholds.comparison} {ratio!r}::DOUBLE * a.max_score"

    counts = "".join(
        f",\ncount(*) FILTER ({passes(ratio)}) AS ratio_{i}" for i, ratio in enumerate(ratios)
    )
    rows = connection.execute(
        f"""
        WITH measured AS (
            {MEASURED_PROMPTS}
        ),
        halved AS (
            SELECT p.prompt_id,
                   {HALF} AS half
            FROM prompt_results AS r
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            WHERE r.run_id = $run_id
              AND r.skipped_because IS NULL
        ),
        settled AS (
            SELECT relation_id,
                   round(sharing * {WHOLE})::BIGINT AS sharing
            FROM selection_relations
            WHERE selection_id = $selection_id
        ),
        asked AS (
            SELECT m.prompt_id,
                   m.fact_id,
                   m.max_score,
                   m.prompts,
                   h.half,
                   s.sharing,
                   count(*) OVER (PARTITION BY m.fact_id, h.half) AS half_prompts
            FROM measured AS m
            JOIN halved AS h USING (prompt_id)
            JOIN settled AS s USING (relation_id)
            WHERE $facts IS NULL
               OR m.fact_id IN $facts
        ),
        needing AS (
            SELECT prompt_id,
                   fact_id,
                   max_score,
                   half,
                   half_prompts,
                   -- rounded up, in whole numbers
                   greatest(
                       (sharing * half_prompts + {WHOLE - 1}) // {WHOLE},
                       ($min_prompts * half_prompts + prompts - 1) // prompts
                   ) AS needed
            FROM asked
        )
        SELECT a.fact_id,
               a.half,
               t.layer,
               t.neuron,
               any_value(a.half_prompts) AS prompts,
               any_value(a.needed) AS needed,
               count(*) FILTER ({passes(thresholds.ratio)}) AS own
               {counts}
        FROM attributions AS t
        JOIN needing AS a USING (prompt_id)
        WHERE t.run_id = $run_id
          AND t.score > 0
          AND {passes(min(*ratios, thresholds.ratio) if ratios else thresholds.ratio)}
        GROUP BY a.fact_id, a.half, t.layer, t.neuron
        HAVING own >= any_value(a.needed)
        ORDER BY a.fact_id, a.half, t.layer, t.neuron
        """,
        {
            "run_id": run_id,
            "selection_id": selection_id,
            "facts": None if fact_ids is None else list(fact_ids),
            "relations": _relations(connection, selection_id),
            "min_prompts": thresholds.min_prompts,
            "known_only": thresholds.known_only,
            "templates": thresholds.templates,
        },
    ).fetchnumpy()

    def column(name: str) -> Counts:
        return np.asarray(rows[name], np.int64)

    kept = np.ones(len(column("half")), np.bool_)
    if ratios:
        passed = np.stack([column(f"ratio_{i}") for i in range(len(ratios))], axis=1)
        frequency = selection_frequency(column("prompts"), passed, column("needed"))
        kept = is_frequent(frequency, thresholds)
    names = [str(fact_id) for fact_id in rows["fact_id"]]
    layers: list[int] = column("layer").tolist()
    neurons: list[int] = column("neuron").tolist()
    return [
        [
            (names[i], layers[i], neurons[i])
            for i in np.flatnonzero(kept & (column("half") == half)).tolist()
        ]
        for half in range(HALVES)
    ]


def _relations(connection: duckdb.DuckDBPyConnection, selection_id: str) -> list[str]:
    """Those that the selection has chosen neurons in, or found none."""
    return [
        relation_id
        for (relation_id,) in connection.execute(
            """
            SELECT relation_id
            FROM selection_relations
            WHERE selection_id = $selection_id
            """,
            {"selection_id": selection_id},
        ).fetchall()
    ]


def _left(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    known_only: bool,
    against: str,
    chosen: _Chosen,
) -> _Chosen:
    """What stays of one half's neurons of all facts where the answer's or template's go."""
    connection.execute(  # also a read-only file takes temporary tables
        """
        CREATE OR REPLACE TEMPORARY TABLE chosen (
            fact_id VARCHAR,
            layer INTEGER,
            neuron INTEGER
        )
        """
    )
    if chosen:
        bulk.insert(connection, "chosen", bulk.as_columns(("fact_id", "layer", "neuron"), chosen))
    leave_out(connection, run_id, known_only, against)
    left = connection.execute("SELECT fact_id, layer, neuron FROM chosen").fetchall()
    connection.execute("DROP TABLE chosen")
    return left
