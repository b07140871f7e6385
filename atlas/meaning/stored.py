"""What neurons write: stored once, read without a model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from atlas.selection.sites import SUBJECT_END
from atlas.store import bulk
from atlas.store.rows import fetch, fetch_one


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
class AskedPrompt:
    """A measured prompt, to be asked again of the model."""

    text: str
    object: str
    subject_end: int | None  # None: neurons are measured at the answer


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
         AND r.position = n.site
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
        SELECT any_value(model_id), any_value(position), any_value(model_identity)
        FROM runs
        WHERE run_id = ?
        """,
        [run_id],
    )
    connection.execute(
        """
        DELETE FROM neuron_meanings
        WHERE model_id = ?
          AND site = ?
          AND layer = ?
          AND neuron = ?
        """,
        [model[0], model[1], layer, neuron],
    )
    names = ["model_id", "site", "model_identity", "layer", "neuron", "activation"]
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
    connection: duckdb.DuckDBPyConnection, run_id: str, layer: int, neuron: int
) -> float | None:
    """A neuron's mean activation at the prompts of its facts, as far as their scores are gathered.

    Without facts, at all prompts with a stored score of it; without those, where the model was
    asked what it writes; None where nobody looked.
    """
    (mean,) = fetch_one(
        connection,
        """
        SELECT coalesce(
            (SELECT avg(activation) FROM own_scores WHERE served),
            (SELECT avg(activation) FROM own_scores),
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
        {"run_id": run_id, "layer": layer, "neuron": neuron},
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
        f"""
        WITH own AS (
            SELECT p.text, f.object, a.activation, m.prompt_id,
                   {SUBJECT_END} AS subject_end
            FROM prompt_results AS m
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            JOIN runs AS r USING (run_id)
            LEFT JOIN attributions AS a
              ON a.run_id = m.run_id
             AND a.prompt_id = m.prompt_id
             AND a.layer = $layer
             AND a.neuron = $neuron
            WHERE m.run_id = $run_id
              AND m.skipped_because IS NULL
        )
        SELECT text, object, subject_end
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
