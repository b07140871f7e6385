"""From scores to knowledge neurons: which neurons a fact's prompts agree on.

A neuron passes a prompt if its score is positive and `score >= ratio * max_score` (or `>`), both
sides being the stored float32 values, compared in float64. A fact keeps the neurons that pass in
at least `sharing` of its measured prompts, and in at least `min_prompts` of them. Facts are those
that the run's model knows (the view all_fact_knowledge), or all with a measured prompt. How stable
the choice is, is stored with it (stability.py), and may narrow it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb

from atlas.errors import NotFound, SettingsError
from atlas.selection.against import LeftOut, leave_out_answers
from atlas.selection.derived import discard_outdated
from atlas.selection.masses import refresh_masses
from atlas.selection.measured_prompts import MEASURED_PROMPTS
from atlas.selection.overlaps import refresh_overlaps
from atlas.selection.recorded import offer_default, record_null_selection, record_selection
from atlas.selection.stability import keep_frequent, refresh_stability
from atlas.selection.thresholds import WHOLE, Settled, Thresholds, narrowed, settle
from atlas.store.rows import fetch, fetch_one

__all__ = ["Thresholds", "select"]


@dataclass(frozen=True)
class _Measured:
    """How much of a relation was measured."""

    relation_id: str
    facts: int
    known: int  # of the facts
    prompts: int
    templates: int

    def selected_from(self, thresholds: Thresholds) -> int:
        """How many facts these thresholds select from."""
        return self.known if thresholds.known_only else self.facts


def select(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    thresholds: Thresholds,
    relations: Sequence[str] | None = None,
    *,
    name: str | None = None,
    make_default: bool = True,
) -> str:
    """Select the run's knowledge neurons, and make this selection the default; returns its id.

    Only relations with prompts measured since the last time are computed, so that asking for the
    default selection again changes no row. What was derived from neurons that a fact has no more
    goes. With `relations`, the others are left alone.

    name: what to call it; without, a new selection is named after its thresholds, and after the
    run's position if that is the subject. A selection
    without any neuron becomes the default only where there is none, and so does every selection
    without `make_default`.

    Errors: NotFound (no such run), SettingsError (ratio below what the run stored; a name that is
    taken in the run, or malformed).
    """
    position = _require_scores(connection, run_id, thresholds)
    at = "" if position == "answer" else f"-at-{position}"
    automatic = [f"{plain}{at}" for plain in (thresholds.name, thresholds.longer_name)]
    selection_id = thresholds.selection_id(run_id)
    settings = thresholds.settings()
    record_selection(connection, selection_id, run_id, settings, name, automatic)
    outdated = _outdated(connection, selection_id, run_id, relations)
    if outdated and thresholds.against is not None:  # one relation's neurons depend on all others'
        outdated = _outdated(connection, selection_id, run_id, None, everything=True)
    if outdated:
        _renew(connection, selection_id, run_id, thresholds, outdated)
    refresh_stability(connection, selection_id, relations)
    offer_default(connection, selection_id, make_default)
    for null_run in connection.execute(
        """
        SELECT run_id
        FROM runs
        WHERE null_of = $run_id
        ORDER BY run_id
        """,
        {"run_id": run_id},
    ).fetchall():
        select_null(connection, selection_id, str(null_run[0]))
    return selection_id


def null_selection_id(selection_id: str, null_run: str) -> str:
    """The id of what a selection's thresholds find in a null; changing this changes every id."""
    text = json.dumps(["null", selection_id, null_run])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def select_null(connection: duckdb.DuckDBPyConnection, selection_id: str, null_run: str) -> str:
    """Look at a null with the thresholds of a selection of its real run; returns the new one's id.

    In each relation the null gets the sharing threshold at which the real facts came to rest: were
    it moved for the null, too, both would have as many neurons by construction. All null facts
    count, for none is known. Relations that neither has measured since are left as they are.
    """
    name, ratio, comparison, min_prompts, templates, frequency = fetch_one(
        connection,
        """
        SELECT name, ratio, comparison, min_prompts,
               (settings ->> 'templates')::INTEGER,
               (settings ->> 'frequency')::DOUBLE
        FROM selections
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    )
    thresholds = Thresholds(
        preset="fixed",
        ratio=ratio,
        comparison=comparison,
        min_prompts=min_prompts,
        known_only=False,
        templates=templates,
        frequency=frequency,
    )
    null_id = null_selection_id(selection_id, null_run)
    record_null_selection(connection, null_id, null_run, selection_id, f"{name}-null")
    outdated = _outdated_null(connection, null_id, null_run, selection_id)
    if outdated:
        sharing = {o.relation_id: o.sharing for o in outdated}
        _renew(connection, null_id, null_run, thresholds, outdated, sharing)
    refresh_stability(connection, null_id)
    return null_id


@dataclass(frozen=True)
class _OutdatedNull(_Measured):
    """A relation of a null, and where the sharing threshold of its real facts came to rest."""

    sharing: float


def _outdated_null(
    connection: duckdb.DuckDBPyConnection, null_id: str, null_run: str, selection_id: str
) -> list[_OutdatedNull]:
    """The relations measured or selected otherwise than when the null was looked at."""
    return fetch(
        connection,
        _OutdatedNull,
        """
        WITH measured AS (
            SELECT f.relation_id,
                   count(DISTINCT f.fact_id) AS facts,
                   count(DISTINCT f.fact_id) FILTER (k.known) AS known,
                   count(*) AS prompts,
                   count(DISTINCT p.template_id) AS templates
            FROM prompt_results AS r
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            JOIN all_fact_knowledge AS k
              ON k.run_id = r.run_id
             AND k.fact_id = f.fact_id
            WHERE r.run_id = $null_run
              AND r.skipped_because IS NULL
            GROUP BY f.relation_id
        )
        SELECT m.relation_id, m.facts, m.known, m.prompts, m.templates, o.sharing
        FROM measured AS m
        JOIN selection_relations AS o
          ON o.selection_id = $selection_id
         AND o.relation_id = m.relation_id
        LEFT JOIN selection_relations AS n
          ON n.selection_id = $null_id
         AND n.relation_id = m.relation_id
        WHERE n.prompts IS DISTINCT FROM m.prompts
           OR n.sharing IS DISTINCT FROM o.sharing
        ORDER BY m.relation_id
        """,
        {"null_id": null_id, "null_run": null_run, "selection_id": selection_id},
    )


def _renew(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    run_id: str,
    thresholds: Thresholds,
    outdated: Sequence[_Measured],
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
        kept = _neurons(connection)
        settled = [
            narrowed(s, kept.get(m.relation_id, 0) / n, thresholds) if n else s
            for m, n, s in zip(outdated, facts, settled, strict=True)
        ]
    left_out = None
    if thresholds.against is not None:
        left_out = leave_out_answers(connection, run_id, thresholds.known_only)
    _replace(connection, selection_id, outdated, facts, templates, settled, left_out)
    refresh_overlaps(connection, selection_id, [m.relation_id for m in outdated])


def _resting(
    thresholds: Thresholds, sharing: Mapping[str, float] | None, relation_id: str
) -> Thresholds:
    """The thresholds of a relation in which the sharing threshold rests, if it does."""
    return thresholds if sharing is None else replace(thresholds, sharing=sharing[relation_id])


def _require_scores(
    connection: duckdb.DuckDBPyConnection, run_id: str, thresholds: Thresholds
) -> str:
    """Refuse thresholds that the run's scores do not allow; returns the run's position."""
    row = connection.execute(
        """
        SELECT score_floor, position, null_of
        FROM runs
        WHERE run_id = $run_id
        """,
        {"run_id": run_id},
    ).fetchone()
    if row is None:
        raise NotFound(f"the atlas holds no run {run_id}: `atlas info` lists the runs")
    if row[0] is None:
        raise SettingsError(
            f"run {run_id} is of published neurons, whose scores are not available: "
            "index the model to choose neurons by thresholds"
        )
    if row[2] is not None:
        raise SettingsError(
            f"run {run_id} is a null: select in run {row[2]}, whose facts it measures with "
            "shuffled objects, and the null follows",
            parameters=["run"],
        )
    if thresholds.ratio < row[0] - 1 / WHOLE:
        raise SettingsError(
            f"ratio is {thresholds.ratio}, but run {run_id} stored only scores from {row[0]} of a "
            f"prompt's maximum: use {row[0]} or more, or index again with a lower floor"
        )
    return str(row[1])


def _outdated(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    run_id: str,
    relations: Sequence[str] | None,
    *,
    everything: bool = False,
) -> list[_Measured]:
    """The relations of which other prompts are measured than when they were selected, or all."""
    return fetch(
        connection,
        _Measured,
        """
        WITH measured AS (
            SELECT f.relation_id,
                   count(DISTINCT f.fact_id) AS facts,
                   count(DISTINCT f.fact_id) FILTER (k.known) AS known,
                   count(*) AS prompts,
                   count(DISTINCT p.template_id) AS templates
            FROM prompt_results AS r
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            JOIN all_fact_knowledge AS k
              ON k.run_id = r.run_id
             AND k.fact_id = f.fact_id
            WHERE r.run_id = $run_id
              AND r.skipped_because IS NULL
            GROUP BY f.relation_id
        )
        SELECT m.relation_id, m.facts, m.known, m.prompts, m.templates
        FROM measured AS m
        LEFT JOIN selection_relations AS s
          ON s.selection_id = $selection_id
         AND s.relation_id = m.relation_id
        WHERE (s.prompts IS DISTINCT FROM m.prompts OR $everything)
          AND ($relations IS NULL OR m.relation_id IN $relations)
        ORDER BY m.relation_id
        """,
        {
            "run_id": run_id,
            "selection_id": selection_id,
            "relations": None if relations is None else list(relations),
            "everything": everything,
        },
    )


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
    measured: Sequence[_Measured],
    facts: Sequence[int],
    templates: Sequence[int],
    settled: Sequence[Settled],
    left_out: Sequence[LeftOut] | None,
) -> None:
    """Put the table `chosen` of these relations in the place of what was there."""
    relations = [m.relation_id for m in measured]
    means = [s.mean_neurons for s in settled]
    rest: list[LeftOut | None] = [None] * len(measured)
    if left_out is not None:
        by_relation = {row.relation_id: row for row in left_out}
        rest = [by_relation.get(r, LeftOut(r, 0, 0, 0)) for r in relations]
        means = [row.neurons / n if row and n else None for row, n in zip(rest, facts, strict=True)]
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
            "mean_neurons": means,
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
