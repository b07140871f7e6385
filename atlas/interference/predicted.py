"""How much a set of neurons matters to every fact, predicted from the stored scores.

A fact's *score mass* is the sum of its prompts' positive scores: what speaks for its answer. How
much a set of neurons is predicted to interfere with fact G is the share of G's mass that lies on
them:

    predicted(F -> G) = mass of G on F's knowledge neurons / mass of G

It has a direction: F's neurons may be all of G's while G's are few of F's. A fact's interference on
itself is the share of its mass that its own knowledge neurons hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from atlas.errors import NoScores
from atlas.facts import FactColumns
from atlas.interference.changes import predicted_changes
from atlas.queries.named_facts import NamedFact, one_fact
from atlas.selection.chosen import ChosenSelection, OfSelection, null_selection
from atlas.selection.masses import of_stored_mass
from atlas.store.rows import fetch, fetch_one

# What is asked about, and every fact with mass on it, a row each.
_HIT = """asked AS (
            SELECT DISTINCT
                   unnest($layers)::SMALLINT AS layer,
                   unnest($neurons)::INTEGER AS neuron
        ),
        hit AS MATERIALIZED (
            SELECT m.fact_id,
                   sum(m.share::DOUBLE) AS predicted,
                   count(*) AS neurons
            FROM fact_masses AS m
            JOIN asked USING (layer, neuron)
            WHERE m.run_id = $run_id
              AND m.neuron IN $neurons  -- before the join, which takes longer by far
            GROUP BY m.fact_id
        )"""


@dataclass(frozen=True)
class Interference(FactColumns):
    """What suppressing or editing some neurons is predicted to do to one fact."""

    predicted: float  # share of the fact's score mass on those neurons, 0 to 1
    neurons: int  # of those neurons, the ones that carry mass of the fact
    predicted_change: float | None = None  # of log P(answer), from signed scores; None: not asked


@dataclass(frozen=True)
class InterferenceReport(OfSelection, rows="affected"):
    """What suppressing a fact's knowledge neurons is predicted to do to the other facts."""

    fact: NamedFact
    neurons: tuple[tuple[int, int], ...]  # (layer, index) of the fact's knowledge neurons
    on_itself: float | None  # share of its own mass that they hold; None: it has no mass
    facts: int  # other facts with mass on them
    null_on_itself: float | None  # the same of this fact with a shuffled object; None: no null
    null_facts: int | None
    affected: tuple[Interference, ...]  # those, most affected first; at most the limit
    of_stored_mass: bool  # shares are of the stored mass: the run kept no totals when it measured


def interference_report(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    wanted: str,
    limit: int | None = None,
) -> InterferenceReport:
    """What the fact named does to the others, by the neurons that the selection chose for it.

    Raises NoScores, and what `one_fact` raises.
    """
    require_scores(connection, selection.run_id)
    return interference_of(connection, selection, one_fact(connection, wanted), limit)


def interference_of(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    fact: NamedFact,
    limit: int | None = None,
) -> InterferenceReport:
    """What this fact does to the others, of a run that has scores."""
    neurons = _neurons_of(connection, selection.selection_id, fact.fact_id)
    others, facts, on_itself = _others(connection, selection.run_id, fact.fact_id, neurons, limit)
    null_facts, null_on_itself = _null_reach(connection, selection, fact.fact_id)
    affected = _with_changes(connection, selection.run_id, neurons, others)
    return InterferenceReport(
        fact=fact,
        neurons=tuple(neurons),
        on_itself=on_itself,
        facts=facts,
        null_on_itself=null_on_itself,
        null_facts=null_facts,
        affected=tuple(affected),
        of_stored_mass=of_stored_mass(connection, selection.run_id),
    )


def _neurons_of(
    connection: duckdb.DuckDBPyConnection, selection_id: str, fact_id: str
) -> list[tuple[int, int]]:
    rows = connection.execute(
        """
        SELECT layer, neuron
        FROM knowledge_neurons
        WHERE selection_id = $selection_id
          AND fact_id = $fact_id
        ORDER BY mean_score DESC, layer, neuron
        """,
        {"selection_id": selection_id, "fact_id": fact_id},
    ).fetchall()
    return [(int(layer), int(neuron)) for layer, neuron in rows]


def _others(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    fact_id: str,
    neurons: Sequence[tuple[int, int]],
    limit: int | None,
) -> tuple[list[Interference], int, float | None]:
    """The facts most affected but the fact itself, and its `_reach`, by one pass of the masses."""
    rows = connection.execute(
        f"""
        WITH {_HIT}
        SELECT f.relation_id,
               r.label AS relation,
               f.fact_id,
               f.subject,
               f.object,
               h.predicted,
               h.neurons,
               (SELECT count(*) FROM hit WHERE fact_id <> $fact_id) AS others,
               (SELECT predicted FROM hit WHERE fact_id = $fact_id) AS on_itself
        FROM hit AS h
        JOIN facts AS f USING (fact_id)
        JOIN relations AS r USING (relation_id)
        ORDER BY h.predicted DESC, f.relation_id, f.subject, f.fact_id
        LIMIT $limit
        """,
        {
            "run_id": run_id,
            "fact_id": fact_id,
            **_lists(neurons),
            # One row more, for the fact itself may be among the first.
            "limit": None if limit is None else limit + 1,
        },
    ).fetchall()
    if not rows or rows[0][-1] is None:
        facts, on_itself = _reach(connection, run_id, fact_id, neurons)
    else:
        facts, on_itself = rows[0][-2:]
    found = [Interference(*row[:-2]) for row in rows]
    return [row for row in found if row.fact_id != fact_id][:limit], facts, on_itself


def _reach(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    fact_id: str,
    neurons: Sequence[tuple[int, int]],
) -> tuple[int, float | None]:
    """How many other facts have mass on the neurons, and the share of the fact's own mass there."""
    facts, on_itself, has_mass = fetch_one(
        connection,
        f"""
        WITH {_HIT}
        SELECT count(*) FILTER (WHERE fact_id <> $fact_id),
               coalesce(sum(predicted) FILTER (WHERE fact_id = $fact_id), 0),
               EXISTS (FROM fact_masses WHERE run_id = $run_id AND fact_id = $fact_id)
        FROM hit
        """,
        {"run_id": run_id, "fact_id": fact_id, **_lists(neurons)},
    )
    return facts, on_itself if has_mass else None


def _null_reach(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, fact_id: str
) -> tuple[int | None, float | None]:
    """`_reach` of the same subject with a shuffled object among the null's facts."""
    null = null_selection(connection, selection.selection_id)
    if null is None:
        return None, None
    found = connection.execute(
        """
        SELECT f.fact_id
        FROM facts AS f
        SEMI JOIN fact_masses AS m
          ON m.fact_id = f.fact_id
         AND m.run_id = $run_id
        WHERE f.null_of = $fact_id
        """,
        {"run_id": null.run_id, "fact_id": fact_id},
    ).fetchone()
    if found is None:
        return None, None
    neurons = _neurons_of(connection, null.selection_id, found[0])
    return _reach(connection, null.run_id, found[0], neurons)


def predicted_interference(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    neurons: Sequence[tuple[int, int]],
    *,
    limit: int | None = None,
    zeros: bool = False,
) -> list[Interference]:
    """Every fact with mass on the neurons (layer, index), the most affected first.

    With `zeros`, facts that have mass but none on these neurons follow; facts without mass, and
    those of relations that no selection has reached, have no row. Raises NoScores if the run has
    no scores at all.
    """
    require_scores(connection, run_id)
    return fetch(
        connection,
        Interference,
        f"""
        WITH {_HIT},
        shown AS (
            FROM hit
            UNION ALL
            SELECT DISTINCT m.fact_id, 0, 0
            FROM fact_masses AS m
            WHERE $zeros
              AND m.run_id = $run_id
              AND m.fact_id NOT IN (
                  SELECT o.fact_id
                  FROM fact_masses AS o
                  JOIN asked USING (layer, neuron)
                  WHERE o.run_id = $run_id
              )
        )
        SELECT f.relation_id,
               r.label AS relation,
               f.fact_id,
               f.subject,
               f.object,
               h.predicted,
               h.neurons
        FROM shown AS h
        JOIN facts AS f USING (fact_id)
        JOIN relations AS r USING (relation_id)
        ORDER BY h.predicted DESC, f.relation_id, f.subject, f.fact_id
        LIMIT $limit
        """,
        {
            "run_id": run_id,
            **_lists(neurons),
            "zeros": zeros,
            "limit": limit,
        },
    )


def _with_changes(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    neurons: Sequence[tuple[int, int]],
    facts: Sequence[Interference],
) -> list[Interference]:
    changes = predicted_changes(connection, run_id, neurons, [fact.fact_id for fact in facts])
    return [replace(fact, predicted_change=changes[fact.fact_id]) for fact in facts]


def require_scores(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Raise NoScores unless the run has stored scores."""
    (scored,) = fetch_one(
        connection,
        """
        SELECT EXISTS (
            FROM fact_masses
            WHERE run_id = $run_id
        )
        """,
        {"run_id": run_id},
    )
    if not scored:
        raise NoScores(
            f"run {run_id} has no scores, so interference cannot be predicted: ask a run that "
            "`atlas index` made, or for shared neurons and neighbours, which need none",
            parameters=["run"],
        )


def _lists(neurons: Sequence[tuple[int, int]]) -> dict[str, list[int]]:
    return {
        "layers": [layer for layer, _ in neurons],
        "neurons": [neuron for _, neuron in neurons],
    }
