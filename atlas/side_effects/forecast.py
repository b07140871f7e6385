"""Who will suffer from an edit, from stored numbers alone: nothing is applied, no model is asked.

Deltas δᵢ move the residual stream of prompt x by Σᵢ a_x,i δᵢ, exactly so in an edited layer at a
position where the activations a_x were measured: where the run measured neurons or, for an edit
written at another position, wherever there are any and the change is largest. What that may do
depends on how sure the model is:

    forecast(x) = ‖Σᵢ a_x,i δᵢ‖ / −ln(1 − P(top answer of x))

The denominator bounds, from what the run stored, how many nats the top answer leads any other by:
its lead over all others together is ln P − ln(1 − P), which is at least what any single one is
behind where P is large, and −ln(1 − P) is nearly that and never negative. An edit of one direction,
δ = u tᵀ, has the same formula: ‖Σᵢ a_x,i δᵢ‖ = |a_x·u| ‖t‖. Layers' changes are added as vectors.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from atlas.edits.edit import Edit
from atlas.errors import NotFound
from atlas.facts import FactColumns
from atlas.moments.activations import StoredActivations
from atlas.moments.stored import complete_layers, measured_count, read_activations
from atlas.selection.chosen import OfSelection, find_selection
from atlas.side_effects.scopes import CheckedBy, relate_facts
from atlas.store.rows import fetch, fetch_one

LEAST_DOUBT = 2.0**-24  # of 1 − P: float32 holds no P between 1 and this
LEAST_P = 1e-6  # of the top answer


@dataclass(frozen=True)
class ForecastFact(FactColumns):
    """What an edit is forecast to do to a fact, over its prompts with stored activations."""

    prompts: int
    forecast: float  # mean over prompts of change per nat that the top answer leads by
    largest: float  # of a prompt
    change: float  # mean length of the residual stream's change


@dataclass(frozen=True)
class ForecastReport(OfSelection, rows="affected"):
    """Who is forecast to suffer from an edit; `affected` has the edit's own facts not.

    Forecasts compare facts within an edit; that of the edit's own prompts says how large one is
    where the top answer is meant to change.
    """

    edit_id: int
    about: str  # what the edit is of, in a few words
    run_id: str  # whose prompts and probabilities
    model: str
    layers: tuple[int, ...]  # that the edit changes
    facts: int  # other facts looked at: those with a prompt whose activations are stored
    of_facts: int  # that the run has measured
    prompts: int  # of other facts, looked at
    of_prompts: int
    own_prompts: int  # of the edit's fact or relation, looked at
    own_forecast: float | None  # mean over them; None: no activations of them are stored
    affected: tuple[ForecastFact, ...]  # highest forecast first; at most the limit


@dataclass(frozen=True, eq=False)
class PromptForecasts:
    """What an edit is forecast to do to the prompts with stored activations; axes are `prompt`.

    They come by id, a column each: there are thousands, and most are only counted.
    """

    prompt_ids: NDArray[np.int64]
    fact_ids: NDArray[np.object_]
    own: NDArray[np.bool_]  # of the edit's fact or, without one, of its relation
    change: NDArray[np.float64]
    forecast: NDArray[np.float64]

    def where(self, own: bool) -> "PromptForecasts":
        """The edit's own prompts, or those of others."""
        rows = self.own == own
        return PromptForecasts(*(column[rows] for column in vars(self).values()))


def layers_to_measure(
    connection: duckdb.DuckDBPyConnection, by: CheckedBy, edit: Edit
) -> list[int]:
    """The edit's layers whose activations are missing or outdated, ascending.

    Raises NotFound for a run that measured no prompt: there is nothing to forecast from.
    """
    if not measured_count(connection, by.run_id):
        raise NotFound(
            f"run {by.run_id} has measured no prompt (it was imported, or only begun), so nobody's "
            f"share in {edit.label} can be forecast: index the model first"
        )
    known = complete_layers(connection, by.run_id)
    return [layer for layer in edit.changed_layers if layer not in known]


def forecast_report(
    connection: duckdb.DuckDBPyConnection,
    edit: Edit,
    by: CheckedBy,
    limit: int | None = None,
    forecasts: PromptForecasts | None = None,
) -> ForecastReport:
    """The report from the activations that the atlas holds of the edit's layers.

    forecasts: `prompt_forecasts` of the edit by this connection, where they are at hand.
    """
    found = forecasts or prompt_forecasts(connection, edit, by)
    own, others = (None, None) if found is None else (found.where(True), found.where(False))
    facts, affected = (0, []) if others is None else forecast_facts(connection, others, limit)
    of_facts, of_prompts = fetch_one(
        connection,
        """
        SELECT count(*), coalesce(sum(prompts), 0)::BIGINT
        FROM facts_and_the_edit
        WHERE NOT own
        """,
    )
    return ForecastReport(
        edit_id=by.edit_id,
        about=edit.about,
        run_id=by.run_id,
        model=by.model,
        layers=tuple(edit.changed_layers),
        facts=facts,
        of_facts=of_facts,
        prompts=0 if others is None else len(others.own),
        of_prompts=of_prompts,
        own_prompts=0 if own is None else len(own.own),
        own_forecast=None if own is None or not len(own.own) else float(own.forecast.mean()),
        affected=tuple(affected),
        selection=find_selection(connection, by.selection_id),
    )


def prompt_forecasts(
    connection: duckdb.DuckDBPyConnection, edit: Edit, by: CheckedBy
) -> PromptForecasts | None:
    """Every prompt with activations of all the edit's layers; None if a layer has none.

    It leaves the table of `relate_facts` behind.
    """
    relate_facts(connection, by)
    return forecasts_of(connection, edit, by.run_id)


def forecasts_of(
    connection: duckdb.DuckDBPyConnection, edit: Edit, run_id: str
) -> PromptForecasts | None:
    """The same of any edit of a run's model, where the table facts_and_the_edit is made."""
    try:
        stored = [_activations(connection, run_id, edit, at) for at in edit.changed_layers]
    except NotFound:
        return None
    prompts, changes = predicted_changes(edit, stored)
    found: dict[str, Any] = connection.execute(
        """
        SELECT p.prompt_id,
               f.fact_id,
               f.own,
               coalesce(r.p_predicted, 0)::DOUBLE AS p_predicted
        FROM facts_and_the_edit AS f
        JOIN prompts AS p USING (fact_id)
        JOIN prompt_results AS r USING (prompt_id)
        SEMI JOIN (
            FROM prompt_activations
            WHERE run_id = $run_id
              AND layer = $layer
        ) AS a ON a.prompt_id = p.prompt_id
        WHERE r.run_id = $run_id
          AND r.skipped_because IS NULL
        ORDER BY p.prompt_id
        """,
        {"run_id": run_id, "layer": edit.changed_layers[0]},
    ).fetchnumpy()
    there = np.isin(found["prompt_id"], prompts)
    found = {name: column[there] for name, column in found.items()}
    change = changes[np.searchsorted(prompts, found["prompt_id"])]
    forecast = change / lead(found["p_predicted"])
    return PromptForecasts(found["prompt_id"], found["fact_id"], found["own"], change, forecast)


def predicted_changes(
    edit: Edit, stored: Sequence[StoredActivations]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Prompts, ascending, and ‖Σᵢ a_x,i δᵢ‖ of each; of several positions, where it is largest.

    stored: a layer's activations at a prompt's positions, of the edit's neurons there in its order.
    Prompts that a layer has not are left out.
    """
    moved = [
        layer.along(edit.deltas[edit.layers == layer.layer].astype(np.float64)) for layer in stored
    ]
    prompts = stored[0].prompt_ids
    if len(stored) > 1:
        places = [_places(layer) for layer in stored]
        common = sorted(set(places[0]).intersection(*places[1:]))
        prompts = np.array([prompt for prompt, *_ in common], np.int64)
        rows = [[at[place] for place in common] for at in places]
        moved = [there[at] for there, at in zip(moved, rows, strict=True)]
    total = functools.reduce(np.add, moved)
    changes = np.sqrt(np.einsum("rd,rd->r", total, total))
    ids, of = np.unique(prompts, return_inverse=True)
    largest = np.zeros(len(ids))
    np.maximum.at(largest, of, changes)
    return ids, largest


def _places(layer: StoredActivations) -> dict[tuple[int, int, int], int]:
    """Rows by prompt, token, and the how-manieth of the prompt's other positions."""
    seen: Counter[tuple[int, int]] = Counter()
    places = {}
    at = zip(layer.prompt_ids.tolist(), layer.tokens.tolist(), strict=True)
    for row, (prompt, token) in enumerate(at):
        places[prompt, token, seen[prompt, token]] = row
        seen[prompt, token] += 1
    return places


def lead(p_top: NDArray[np.float64]) -> NDArray[np.float64]:
    """−ln(1 − P) in nats: what the top answer's P says of its lead over the others."""
    leads: NDArray[np.float64] = -np.log1p(-np.clip(p_top, LEAST_P, 1 - LEAST_DOUBT))
    return leads


def _activations(
    connection: duckdb.DuckDBPyConnection, run_id: str, edit: Edit, layer: int
) -> StoredActivations:
    neurons = edit.neurons[edit.layers == layer].tolist()
    (position,) = fetch_one(connection, "SELECT position FROM runs WHERE run_id = ?", [run_id])
    at_site = edit.settings.get("position", position) in (None, position)
    return read_activations(connection, run_id, layer, neurons, at_site=at_site)


def by_fact(fact_ids: NDArray[np.object_]) -> tuple[list[str], NDArray[np.int64]]:
    """The different facts, ascending, and the place among them of each that is given.

    As `np.unique` tells it, which sorts all of them and not the different ones alone.
    """
    given = fact_ids.tolist()
    facts = sorted(set(given))
    place = {fact_id: i for i, fact_id in enumerate(facts)}
    return facts, np.array([place[fact_id] for fact_id in given], np.int64)


def forecast_facts(
    connection: duckdb.DuckDBPyConnection, prompts: PromptForecasts, limit: int | None
) -> tuple[int, list[ForecastFact]]:
    """How many facts the prompts are of, and those of the highest forecast, at most the limit."""
    facts, of = by_fact(prompts.fact_ids)
    counts = np.bincount(of)
    forecast, change = (np.bincount(of, x) / counts for x in (prompts.forecast, prompts.change))
    largest = np.zeros(len(facts))
    np.maximum.at(largest, of, prompts.forecast)
    shown = np.lexsort((np.arange(len(facts)), -forecast))[:limit]
    named = {
        fact.fact_id: fact
        for fact in fetch(
            connection,
            FactColumns,
            """
            SELECT f.relation_id, r.label AS relation, f.fact_id, f.subject, f.object
            FROM facts AS f
            JOIN relations AS r USING (relation_id)
            WHERE f.fact_id IN (SELECT unnest($facts))
            """,
            {"facts": [facts[i] for i in shown]},
        )
    }
    return len(facts), [
        ForecastFact(
            **vars(named[facts[i]]),
            prompts=int(counts[i]),
            forecast=float(forecast[i]),
            largest=float(largest[i]),
            change=float(change[i]),
        )
        for i in shown
    ]
