"""How well an edit's side effects were foretold: by the forecast, and by score mass beside it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from atlas.edits.edit import Edit
from atlas.side_effects.forecast import PromptForecasts, by_fact, prompt_forecasts
from atlas.side_effects.report import SMALLEST_P
from atlas.side_effects.scopes import CheckedBy
from atlas.statistics import separation, spearman

FEWEST = 5  # prompts that flipped, and that did not, from which an AUC is told


@dataclass(frozen=True)
class Foretold:
    """Predictions against what a check measured, on checked prompts with stored activations.

    None of the edit's own. Spearman is over facts, with |Δ log P|; the AUC is the share of pairs of
    a prompt whose top answer changed and one whose did not in which the first's prediction is
    higher, ties counting half. None where there are too few.
    """

    facts: int
    prompts: int
    flips: int
    forecast_spearman: float | None
    forecast_auc: float | None
    mass_spearman: float | None  # of predicted interference, the share of score mass
    mass_auc: float | None


def foretold(
    connection: duckdb.DuckDBPyConnection,
    edit: Edit,
    by: CheckedBy,
    prompts: Collection[int] | None = None,
    forecasts: PromptForecasts | None = None,
) -> Foretold | None:
    """How well these prompts' side effects were foretold; None if no activations are stored.

    prompts: without them, all that the edit was checked on.
    forecasts: `prompt_forecasts` of the edit, where they are at hand.
    """
    forecasts = forecasts or prompt_forecasts(connection, edit, by)
    if forecasts is None:
        return None
    others = forecasts.where(False)
    measured = connection.execute(
        f"""
        SELECT prompt_id,
               interference::DOUBLE AS interference,
               ln(greatest(p_after, {SMALLEST_P})) - ln(greatest(p_before, {SMALLEST_P}))
                   AS delta_log_p,
               (rank_before = 1) <> (rank_after = 1)
                   OR (rank_before > 1 AND predicted_before <> predicted_after) AS flipped
        FROM side_effects
        WHERE edit_id = $edit_id
        ORDER BY prompt_id
        """,
        {"edit_id": by.edit_id},
    ).fetchnumpy()
    kept = np.isin(measured["prompt_id"], others.prompt_ids)
    if prompts is not None:
        kept &= np.isin(measured["prompt_id"], np.array(list(prompts), np.int64))
    if not kept.any():
        return None
    return _compared({name: column[kept] for name, column in measured.items()}, others)


def _compared(measured: Mapping[str, Any], others: PromptForecasts) -> Foretold:
    """measured: columns by prompt id, all of prompts among the others."""
    at = np.searchsorted(others.prompt_ids, measured["prompt_id"])
    forecast, mass, flipped = others.forecast[at], measured["interference"], measured["flipped"]
    facts, of = by_fact(others.fact_ids[at])
    counts = np.bincount(of)
    mass_of_fact = np.zeros(len(facts))
    mass_of_fact[of] = mass
    lost = np.abs(np.bincount(of, measured["delta_log_p"]) / counts).tolist()

    def apart(predicted: NDArray[np.float64]) -> float | None:
        if min(flipped.sum(), (~flipped).sum()) < FEWEST:
            return None
        return separation(predicted[flipped].tolist(), predicted[~flipped].tolist())

    return Foretold(
        facts=len(facts),
        prompts=len(at),
        flips=int(flipped.sum()),
        forecast_spearman=spearman((np.bincount(of, forecast) / counts).tolist(), lost),
        forecast_auc=apart(forecast),
        mass_spearman=spearman(mass_of_fact.tolist(), lost),
        mass_auc=apart(mass),
    )
