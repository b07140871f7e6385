"""From scores to knowledge neurons: which neurons a fact's prompts agree on.

A neuron passes a prompt if its score is positive and `score >= ratio * max_score` (or `>`), both
sides being the stored float32 values, compared in float64. A fact keeps the neurons that pass in
at least `sharing` of its measured prompts, and in at least `min_prompts` of them. Facts are those
that the run's model knows (the view all_fact_knowledge), or all with a measured prompt. How stable
the choice is, is stored with it (stability.py), and may narrow it.
"""

from collections.abc import Sequence

import duckdb

from atlas.errors import NotFound, SettingsError
from atlas.selection.nulls import select_null
from atlas.selection.outdated import outdated_relations
from atlas.selection.recorded import offer_default, record_selection, recorded_thresholds
from atlas.selection.renew import renew
from atlas.selection.stability import refresh_stability
from atlas.selection.stored_ratios import reaches
from atlas.selection.thresholds import Thresholds

__all__ = ["Thresholds", "select"]


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
    _bring_up_to_date(connection, selection_id, run_id, thresholds, relations)
    offer_default(connection, selection_id, make_default)
    for null_run in _nulls(connection, run_id):
        select_null(connection, selection_id, null_run)
    return selection_id


def select_again(connection: duckdb.DuckDBPyConnection, runs: Sequence[str]) -> None:
    """Bring every selection of these runs up to date with what they have measured by now.

    Of a real run its nulls are looked at, too, and of a null what its real run's selections see in
    it. What was imported has no scores to select from. The default stays what it is.
    """
    for run_id, selection_id in connection.execute(
        """
        SELECT s.run_id, s.selection_id
        FROM selections AS s
        JOIN runs AS r USING (run_id)
        WHERE r.null_of IS NULL
          AND r.score_floor IS NOT NULL
          AND (s.run_id IN $runs
               OR s.run_id IN (SELECT null_of FROM runs WHERE run_id IN $runs))
        ORDER BY s.run_id, s.created_at, s.selection_id
        """,
        {"runs": list(runs)},
    ).fetchall():
        thresholds = recorded_thresholds(connection, selection_id)
        _bring_up_to_date(connection, selection_id, run_id, thresholds, None)
        for null_run in _nulls(connection, run_id):
            select_null(connection, selection_id, null_run)


def _bring_up_to_date(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    run_id: str,
    thresholds: Thresholds,
    relations: Sequence[str] | None,
) -> None:
    outdated = outdated_relations(connection, selection_id, run_id, relations)
    if outdated and thresholds.against is not None:  # one relation's neurons depend on all others'
        outdated = outdated_relations(connection, selection_id, run_id, None, everything=True)
    if outdated:
        renew(connection, selection_id, run_id, thresholds, outdated)
    refresh_stability(connection, selection_id, relations)


def _nulls(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[str]:
    """Runs that measure this one's facts with shuffled objects."""
    rows = connection.execute(
        """
        SELECT run_id
        FROM runs
        WHERE null_of = $run_id
        ORDER BY run_id
        """,
        {"run_id": run_id},
    ).fetchall()
    return [str(null_run) for (null_run,) in rows]


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
    if not reaches(thresholds.ratio, row[0]):
        raise SettingsError(
            f"ratio is {thresholds.ratio}, but run {run_id} stored only scores from {row[0]} of a "
            f"prompt's maximum: use {row[0]} or more, or index again with a lower floor"
        )
    return str(row[1])
