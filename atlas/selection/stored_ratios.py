"""Ratios at which a run's stored scores can choose neurons: none below its floor."""

from collections.abc import Sequence

import duckdb

from atlas.selection.thresholds import WHOLE
from atlas.store.rows import fetch_one

GRID = (0.1, 0.15, 0.2, 0.25, 0.3)  # what a selection's own ratio is looked at beside


def reaches(ratio: float, score_floor: float) -> bool:
    """Whether all scores from this share of a prompt's maximum on are stored."""
    return ratio >= score_floor - 1 / WHOLE


def stored_ratios(
    connection: duckdb.DuckDBPyConnection, run_id: str, ratios: Sequence[float] = GRID
) -> tuple[float, ...]:
    """Those of the ratios that the run, one with scores, stored all scores for."""
    (floor,) = fetch_one(
        connection,
        """
        SELECT score_floor
        FROM runs
        WHERE run_id = $run_id
        """,
        {"run_id": run_id},
    )
    return tuple(ratio for ratio in ratios if reaches(ratio, floor))
