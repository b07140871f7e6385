"""The pages on an edit: what it did, and what was foretold of that."""

from dataclasses import dataclass

import duckdb

from atlas.edits.report import EditReport, edit_report
from atlas.edits.stored import read_edits
from atlas.errors import NotFound
from atlas.selection.chosen import OfSelection, find_selection
from atlas.side_effects.by_relation import RelationDamage, relation_damage
from atlas.side_effects.forecast import (
    ForecastReport,
    forecast_report,
    layers_to_measure,
    prompt_forecasts,
)
from atlas.side_effects.foretold import Foretold, foretold
from atlas.side_effects.report import (
    FactEffect,
    SideEffectReport,
    checked_prompts,
    fact_effects,
    gather_effects,
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
class EditForecast(OfSelection, rows="worst"):
    """Who was forecast to suffer from an edit, against what was measured.

    It is a page of its own, for it reads thousands of activations.

    forecast: None where the atlas has no activations of the layers that it changes.
    """

    edit_id: int
    forecast: ForecastReport | None
    foretold: Foretold | None  # None likewise, or if it was checked on no other fact
    worst: tuple[FactEffect, ...]  # largest loss of log P first


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
    selection = find_selection(connection, edit.selection_id)
    try:
        by = checked_by(connection, edit_id)
        missing = layers_to_measure(connection, by, edit)
    except NotFound:  # of a model that the atlas has no run of, or one that measured no prompt
        missing = list(edit.changed_layers)
    if missing:
        return EditForecast(edit_id, None, None, (), selection=selection)
    forecasts = prompt_forecasts(connection, edit, by)
    prompts = checked_prompts(connection, edit_id)
    gather_effects(connection, edit_id)
    return EditForecast(
        edit_id=edit_id,
        forecast=forecast_report(connection, edit, by, SHOWN, forecasts),
        foretold=foretold(connection, edit, by, prompts, forecasts) if prompts else None,
        worst=tuple(fact_effects(connection)[:SHOWN]),
        selection=selection,
    )
