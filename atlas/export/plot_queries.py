"""What the figures show, as SQL answers it."""

from dataclasses import dataclass

import duckdb

from atlas.selection.chosen import ChosenSelection
from atlas.store.rows import fetch

SMALLEST_P = 1e-30  # what log P is taken of where P is smaller; float32 holds no log of 0


@dataclass(frozen=True)
class LayerUse:
    """How much of a selection lies in a layer."""

    layer: int
    uses: int  # pairs of fact and knowledge neuron
    neurons: int  # different neurons


@dataclass(frozen=True)
class OverlapCell:
    """What the facts of two relations (or of one) share."""

    relation_a: str
    relation_b: str
    label_a: str
    label_b: str
    mean_shared_neurons: float | None  # over pairs of different facts; None: there is no pair


@dataclass(frozen=True)
class HubPoint:
    """A neuron by how many facts it serves, and how evenly over the relations."""

    layer: int
    neuron: int
    facts: int
    entropy: float  # bits, of the relations of those facts; 0: all of one relation


@dataclass(frozen=True)
class EffectPoint:
    """A fact on which something was measured that was not about it."""

    predicted: float  # share of its score mass on the changed neurons
    delta_log_p: float  # mean over prompts, natural logarithm
    flipped: bool  # the top answer of a prompt went from right to wrong


def layer_uses(con: duckdb.DuckDBPyConnection, selection: ChosenSelection) -> list[LayerUse]:
    """One row a layer of the model, also of those without a knowledge neuron."""
    return fetch(
        con,
        LayerUse,
        """
        WITH used AS (
            SELECT layer,
                   count(*) AS uses,
                   count(DISTINCT neuron) AS neurons
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
            GROUP BY layer
        )
        SELECT l.layer,
               coalesce(u.uses, 0) AS uses,
               coalesce(u.neurons, 0) AS neurons
        FROM range($layers) AS l (layer)
        LEFT JOIN used AS u USING (layer)
        ORDER BY l.layer
        """,
        {"selection_id": selection.selection_id, "layers": selection.layers},
    )


def overlap_cells(con: duckdb.DuckDBPyConnection, selection: ChosenSelection) -> list[OverlapCell]:
    """One row a pair of relations, relation_a <= relation_b."""
    return fetch(
        con,
        OverlapCell,
        """
        SELECT o.relation_a,
               o.relation_b,
               a.label AS label_a,
               b.label AS label_b,
               o.mean_shared_neurons
        FROM relation_overlaps AS o
        JOIN relations AS a ON a.relation_id = o.relation_a
        JOIN relations AS b ON b.relation_id = o.relation_b
        WHERE o.selection_id = $selection_id
        ORDER BY o.relation_a, o.relation_b
        """,
        {"selection_id": selection.selection_id},
    )


def hub_points(con: duckdb.DuckDBPyConnection, selection: ChosenSelection) -> list[HubPoint]:
    """Every knowledge neuron of the selection, the one that serves most facts first."""
    return fetch(
        con,
        HubPoint,
        """
        WITH degrees AS (
            SELECT k.layer,
                   k.neuron,
                   f.relation_id,
                   count(*) AS facts
            FROM knowledge_neurons AS k
            JOIN facts AS f USING (fact_id)
            WHERE k.selection_id = $selection_id
            GROUP BY k.layer, k.neuron, f.relation_id
        )
        SELECT layer,
               neuron,
               sum(facts)::INTEGER AS facts,
               greatest(0, log2(sum(facts)) - sum(facts * log2(facts)) / sum(facts)) AS entropy
        FROM degrees
        GROUP BY layer, neuron
        ORDER BY sum(facts) DESC, layer, neuron
        """,
        {"selection_id": selection.selection_id},
    )


def suppression_effects(
    con: duckdb.DuckDBPyConnection, selection: ChosenSelection
) -> list[EffectPoint]:
    """What suppressing facts' neurons did to other facts, of all that was measured so far."""
    return fetch(
        con,
        EffectPoint,
        """
        SELECT predicted,
               delta_log_p,
               right_to_wrong > 0 AS flipped
        FROM interference_measurements
        WHERE selection_id = $selection_id
          AND role <> 'self'
        ORDER BY source_fact, fact_id
        """,
        {"selection_id": selection.selection_id},
    )


def edit_effects(
    con: duckdb.DuckDBPyConnection, selection: ChosenSelection, edit_id: int | None
) -> list[EffectPoint]:
    """What one edit, or all edits made from the selection, did to other facts."""
    return fetch(
        con,
        EffectPoint,
        f"""
        SELECT any_value(s.interference)::DOUBLE AS predicted,
               avg(ln(greatest(s.p_after, {SMALLEST_P})) - ln(greatest(s.p_before, {SMALLEST_P})))
                   AS delta_log_p,
               bool_or(s.rank_before = 1 AND s.rank_after > 1) AS flipped
        FROM side_effects AS s
        JOIN edits AS e USING (edit_id)
        JOIN prompts AS p USING (prompt_id)
        WHERE e.state <> 'deleted'
          AND p.fact_id IS DISTINCT FROM e.fact_id
          AND CASE WHEN $edit_id IS NULL THEN e.selection_id = $selection_id
                   ELSE e.edit_id = $edit_id END
        GROUP BY s.edit_id, p.fact_id
        ORDER BY s.edit_id, p.fact_id
        """,
        {"selection_id": selection.selection_id, "edit_id": edit_id},
    )
