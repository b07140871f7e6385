"""Neurons that serve one fact alone, at the selection's ratio and at others.

That a neuron serves one fact and no other is a property of the threshold: at a lower ratio most of
them serve several, at a higher one they serve none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from atlas.errors import NoScores, SettingsError
from atlas.selection.chosen import ChosenSelection, OfSelection, labelled
from atlas.selection.measured_prompts import MEASURED_PROMPTS
from atlas.selection.stored_ratios import GRID, stored_ratios
from atlas.selection.thresholds import WHOLE, Thresholds
from atlas.store.rows import fetch_one


@dataclass(frozen=True)
class AtRatio:
    """Neurons that serve facts at a ratio, the other thresholds being the selection's.

    The last three add up to SingleFactsReport.of_one_fact.
    """

    ratio: float
    neurons: int  # that serve a fact
    of_one_fact: int  # of those, neurons that serve no other
    still: int  # of the neurons of one fact at the selection's ratio: here they serve one fact, too
    of_several: int  # here they serve several
    of_none: int  # here they serve none


@dataclass(frozen=True)
class SingleFactsReport(OfSelection, rows="ratios"):
    """How many of a selection's neurons serve one fact alone, over a range of ratios."""

    neurons: int
    of_one_fact: int  # at the selection's ratio
    throughout: int  # of those, neurons that serve one fact alone at every ratio of the report
    ratios: tuple[AtRatio, ...]  # ascending, the selection's own among them


def single_facts_report(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    ratios: Sequence[float] = GRID,
) -> SingleFactsReport:
    """Counts from the stored scores, each relation with the sharing that the selection uses there.

    Ratios below what the run stored are left out. Raises NoScores for published neurons, and
    SettingsError for a ratio that is not above 0 and at most 1.
    """
    if selection.ratio is None:
        raise NoScores(
            f"selection {labelled(selection)} is of published neurons, whose scores are not "
            "available: other ratios cannot be tried"
        )
    if wrong := [ratio for ratio in ratios if not 0 < ratio <= 1]:
        raise SettingsError(f"ratio is {wrong[0]}: use more than 0 and at most 1")
    stored = stored_ratios(connection, selection.run_id, ratios)
    settings, relations = fetch_one(
        connection,
        """
        SELECT any_value(s.settings), list(r.relation_id)
        FROM selections AS s
        LEFT JOIN selection_relations AS r USING (selection_id)
        WHERE s.selection_id = $selection_id
        """,
        {"selection_id": selection.selection_id},
    )
    counted = connection.execute(
        f"""
        {_degrees(selection)}
        SELECT r.ratio,
               count(d.facts),
               count(*) FILTER (d.facts = 1),
               count(*) FILTER (o.own AND d.facts = 1),
               count(*) FILTER (o.own AND d.facts > 1),
               (SELECT count(*) FROM of_one) - count(*) FILTER (o.own AND d.facts >= 1),
               (SELECT count(*) FROM throughout)
        FROM ratios AS r
        LEFT JOIN degrees AS d USING (ratio)
        LEFT JOIN of_one AS o USING (layer, neuron)
        GROUP BY r.ratio
        ORDER BY r.ratio
        """,
        {
            "selection_id": selection.selection_id,
            "run_id": selection.run_id,
            "own": selection.ratio,
            "ratios": sorted({*stored, selection.ratio}),
            "min_prompts": selection.min_prompts,
            "relations": relations,
            "known_only": selection.known_only,
            "templates": Thresholds.from_settings(settings).templates,
        },
    ).fetchall()
    rows = tuple(AtRatio(*row[:-1]) for row in counted)
    own = next(row for row in rows if row.ratio == selection.ratio)
    return SingleFactsReport(own.neurons, own.of_one_fact, counted[0][-1], rows)


def _degrees(selection: ChosenSelection) -> str:
    """The tables `ratios`, `degrees` (ratio, layer, neuron, facts), `of_one` and `throughout`.

    The last two are the neurons of one fact at the selection's ratio and at every ratio.
    """
    return f"""
        WITH ratios AS (
            SELECT unnest($ratios::DOUBLE[]) AS ratio
        ),
        measured AS (
            {MEASURED_PROMPTS}
        ),
        passing AS (
            SELECT t.ratio,
                   m.relation_id,
                   m.fact_id,
                   a.layer,
                   a.neuron,
                   count(*) * {WHOLE} // any_value(m.prompts) AS share
            FROM attributions AS a
            JOIN measured AS m USING (prompt_id)
            JOIN ratios AS t ON a.score::DOUBLE {selection.comparison} t.ratio * m.max_score
            WHERE a.run_id = $run_id
              AND a.score > 0
            GROUP BY t.ratio, m.relation_id, m.fact_id, a.layer, a.neuron
            HAVING count(*) >= $min_prompts
        ),
        degrees AS MATERIALIZED (
            SELECT p.ratio,
                   p.layer,
                   p.neuron,
                   count(*) AS facts
            FROM passing AS p
            JOIN selection_relations AS s
              ON s.selection_id = $selection_id
             AND s.relation_id = p.relation_id
            WHERE p.share >= round(s.sharing * {WHOLE})
            GROUP BY p.ratio, p.layer, p.neuron
        ),
        of_one AS (
            SELECT layer, neuron, TRUE AS own
            FROM degrees
            WHERE ratio = $own
              AND facts = 1
        ),
        throughout AS (
            SELECT layer, neuron
            FROM degrees
            WHERE facts = 1
            GROUP BY layer, neuron
            HAVING count(*) = (SELECT count(*) FROM ratios)
        )
        """
