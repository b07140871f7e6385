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

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import duckdb
import numpy as np

from atlas.edits.edit import Edit
from atlas.errors import NotFound
from atlas.facts import FactColumns
from atlas.moments.activations import StoredActivations
from atlas.moments.stored import complete_layers, measured_count, read_activations
from atlas.selection.chosen import OfSelection, find_selection
from atlas.side_effects.scopes import FACTS_AND_THE_EDIT, CheckedBy
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


@dataclass(frozen=True)
class PromptForecast(FactColumns):
    """A prompt with stored activations, and what an edit is forecast to do to it."""

    prompt_id: int
    own: bool  # of the edit's fact or, without one, of its relation
    change: float
    forecast: float


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
    forecasts: Sequence[PromptForecast] | None = None,
) -> ForecastReport:
    """The report from the activations that the atlas holds of the edit's layers.

    forecasts: `prompt_forecasts` of the edit, where they are at hand.
    """
    found = forecasts or prompt_forecasts(connection, edit, by) or []
    own = [prompt.forecast for prompt in found if prompt.own]
    others = [prompt for prompt in found if not prompt.own]
    facts = _by_fact(others)
    of_facts, of_prompts = fetch_one(
        connection,
        f"""
        WITH {FACTS_AND_THE_EDIT}
        SELECT count(*), coalesce(sum(prompts), 0)::BIGINT
        FROM facts_and_the_edit
        WHERE NOT own
        """,
        _bound(by),
    )
    return ForecastReport(
        edit_id=by.edit_id,
        about=edit.about,
        run_id=by.run_id,
        model=by.model,
        layers=tuple(edit.changed_layers),
        facts=len(facts),
        of_facts=of_facts,
        prompts=len(others),
        of_prompts=of_prompts,
        own_prompts=len(own),
        own_forecast=float(np.mean(own)) if own else None,
        affected=tuple(facts[:limit]),
        selection=find_selection(connection, by.selection_id),
    )


def prompt_forecasts(
    connection: duckdb.DuckDBPyConnection, edit: Edit, by: CheckedBy
) -> list[PromptForecast] | None:
    """Every prompt with activations of all the edit's layers, by id; None if a layer has none."""
    try:
        stored = [_activations(connection, by.run_id, edit, at) for at in edit.changed_layers]
    except NotFound:
        return None
    changes = predicted_changes(edit, stored)
    rows = fetch(
        connection,
        _Asked,
        f"""
        WITH {FACTS_AND_THE_EDIT}
        SELECT f.relation_id,
               l.label AS relation,
               f.fact_id,
               f.subject,
               f.object,
               p.prompt_id,
               f.own,
               r.p_predicted
        FROM facts_and_the_edit AS f
        JOIN relations AS l USING (relation_id)
        JOIN prompts AS p USING (fact_id)
        JOIN prompt_results AS r USING (prompt_id)
        WHERE r.run_id = $run_id
          AND r.skipped_because IS NULL
          AND p.prompt_id IN (SELECT unnest($prompts))
        ORDER BY p.prompt_id
        """,
        {**_bound(by), "prompts": list(changes)},
    )
    return [
        PromptForecast(
            row.relation_id,
            row.relation,
            row.fact_id,
            row.subject,
            row.object,
            row.prompt_id,
            row.own,
            change=changes[row.prompt_id],
            forecast=changes[row.prompt_id] / lead(row.p_predicted or 0.0),
        )
        for row in rows
    ]


def predicted_changes(edit: Edit, stored: Sequence[StoredActivations]) -> dict[int, float]:
    """‖Σᵢ a_x,i δᵢ‖ by prompt; of several positions, where it is largest.

    stored: a layer's activations at a prompt's positions, of the edit's neurons there in its order.
    Prompts that a layer has not are left out.
    """
    rows = [
        dict(
            zip(
                _places(layer),
                layer.along(edit.deltas[edit.layers == layer.layer].astype(np.float64)),
                strict=True,
            )
        )
        for layer in stored
    ]
    found: dict[int, float] = {}
    for place in sorted(set(rows[0]).intersection(*rows[1:])):
        change = float(np.linalg.norm(sum(layer[place] for layer in rows)))
        found[place[0]] = max(change, found.get(place[0], 0.0))
    return found


def _places(layer: StoredActivations) -> list[tuple[int, int, int]]:
    """Prompt, token, and the how-manieth of the prompt's other positions, by row."""
    seen: Counter[tuple[int, int]] = Counter()
    places = []
    for prompt, token in zip(layer.prompt_ids.tolist(), layer.tokens.tolist(), strict=True):
        places.append((prompt, token, seen[prompt, token]))
        seen[prompt, token] += 1
    return places


def lead(p_top: float) -> float:
    """−ln(1 − P) in nats: what the top answer's P says of its lead over the others."""
    return float(-np.log1p(-min(max(p_top, LEAST_P), 1 - LEAST_DOUBT)))


@dataclass(frozen=True)
class _Asked(FactColumns):
    prompt_id: int
    own: bool
    p_predicted: float | None


def _bound(by: CheckedBy) -> dict[str, object]:
    return {"edit_id": by.edit_id, "run_id": by.run_id, "selection_id": by.selection_id}


def _activations(
    connection: duckdb.DuckDBPyConnection, run_id: str, edit: Edit, layer: int
) -> StoredActivations:
    neurons = edit.neurons[edit.layers == layer].tolist()
    stored = read_activations(connection, run_id, layer, neurons)
    (position,) = fetch_one(connection, "SELECT position FROM runs WHERE run_id = ?", [run_id])
    written_at = edit.settings.get("position") or position
    return stored.at_site if written_at == position else stored


def _by_fact(prompts: Sequence[PromptForecast]) -> list[ForecastFact]:
    """One row a fact, highest forecast first."""
    named = sorted(prompts, key=attrgetter("fact_id"))
    facts = []
    for _, group in groupby(named, key=attrgetter("fact_id")):
        own = list(group)
        forecasts = [prompt.forecast for prompt in own]
        first = own[0]
        facts.append(
            ForecastFact(
                first.relation_id,
                first.relation,
                first.fact_id,
                first.subject,
                first.object,
                prompts=len(own),
                forecast=float(np.mean(forecasts)),
                largest=max(forecasts),
                change=float(np.mean([prompt.change for prompt in own])),
            )
        )
    return sorted(facts, key=lambda fact: (-fact.forecast, fact.fact_id))
