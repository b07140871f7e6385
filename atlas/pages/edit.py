"""The pages on an edit: what it did, and what was foretold of that."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from atlas.edits.report import EditReport, edit_report
from atlas.edits.stored import read_edits
from atlas.errors import NotFound
from atlas.selection.chosen import OfSelection, find_selection
from atlas.side_effects.by_relation import RelationDamage, relation_damage
from atlas.side_effects.forecast import (
    ForecastFact,
    ForecastReport,
    forecast_report,
    layers_to_measure,
    prompt_forecasts,
)
from atlas.side_effects.foretold import Foretold, foretold
from atlas.side_effects.report import (
    SMALLEST_P,
    SideEffectReport,
    side_effect_report,
)
from atlas.side_effects.scopes import checked_by

SHOWN = 20  # facts


@dataclass(frozen=True)
class EditPage(OfSelection, rows="damage"):
    """An edit: what it changes, what it came to, whom it harmed.

    effects: over every prompt that it was checked on; None where it was checked on none.
    """

    edit: EditReport
    effects: SideEffectReport | None
    damage: tuple[RelationDamage, ...]  # the largest share of lost answers first


@dataclass(frozen=True)
class ForecastAndLoss(ForecastFact):
    """What an edit was forecast to do to a fact, and what it did."""

    delta_log_p: float | None  # mean over its checked prompts; None: none was checked
    right_to_wrong: int | None  # of those


@dataclass(frozen=True)
class EditForecast(OfSelection, rows="affected"):
    """Who was forecast to suffer from an edit, against what was measured.

    It is a page of its own, for it reads thousands of activations.

    forecast: None where the atlas has no activations of the layers that it changes.
    """

    edit_id: int
    forecast: ForecastReport | None
    foretold: Foretold | None  # None likewise, or if it was checked on no other fact
    affected: tuple[ForecastAndLoss, ...]  # highest forecast first


def edit_page(connection: duckdb.DuckDBPyConnection, edit_id: int) -> EditPage:
    """Everything that is stored of an edit but its forecast; NotFound without such an edit."""
    report = edit_report(connection, edit_id)
    effects, damage = None, []
    if report.checked_prompts:
        effects = side_effect_report(connection, checked_by(connection, edit_id), SHOWN)
        damage = relation_damage(connection)
    return EditPage(report, effects, tuple(damage), selection=report.selection)


def edit_forecast(connection: duckdb.DuckDBPyConnection, edit_id: int) -> EditForecast:
    """The forecast of an edit, as far as the atlas has what it needs; NotFound without the edit."""
    (edit,) = read_edits(connection, [edit_id])
    try:
        by = checked_by(connection, edit_id)
        missing = layers_to_measure(connection, by, edit)
    except NotFound:  # of a model that the atlas has no run of, or one that measured no prompt
        missing = list(edit.changed_layers)
    if missing:
        selection = find_selection(connection, edit.selection_id)
        return EditForecast(edit_id, None, None, (), selection=selection)
    forecasts = prompt_forecasts(connection, edit, by)
    forecast = forecast_report(connection, edit, by, SHOWN, forecasts)
    lost = _lost(connection, edit_id, [fact.fact_id for fact in forecast.affected])
    return EditForecast(
        edit_id=edit_id,
        forecast=forecast,
        foretold=foretold(connection, edit, by, forecasts=forecasts),
        affected=tuple(
            ForecastAndLoss(**vars(fact), delta_log_p=delta, right_to_wrong=wrong)
            for fact in forecast.affected
            for delta, wrong in [lost.get(fact.fact_id, (None, None))]
        ),
        selection=forecast.selection,
    )


def _lost(
    connection: duckdb.DuckDBPyConnection, edit_id: int, fact_ids: Sequence[str]
) -> dict[str, tuple[float, int]]:
    """Mean change of log P over the checked prompts of each fact, and how many became wrong."""
    rows = connection.execute(
        f"""
        SELECT p.fact_id,
               avg(ln(greatest(s.p_after, {SMALLEST_P})) - ln(greatest(s.p_before, {SMALLEST_P}))),
               count(*) FILTER (s.rank_before = 1 AND s.rank_after > 1)
        FROM side_effects AS s
        JOIN prompts AS p USING (prompt_id)
        WHERE s.edit_id = $edit_id
          AND p.fact_id IN (SELECT unnest($fact_ids))
        GROUP BY p.fact_id
        """,
        {"edit_id": edit_id, "fact_ids": list(fact_ids)},
    ).fetchall()
    return {fact_id: (delta, wrong) for fact_id, delta, wrong in rows}
