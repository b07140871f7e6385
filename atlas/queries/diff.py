"""Two selections, of one run or of two, side by side."""

from dataclasses import dataclass

import duckdb

from atlas.answers import Answer
from atlas.facts import FactColumns
from atlas.selection.chosen import ChosenSelection, choose_selection
from atlas.store.rows import fetch, fetch_one

_COMPARED = (
    "model",
    "run_id",
    "preset",
    "ratio",
    "sharing",
    "comparison",
    "min_prompts",
    "known_only",
)


@dataclass(frozen=True)
class SettingDifference:
    """A property in which two selections differ."""

    name: str
    a: str | None
    b: str | None


@dataclass(frozen=True)
class FactDifference(FactColumns):
    """A fact whose knowledge neurons differ."""

    neurons_a: int
    neurons_b: int
    in_both: int
    jaccard: float  # in both / in either


@dataclass(frozen=True)
class SelectionDiff(Answer, rows="facts"):
    """How alike two selections are; `facts` are those whose sets differ, most first."""

    a: ChosenSelection
    b: ChosenSelection
    settings: tuple[SettingDifference, ...]
    compared: int  # facts that both are made from
    same: int  # of those, the ones with equal sets, empty ones included
    neurons_a: float | None  # knowledge neurons a fact, over the facts compared
    neurons_b: float | None
    jaccard: float | None  # mean over the facts compared that have a neuron in either
    jaccard_facts: int  # how many these are
    facts: tuple[FactDifference, ...]


def selection_diff(
    connection: duckdb.DuckDBPyConnection, a: str, b: str, limit: int | None = None
) -> SelectionDiff:
    """Compare two selections, or the selections of two runs, each by name or id.

    Raises NotFound for a name that leads to neither.
    """
    first, second = _chosen(connection, a), _chosen(connection, b)
    parameters = {
        "a": first.selection_id,
        "b": second.selection_id,
        "run_a": first.run_id,
        "run_b": second.run_id,
        "known_only_a": bool(first.known_only),
        "known_only_b": bool(second.known_only),
    }
    connection.execute(
        """
        CREATE OR REPLACE TEMPORARY TABLE compared_facts AS
        WITH measured AS (
            SELECT fact_id
            FROM all_fact_knowledge
            WHERE run_id = $run_a
              AND (known OR NOT $known_only_a)
            INTERSECT
            SELECT fact_id
            FROM all_fact_knowledge
            WHERE run_id = $run_b
              AND (known OR NOT $known_only_b)
        ),
        chosen AS (
            SELECT fact_id,
                   bool_or(selection_id = $a) AS in_a,
                   bool_or(selection_id = $b) AS in_b
            FROM knowledge_neurons
            WHERE selection_id IN ($a, $b)
            GROUP BY fact_id, layer, neuron
        )
        SELECT m.fact_id,
               count(*) FILTER (c.in_a) AS neurons_a,
               count(*) FILTER (c.in_b) AS neurons_b,
               count(*) FILTER (c.in_a AND c.in_b) AS in_both
        FROM measured AS m
        LEFT JOIN chosen AS c USING (fact_id)
        GROUP BY m.fact_id
        """,
        parameters,
    )
    compared, same, neurons_a, neurons_b, jaccard, jaccard_facts = fetch_one(
        connection,
        """
        SELECT count(*),
               count(*) FILTER (neurons_a = in_both AND neurons_b = in_both),
               avg(neurons_a),
               avg(neurons_b),
               avg(in_both / nullif(neurons_a + neurons_b - in_both, 0)),
               count(*) FILTER (neurons_a + neurons_b > 0)
        FROM compared_facts
        """,
    )
    facts = fetch(
        connection,
        FactDifference,
        """
        SELECT f.relation_id,
               r.label AS relation,
               f.fact_id,
               f.subject,
               f.object,
               c.neurons_a,
               c.neurons_b,
               c.in_both,
               c.in_both / (c.neurons_a + c.neurons_b - c.in_both) AS jaccard
        FROM compared_facts AS c
        JOIN facts AS f USING (fact_id)
        JOIN relations AS r USING (relation_id)
        WHERE c.neurons_a > c.in_both
           OR c.neurons_b > c.in_both
        ORDER BY jaccard, c.neurons_a + c.neurons_b DESC, f.relation_id, f.subject, f.fact_id
        LIMIT $limit
        """,
        {"limit": limit},
    )
    return SelectionDiff(
        a=first,
        b=second,
        settings=tuple(
            SettingDifference(name, _written(first, name), _written(second, name))
            for name in _COMPARED
            if getattr(first, name) != getattr(second, name)
        ),
        compared=compared,
        same=same,
        neurons_a=neurons_a,
        neurons_b=neurons_b,
        jaccard=jaccard,
        jaccard_facts=jaccard_facts,
        facts=tuple(facts),
    )


def _chosen(connection: duckdb.DuckDBPyConnection, wanted: str) -> ChosenSelection:
    """The selection so called, or else the one of the run so called."""
    runs = connection.execute(
        """
        SELECT run_id
        FROM runs
        WHERE starts_with(run_id, ?)
        """,
        [wanted],
    ).fetchall()
    if len(runs) == 1:
        return choose_selection(connection, None, str(runs[0][0]))
    return choose_selection(connection, wanted)


def _written(selection: ChosenSelection, name: str) -> str | None:
    value = getattr(selection, name)
    return None if value is None else str(value)
