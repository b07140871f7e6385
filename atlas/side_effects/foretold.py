"""How well an edit's side effects were foretold: by the forecast, and by score mass beside it."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from atlas.edits.edit import Edit
from atlas.side_effects.forecast import PromptForecast, prompt_forecasts
from atlas.side_effects.report import SMALLEST_P
from atlas.side_effects.scopes import CheckedBy
from atlas.statistics import separation, spearman
from atlas.store.rows import fetch

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


@dataclass(frozen=True)
class _Measured:
    prompt_id: int
    interference: float
    delta_log_p: float
    flipped: bool


def foretold(
    connection: duckdb.DuckDBPyConnection,
    edit: Edit,
    by: CheckedBy,
    prompts: Collection[int],
    forecasts: Sequence[PromptForecast] | None = None,
) -> Foretold | None:
    """How well these prompts' side effects were foretold; None if no activations are stored.

    forecasts: `prompt_forecasts` of the edit, where they are at hand.
    """
    forecasts = forecasts or prompt_forecasts(connection, edit, by)
    if forecasts is None:
        return None
    others = {prompt.prompt_id: prompt for prompt in forecasts if not prompt.own}
    measured = fetch(
        connection,
        _Measured,
        f"""
        SELECT prompt_id,
               interference,
               ln(greatest(p_after, {SMALLEST_P})) - ln(greatest(p_before, {SMALLEST_P}))
                   AS delta_log_p,
               (rank_before = 1) <> (rank_after = 1)
                   OR (rank_before > 1 AND predicted_before <> predicted_after) AS flipped
        FROM side_effects
        WHERE edit_id = $edit_id
          AND prompt_id IN (SELECT unnest($prompts))
        ORDER BY prompt_id
        """,
        {"edit_id": by.edit_id, "prompts": [number for number in prompts if number in others]},
    )
    return _compared(measured, others) if measured else None


def _compared(measured: list[_Measured], forecasts: dict[int, PromptForecast]) -> Foretold:
    flipped = [row for row in measured if row.flipped]
    kept = [row for row in measured if not row.flipped]
    facts: dict[str, list[_Measured]] = defaultdict(list)
    for row in measured:
        facts[forecasts[row.prompt_id].fact_id].append(row)
    lost = [abs(float(np.mean([row.delta_log_p for row in rows]))) for rows in facts.values()]
    forecast = [
        float(np.mean([forecasts[row.prompt_id].forecast for row in rows]))
        for rows in facts.values()
    ]
    mass = [rows[0].interference for rows in facts.values()]
    enough = min(len(flipped), len(kept)) >= FEWEST
    return Foretold(
        facts=len(facts),
        prompts=len(measured),
        flips=len(flipped),
        forecast_spearman=spearman(forecast, lost),
        forecast_auc=separation(
            [forecasts[row.prompt_id].forecast for row in flipped],
            [forecasts[row.prompt_id].forecast for row in kept],
        )
        if enough
        else None,
        mass_spearman=spearman(mass, lost),
        mass_auc=separation([r.interference for r in flipped], [r.interference for r in kept])
        if enough
        else None,
    )
