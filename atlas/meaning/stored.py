"""What neurons write and what their facts have in common: stored once, read without a model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np

from atlas.meaning.associations import Drawn, false_discovery_rates, over_represented
from atlas.store import bulk
from atlas.store.rows import fetch, fetch_one

SIGNIFICANT = 0.05  # largest q that is stored
ASPECTS = ("relation", "subject", "object")


@dataclass(frozen=True)
class Meaning:
    """A row of `neuron_meanings`: a token that the neuron raises or lowers.

    The table is of a positive activation; answers turn it round (`turned`) where the activation
    is negative, so that what they call raised is what the active neuron raises.
    """

    side: str  # top | bottom
    position: int  # 1 = furthest
    token: str
    logit: float  # what one unit of activation adds to the token's logit, above the mean token's


@dataclass(frozen=True)
class Association:
    """A relation, subject or object that a neuron's facts have more often than chance."""

    aspect: str  # relation | subject | object
    value: str
    label: str | None  # of a relation
    facts: int  # of the neuron's facts, those with this value
    expected: float  # if its facts were drawn at random from the selection's
    p_value: float  # hypergeometric, one-sided
    q_value: float  # Benjamini-Hochberg over all neurons and values of the aspect


@dataclass(frozen=True)
class AskedPrompt:
    """A measured prompt, to be asked again of the model."""

    text: str
    object: str


def stored_meaning(
    connection: duckdb.DuckDBPyConnection, run_id: str, layer: int, neuron: int
) -> list[Meaning]:
    """The tokens stored of the run's model, the furthest first; none if nobody ever looked."""
    return fetch(
        connection,
        Meaning,
        """
        SELECT n.side, n.position, n.token, n.logit
        FROM neuron_meanings AS n
        JOIN runs AS r
          ON r.model_id = n.model_id
         AND r.model_identity IS NOT DISTINCT FROM n.model_identity
        WHERE r.run_id = ?
          AND n.layer = ?
          AND n.neuron = ?
        ORDER BY n.side DESC, n.position
        """,
        [run_id, layer, neuron],
    )


def record_meaning(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    layer: int,
    neuron: int,
    tokens: Sequence[Meaning],
    activation: float,
) -> None:
    """Put a neuron's tokens, of the run's model, in the place of what was there.

    tokens: of a positive activation; activation: its mean where the model was asked.
    """
    model = fetch_one(
        connection,
        """
        SELECT any_value(model_id), any_value(model_identity)
        FROM runs
        WHERE run_id = ?
        """,
        [run_id],
    )
    connection.execute(
        """
        DELETE FROM neuron_meanings
        WHERE model_id = ?
          AND layer = ?
          AND neuron = ?
        """,
        [model[0], layer, neuron],
    )
    names = ["model_id", "model_identity", "layer", "neuron", "activation"]
    names += ["side", "position", "token", "logit"]
    rows = [
        [*model, layer, neuron, activation, t.side, t.position, t.token, t.logit] for t in tokens
    ]
    bulk.insert(connection, "neuron_meanings", bulk.as_columns(names, rows))


def turned(tokens: Sequence[Meaning], activation: float) -> tuple[Meaning, ...]:
    """Tokens of a positive activation as one of this sign raises and lowers them, raised first."""
    if activation >= 0:
        return tuple(tokens)
    other = {"top": "bottom", "bottom": "top"}
    swapped = (replace(t, side=other[t.side], logit=-t.logit) for t in tokens)
    return tuple(sorted(swapped, key=lambda t: (t.side != "top", t.position)))


def mean_activation(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    selection_id: str,
    layer: int,
    neuron: int,
) -> float | None:
    """A neuron's mean activation at the prompts of its facts, as far as their scores are stored.

    Without facts, at all prompts with a stored score of it; without those, where the model was
    asked what it writes; None where nobody looked.
    """
    (mean,) = fetch_one(
        connection,
        """
        WITH own AS (
            SELECT a.activation, k.fact_id IS NOT NULL AS of_its_facts
            FROM attributions AS a
            JOIN prompts AS p USING (prompt_id)
            LEFT JOIN knowledge_neurons AS k
              ON k.selection_id = $selection_id
             AND k.fact_id = p.fact_id
             AND k.layer = a.layer
             AND k.neuron = a.neuron
            WHERE a.run_id = $run_id
              AND a.layer = $layer
              AND a.neuron = $neuron
        )
        SELECT coalesce(
            (SELECT avg(activation) FROM own WHERE of_its_facts),
            (SELECT avg(activation) FROM own),
            (SELECT any_value(n.activation)
             FROM neuron_meanings AS n
             JOIN runs AS r
               ON r.model_id = n.model_id
              AND r.model_identity IS NOT DISTINCT FROM n.model_identity
             WHERE r.run_id = $run_id
               AND n.layer = $layer
               AND n.neuron = $neuron)
        )
        """,
        {"run_id": run_id, "selection_id": selection_id, "layer": layer, "neuron": neuron},
    )
    return None if mean is None else float(mean)


def prompts_to_linearise_at(
    connection: duckdb.DuckDBPyConnection, run_id: str, layer: int, neuron: int, limit: int
) -> list[AskedPrompt]:
    """For each answer the prompt that excites the neuron most, the most exciting first.

    Only one an answer, because what a head makes of a direction depends on where it stands. Answers
    without a stored activation follow, so that every neuron finds prompts. Activations far below 0
    excite too: those of gated FFNs are products.
    """
    return fetch(
        connection,
        AskedPrompt,
        """
        WITH own AS (
            SELECT p.text, f.object, a.activation, m.prompt_id
            FROM prompt_results AS m
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            LEFT JOIN attributions AS a
              ON a.run_id = m.run_id
             AND a.prompt_id = m.prompt_id
             AND a.layer = $layer
             AND a.neuron = $neuron
            WHERE m.run_id = $run_id
              AND m.skipped_because IS NULL
        )
        SELECT text, object
        FROM own
        QUALIFY row_number() OVER (
            PARTITION BY object
            ORDER BY abs(activation) DESC NULLS LAST, prompt_id
        ) = 1
        ORDER BY abs(activation) DESC NULLS LAST, prompt_id
        LIMIT $limit
        """,
        {"run_id": run_id, "layer": layer, "neuron": neuron, "limit": limit},
    )


def has_associations(connection: duckdb.DuckDBPyConnection, selection_id: str) -> bool:
    """Whether the selection's associations are computed, be it that none is significant."""
    (found,) = fetch_one(
        connection,
        """
        SELECT coalesce(bool_or(associated), FALSE)
        FROM selections
        WHERE selection_id = ?
        """,
        [selection_id],
    )
    return bool(found)


def record_associations(connection: duckdb.DuckDBPyConnection, selection_id: str) -> None:
    """Test every neuron of a selection against every value, and store what is significant.

    The facts drawn from are those with a measured prompt, whether or not they have a neuron; of
    published neurons, those with a neuron.
    """
    _record(connection, selection_id, "neuron_associations")
    connection.execute(
        """
        UPDATE selections
        SET associated = TRUE
        WHERE selection_id = ?
        """,
        [selection_id],
    )


def _record(connection: duckdb.DuckDBPyConnection, selection_id: str, table: str) -> None:
    connection.execute(f"DELETE FROM {table} WHERE selection_id = ?", [selection_id])
    for aspect in ASPECTS:
        columns = _significant(connection, selection_id, aspect)
        if columns["layer"]:
            bulk.insert(connection, table, columns)


def associations_of(
    connection: duckdb.DuckDBPyConnection, selection_id: str, layer: int, neuron: int
) -> list[Association]:
    """A neuron's significant associations, the surest first within each aspect.

    They are those stored; of a selection whose associations are not, computed now and forgotten.
    """
    table = "neuron_associations"
    if not has_associations(connection, selection_id):
        table = "unstored_associations"  # also a read-only file takes temporary tables
        connection.execute(
            f"""
            CREATE OR REPLACE TEMPORARY TABLE {table} AS
            FROM neuron_associations
            LIMIT 0
            """
        )
        _record(connection, selection_id, table)
    return fetch(
        connection,
        Association,
        f"""
        SELECT a.aspect, a.value, r.label, a.facts, a.expected, a.p_value, a.q_value
        FROM {table} AS a
        LEFT JOIN relations AS r
          ON a.aspect = 'relation'
         AND r.relation_id = a.value
        WHERE a.selection_id = ?
          AND a.layer = ?
          AND a.neuron = ?
        ORDER BY list_position(['relation', 'subject', 'object'], a.aspect),
                 a.q_value, a.facts DESC, a.value
        """,
        [selection_id, layer, neuron],
    )


def _significant(
    connection: duckdb.DuckDBPyConnection, selection_id: str, aspect: str
) -> dict[str, list[Any]]:
    column = {"relation": "relation_id", "subject": "subject", "object": "object"}[aspect]
    found = connection.execute(
        f"""
        WITH covered AS (
            SELECT f.fact_id, f.{column} AS value
            FROM facts AS f
            JOIN selections AS s ON s.selection_id = $selection_id
            WHERE f.fact_id IN (SELECT fact_id
                                FROM knowledge_neurons
                                WHERE selection_id = $selection_id)
               OR f.fact_id IN (SELECT p.fact_id
                                FROM prompts AS p
                                JOIN prompt_results AS m USING (prompt_id)
                                WHERE m.run_id = s.run_id
                                  AND m.skipped_because IS NULL)
        ),
        own AS (
            SELECT k.layer, k.neuron, c.value, count(*) AS found
            FROM knowledge_neurons AS k
            JOIN covered AS c USING (fact_id)
            WHERE k.selection_id = $selection_id
            GROUP BY k.layer, k.neuron, c.value
        ),
        marked AS (
            SELECT value, count(*) AS marked
            FROM covered
            GROUP BY value
        ),
        drawn AS (
            SELECT layer, neuron, sum(found) AS drawn
            FROM own
            GROUP BY layer, neuron
        ),
        totals AS (
            SELECT (SELECT count(*) FROM covered) AS total,
                   (SELECT count(*) FROM marked) * (SELECT count(*) FROM drawn) AS tests
        )
        SELECT o.layer, o.neuron, o.value, o.found, m.marked, d.drawn, t.total, t.tests
        FROM own AS o
        JOIN marked AS m USING (value)
        JOIN drawn AS d USING (layer, neuron)
        CROSS JOIN totals AS t
        WHERE o.found * t.total > m.marked * d.drawn
        ORDER BY o.layer, o.neuron, o.value
        """,
        {"selection_id": selection_id},
    ).fetchnumpy()
    if not len(found["layer"]):
        return {"layer": []}
    tests = Drawn(
        found["total"].item(0),
        *(np.asarray(found[name], np.int64) for name in ("marked", "drawn", "found")),
    )
    p = over_represented(tests)
    # The pairs left out lie at or below what is expected: their p is far above any that matters.
    q = false_discovery_rates(p, found["tests"].item(0))
    kept = np.flatnonzero(q <= SIGNIFICANT)
    return {
        "selection_id": [selection_id] * len(kept),
        "layer": found["layer"][kept].tolist(),
        "neuron": found["neuron"][kept].tolist(),
        "aspect": [aspect] * len(kept),
        "value": [str(value) for value in found["value"][kept]],
        "facts": tests.found[kept].tolist(),
        "expected": tests.expected[kept].tolist(),
        "p_value": p[kept].tolist(),
        "q_value": q[kept].tolist(),
    }
