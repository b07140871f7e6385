"""The selections of an atlas: listing them, choosing the default, deleting one, making one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from atlas.errors import SettingsError
from atlas.selection.chosen import (
    ChosenSelection,
    choose_selection,
    default_selection,
    find_selection,
    known_as,
    labelled,
    reached_facts,
)
from atlas.selection.derived import discard
from atlas.selection.recorded import make_default
from atlas.selection.report import SelectionReport, selection_report
from atlas.selection.select import select
from atlas.selection.thresholds import Thresholds
from atlas.store.rows import fetch, fetch_one


@dataclass(frozen=True)
class SelectionSummary:
    """A selection with its thresholds and what it found."""

    name: str  # unique within the run
    is_default: bool  # what questions are about unless another is named
    selection_id: str
    run_id: str
    model: str
    preset: str  # paper | fixed | published
    ratio: float | None
    sharing: float | None  # where the preset starts
    comparison: str | None  # >= | >
    min_prompts: int | None
    frequency: float | None  # how often a neuron must be chosen; None: not asked
    templates: int | None  # go by so many prompts of a fact; None: all
    against: str | None  # answer, template: without neurons of these; None: with them
    known_only: bool | None  # of known facts alone; None: published
    relations: int
    facts: int  # selected from
    measured_facts: int | None  # with at least one measured prompt; None: published
    mean_neurons: float | None  # knowledge neurons per fact
    targets_missed: (
        int | None
    )  # relations outside the target of the preset `paper`; None: no target
    distinct_neurons: int
    created_at: datetime
    asked_at: datetime | None  # when it last became the default; None: it never was
    with_neurons: float | None  # share of its facts that have any
    null_of: str | None  # the selection with whose thresholds it looks at a null; None: a real one
    null_mean_neurons: float | None  # of its own null, facts with shuffled objects; None: no null
    null_with_neurons: float | None


@dataclass(frozen=True)
class DefaultSelection:
    """Which selection is the default now, and what was before.

    previous: finds the one before again, a name or an id; None if there was none, or it is the
    same. `distinct_neurons` of 0 means that questions have nothing to show.
    """

    now: ChosenSelection
    previous: str | None
    distinct_neurons: int


@dataclass(frozen=True)
class MadeSelection:
    """What selecting came to.

    default: which selection is the default now; this one, unless that was not wanted or it has no
    neuron.
    renamed: what it was called until now; None if it is new or keeps its name. Equal thresholds of
    a run are one selection, which has one name.
    """

    selection: SelectionReport
    default: DefaultSelection
    renamed: str | None = None


def selections(connection: duckdb.DuckDBPyConnection) -> list[SelectionSummary]:
    """All of them, the default first, then those that were the default last."""
    return fetch(
        connection,
        SelectionSummary,
        f"""
        WITH reached AS (
            {reached_facts()}
        ),
        chosen AS (
            SELECT selection_id,
                   count(*) AS pairs,
                   count(DISTINCT (layer, neuron)) AS distinct_neurons,
                   count(DISTINCT fact_id) AS facts
            FROM knowledge_neurons
            GROUP BY selection_id
        ),
        found AS (
            SELECT s.selection_id,
                   s.null_of,
                   coalesce(r.relations, 0) AS relations,
                   coalesce(r.facts, 0) AS facts,
                   coalesce(c.distinct_neurons, 0) AS distinct_neurons,
                   r.measured_facts,
                   r.targets_missed,
                   coalesce(c.pairs, 0) / nullif(r.facts, 0) AS mean_neurons,
                   coalesce(c.facts, 0) / nullif(r.facts, 0) AS with_neurons
            FROM selections AS s
            LEFT JOIN reached AS r USING (selection_id)
            LEFT JOIN chosen AS c USING (selection_id)
        ),
        nulls AS (
            SELECT n.null_of AS selection_id,
                   arg_max(n.mean_neurons, s.created_at) AS mean_neurons,
                   arg_max(n.with_neurons, s.created_at) AS with_neurons
            FROM found AS n
            JOIN selections AS s USING (selection_id)
            WHERE n.null_of IS NOT NULL
              AND n.facts > 0
            GROUP BY n.null_of
        )
        SELECT s.name,
               s.selection_id = (SELECT selection_id FROM default_selection) AS is_default,
               s.selection_id,
               s.run_id,
               m.name AS model,
               s.preset,
               s.ratio,
               s.sharing,
               s.comparison,
               s.min_prompts,
               (s.settings ->> 'frequency')::DOUBLE AS frequency,
               (s.settings ->> 'templates')::INTEGER AS templates,
               s.settings ->> 'against' AS against,
               s.known_only,
               f.relations,
               f.facts,
               f.measured_facts,
               f.mean_neurons,
               CASE WHEN s.preset = 'paper' AND s.null_of IS NULL THEN f.targets_missed END
                   AS targets_missed,
               f.distinct_neurons,
               s.created_at,
               s.asked_at,
               f.with_neurons,
               s.null_of,
               n.mean_neurons AS null_mean_neurons,
               n.with_neurons AS null_with_neurons
        FROM selections AS s
        JOIN runs AS r USING (run_id)
        JOIN models AS m USING (model_id)
        JOIN found AS f ON f.selection_id = s.selection_id
        LEFT JOIN nulls AS n ON n.selection_id = s.selection_id
        ORDER BY s.null_of IS NOT NULL,
                 s.asked_at DESC NULLS LAST,
                 s.created_at DESC,
                 s.selection_id
        """,
    )


def make_selection(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    thresholds: Thresholds,
    relations: Sequence[str] | None = None,
    *,
    name: str | None = None,
    make_default: bool = True,
) -> MadeSelection:
    """`select`, with what it found and what became of the default."""
    before = default_selection(connection)
    held = find_selection(connection, thresholds.selection_id(run_id))
    selection_id = select(
        connection, run_id, thresholds, relations, name=name, make_default=make_default
    )
    made = selection_report(connection, selection_id).of(choose_selection(connection, selection_id))
    renamed = held.name if held is not None and held.name != made.name else None
    return MadeSelection(made, default_since(connection, before), renamed)


def use_selection(
    connection: duckdb.DuckDBPyConnection, wanted: str, run_id: str | None = None
) -> DefaultSelection:
    """Make the selection the default, also an empty one; found as `choose_selection` finds it."""
    before = default_selection(connection)
    chosen = choose_selection(connection, wanted, run_id)
    if chosen.null_of is not None:
        raise SettingsError(
            f"selection {labelled(chosen)} is of a null, facts with shuffled objects: it cannot be "
            "the default; name it where you ask about it"
        )
    make_default(connection, chosen.selection_id)
    return default_since(connection, before)


def delete_selection(
    connection: duckdb.DuckDBPyConnection, wanted: str, run_id: str | None = None
) -> ChosenSelection:
    """Delete the selection with all that is derived from it; returns what it was.

    Edits that were made from it stay, and so does what they did; what its thresholds found in a
    null goes. Raises NotFound, and SettingsError
    for the default selection.
    """
    selection = choose_selection(connection, wanted, run_id)
    if selection.is_default:
        others = [
            s.selection_id for s in selections(connection) if not s.is_default and s.null_of is None
        ]
        raise SettingsError(
            f"selection {labelled(selection)} is the default: make another the default first, "
            + _way_out(connection, others)
        )
    nulls = [
        s.selection_id
        for s in selections(connection)
        if s.null_of is not None and s.null_of == selection.selection_id
    ]
    for gone in (*nulls, selection.selection_id):
        discard(connection, gone)
        connection.execute(
            """
            DELETE FROM selections
            WHERE selection_id = $selection_id
            """,
            {"selection_id": gone},
        )
    return selection


def default_since(
    connection: duckdb.DuckDBPyConnection, before: ChosenSelection | None
) -> DefaultSelection:
    """Which selection is the default now, of which `before` was the default before."""
    now = choose_selection(connection)
    other = before is not None and before.selection_id != now.selection_id
    return DefaultSelection(
        now=now,
        previous=known_as(connection, before) if before is not None and other else None,
        distinct_neurons=distinct_neurons(connection, now.selection_id),
    )


def _way_out(connection: duckdb.DuckDBPyConnection, others: Sequence[str]) -> str:
    """What else may be the default: one of these selections, or a new one."""
    found = find_selection(connection, others[0]) if others else None
    if found is None:
        return "with `atlas select`, for there is none"
    return f"for example {known_as(connection, found)}"


def distinct_neurons(connection: duckdb.DuckDBPyConnection, selection_id: str) -> int:
    """How many different knowledge neurons the selection has."""
    (neurons,) = fetch_one(
        connection,
        """
        SELECT count(DISTINCT (layer, neuron))
        FROM knowledge_neurons
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    )
    return int(neurons)
