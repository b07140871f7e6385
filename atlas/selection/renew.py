"""Choosing the knowledge neurons of relations anew, in the place of what was chosen there."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import duckdb

from atlas.selection.against import LeftOut, leave_out
from atlas.selection.derived import discard_outdated
from atlas.selection.masses import refresh_masses
from atlas.selection.measured_prompts import MEASURED_PROMPTS
from atlas.selection.outdated import Measured
from atlas.selection.overlaps import refresh_overlaps
from atlas.selection.stability import keep_frequent
from atlas.selection.thresholds import WHOLE, Settled, Thresholds, narrowed, settle


def renew(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    run_id: str,
    thresholds: Thresholds,
    outdated: Sequence[Measured],
    sharing: Mapping[str, float] | None = None,
) -> None:
    """Select these relations anew; sharing: where it rests in each, None: as the thresholds say."""
    refresh_masses(connection, run_id, {m.relation_id: m.prompts for m in outdated})
    _gather(connection, run_id, thresholds, [m.relation_id for m in outdated])
    shares = _neurons_by_share(connection)
    facts = [m.selected_from(thresholds) for m in outdated]
    settled = [
        settle(shares.get(m.relation_id, {}), n, _resting(thresholds, sharing, m.relation_id))
        for m, n in zip(outdated, facts, strict=True)
    ]
    templates = [min(m.templates, thresholds.templates or m.templates) for m in outdated]
    rests = {m.relation_id: s.sharing for m, s in zip(outdated, settled, strict=True)}
    _choose(connection, rests)
    if thresholds.frequency is not None:
        keep_frequent(connection, run_id, thresholds, rests, "chosen")
    left_out = None
    if thresholds.against is not None:
        left_out = leave_out(connection, run_id, thresholds.known_only, thresholds.against)
    if thresholds.frequency is not None or left_out is not None:
        kept = _neurons(connection)
        settled = [
            narrowed(s, kept.get(m.relation_id, 0) / n, thresholds) if n else s
            for m, n, s in zip(outdated, facts, settled, strict=True)
        ]
    _replace(connection, selection_id, outdated, facts, templates, settled, left_out)
    refresh_overlaps(connection, selection_id, [m.relation_id for m in outdated])


def _resting(
    thresholds: Thresholds, sharing: Mapping[str, float] | None, relation_id: str
) -> Thresholds:
    """The thresholds of a relation in which the sharing threshold rests, if it does."""
    return thresholds if sharing is None else replace(thresholds, sharing=sharing[relation_id])


def _gather(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    thresholds: Thresholds,
    relations: Sequence[str],
) -> None:
    """Make the table `passing`: neurons that pass, by fact, with the share of its prompts."""
    # Summing sorted scores makes the mean independent of the order in which prompts were measured.
    connection.execute(
        f"""
        CREATE TEMPORARY TABLE passing AS
        WITH measured AS (
            {MEASURED_PROMPTS}
        )
        SELECT m.relation_id,
               m.fact_id,
               a.layer,
               a.neuron,
               count(*) * {WHOLE} // any_value(m.prompts) AS share,
               count(*) / any_value(m.prompts) AS prompt_share,
               list_avg(list_sort(list(a.score))) AS mean_score
        FROM attributions AS a
        JOIN measured AS m USING (prompt_id)
        WHERE a.run_id = $run_id
          AND a.score > 0
          AND a.score::DOUBLE {thresholds.comparison} $ratio * m.max_score
        GROUP BY m.relation_id, m.fact_id, a.layer, a.neuron
        HAVING count(*) >= $min_prompts
        """,
        {
            "run_id": run_id,
            "ratio": thresholds.ratio,
            "relations": list(relations),
            "min_prompts": thresholds.min_prompts,
            "known_only": thresholds.known_only,
            "templates": thresholds.templates,
        },
    )


def _neurons_by_share(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[int, int]]:
    """Per relation: how many (fact, neuron) pairs pass in which share of the fact's prompts."""
    rows = connection.execute(
        """
        SELECT relation_id, share, count(*)
        FROM passing
        GROUP BY relation_id, share
        """
    ).fetchall()
    neurons: dict[str, dict[int, int]] = {}
    for relation_id, share, count in rows:
        neurons.setdefault(relation_id, {})[share] = count
    return neurons


def _choose(connection: duckdb.DuckDBPyConnection, sharing: Mapping[str, int]) -> None:
    """Make the table `chosen`: of `passing`, neurons with the sharing of their relation."""
    connection.execute(
        """
        CREATE TEMPORARY TABLE chosen AS
        WITH thresholds AS (
            SELECT unnest($relations) AS relation_id,
                   unnest($sharing) AS sharing
        )
        SELECT p.fact_id, p.layer, p.neuron, p.prompt_share, p.mean_score
        FROM passing AS p
        JOIN thresholds AS t USING (relation_id)
        WHERE p.share >= t.sharing
        """,
        {"relations": list(sharing), "sharing": list(sharing.values())},
    )
    connection.execute("DROP TABLE passing")


def _neurons(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Per relation: how many (fact, neuron) pairs are chosen."""
    return dict(
        connection.execute(
            """
            SELECT f.relation_id, count(*)
            FROM chosen AS c
            JOIN facts AS f USING (fact_id)
            GROUP BY f.relation_id
            """
        ).fetchall()
    )


def _replace(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    measured: Sequence[Measured],
    facts: Sequence[int],
    templates: Sequence[int],
    settled: Sequence[Settled],
    left_out: Sequence[LeftOut] | None,
) -> None:
    """Put the table `chosen` of these relations in the place of what was there."""
    relations = [m.relation_id for m in measured]
    rest: list[LeftOut | None] = [None] * len(measured)
    if left_out is not None:
        by_relation = {row.relation_id: row for row in left_out}
        rest = [by_relation.get(r, LeftOut(r, 0, 0)) for r in relations]
    discard_outdated(connection, selection_id, relations, "chosen")
    connection.execute(
        """
        INSERT INTO selection_relations (
            selection_id, relation_id, sharing, moves, facts, prompts, mean_neurons,
            measured_facts, known_facts, templates, target_met, left_out, unjudged
        )
        SELECT $selection_id,
               unnest($relations),
               unnest($sharing),
               unnest($moves),
               unnest($facts),
               unnest($prompts),
               unnest($mean_neurons::DOUBLE[]),
               unnest($measured_facts),
               unnest($known_facts),
               unnest($templates),
               unnest($target_met::BOOLEAN[]),
               unnest($left_out::INTEGER[]),
               unnest($unjudged::INTEGER[])
        """,
        {
            "selection_id": selection_id,
            "relations": relations,
            "sharing": [s.sharing / WHOLE for s in settled],
            "moves": [s.moves for s in settled],
            "facts": list(facts),
            "prompts": [m.prompts for m in measured],
            "mean_neurons": [s.mean_neurons for s in settled],
            "measured_facts": [m.facts for m in measured],
            "known_facts": [m.known for m in measured],
            "templates": list(templates),
            "target_met": [s.target_met for s in settled],
            "left_out": [row and row.left_out for row in rest],
            "unjudged": [row and row.unjudged for row in rest],
        },
    )
    connection.execute(
        """
        INSERT INTO knowledge_neurons (
            selection_id, fact_id, layer, neuron, prompt_share, mean_score
        )
        SELECT $selection_id, fact_id, layer, neuron, prompt_share, mean_score
        FROM chosen
        ORDER BY fact_id, layer, neuron
        """,
        {"selection_id": selection_id},
    )
    connection.execute("DROP TABLE chosen")
