"""The page on an edit."""

from dataclasses import dataclass

import duckdb

from atlas.edits.report import EditReport, edit_report
from atlas.edits.stored import read_edits
from atlas.errors import NotFound
from atlas.selection.chosen import OfSelection
from atlas.side_effects.by_relation import RelationDamage, relation_damage
from atlas.side_effects.forecast import (
    ForecastReport,
    forecast_report,
    layers_to_measure,
    prompt_forecasts,
)
from atlas.side_effects.foretold import Foretold, foretold
from atlas.side_effects.report import SideEffectReport, checked_prompts, side_effect_report
from atlas.side_effects.scopes import checked_by

SHOWN = 20  # facts


@dataclass(frozen=True)
class EditPage(OfSelection, rows="damage"):
    """An edit: what it changes, what it came to, whom it harmed, and whether that was foretold.

    effects: over every prompt that it was checked on; None where it was checked on none.
    forecast: None where the atlas has no activations of the layers that it changes.
    """

    edit: EditReport
    effects: SideEffectReport | None
    damage: tuple[RelationDamage, ...]  # the largest share of lost answers first
    forecast: ForecastReport | None
    foretold: Foretold | None  # None likewise, or if it was checked on no other fact


def edit_page(connection: duckdb.DuckDBPyConnection, edit_id: int) -> EditPage:
    """Everything that is stored of an edit; NotFound without such an edit."""
    report = edit_report(connection, edit_id)
    try:
        by = checked_by(connection, edit_id)
    except NotFound:  # of a model that the atlas has no run of
        return EditPage(report, None, (), None, None, selection=report.selection)
    (edit,) = read_edits(connection, [edit_id])
    prompts = checked_prompts(connection, edit_id)
    forecast = forecasts = None
    try:
        if not layers_to_measure(connection, by, edit):
            forecasts = prompt_forecasts(connection, edit, by)
            forecast = forecast_report(connection, edit, by, SHOWN, forecasts)
    except NotFound:  # the run measured no prompt
        pass
    return EditPage(
        edit=report,
        effects=side_effect_report(connection, by, SHOWN) if prompts else None,
        damage=tuple(relation_damage(connection, by)) if prompts else (),
        forecast=forecast,
        foretold=foretold(connection, edit, by, prompts, forecasts)
        if forecast and prompts
        else None,
        selection=report.selection,
    )
