"""Looking at a null, facts with shuffled objects, as a selection looks at the real ones."""

import hashlib
import json
from dataclasses import replace

import duckdb

from atlas.selection.outdated import outdated_null_relations
from atlas.selection.recorded import record_null_selection
from atlas.selection.renew import renew
from atlas.selection.stability import refresh_stability
from atlas.selection.thresholds import Thresholds
from atlas.store.rows import fetch_one


def null_selection_id(selection_id: str, null_run: str) -> str:
    """The id of what a selection's thresholds find in a null; changing this changes every id."""
    text = json.dumps(["null", selection_id, null_run])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def select_null(connection: duckdb.DuckDBPyConnection, selection_id: str, null_run: str) -> str:
    """Look at a null with the thresholds of a selection of its real run; returns the new one's id.

    In each relation the null gets the sharing threshold at which the real facts came to rest: were
    it moved for the null, too, both would have as many neurons by construction. All else is asked
    of a null neuron that is asked of a real one; what serves the same answer elsewhere is judged by
    the null facts with that object. All null facts count, for none is known. Relations that neither
    has measured since are left as they are.
    """
    name, settings = fetch_one(
        connection,
        """
        SELECT name, settings
        FROM selections
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    )
    thresholds = replace(Thresholds.from_settings(settings), preset="fixed", known_only=False)
    null_id = null_selection_id(selection_id, null_run)
    record_null_selection(connection, null_id, null_run, selection_id, f"{name}-null")
    outdated = outdated_null_relations(connection, null_id, null_run, selection_id)
    if outdated and thresholds.against is not None:  # as in `select`
        outdated = outdated_null_relations(
            connection, null_id, null_run, selection_id, everything=True
        )
    if outdated:
        sharing = {o.relation_id: o.sharing for o in outdated}
        renew(connection, null_id, null_run, thresholds, outdated, sharing)
    refresh_stability(connection, null_id)
    return null_id
