"""Edits in the atlas file: recording, reading, reverting and deleting them.

Writers take a connection from `AtlasFile.writing()`, so that an edit is in the file whole or not at
all. A deleted edit leaves its row behind, so that its number is never given out again.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Literal

import duckdb
import numpy as np

from atlas.edits.edit import ALIKE, Edit, EditedFact, EditOutcome
from atlas.errors import NotFound
from atlas.facts import FactColumns
from atlas.models.identity import stored_identity
from atlas.store import bulk
from atlas.store.rows import fetch, fetch_one


@dataclass(frozen=True)
class EditSummary:
    """An edit, its outcome on its own prompts, and its side effects on others so far.

    What is broken, mended and lost is of checked prompts that are not the edit's own: those it was
    meant to change. Own are the prompts of its facts or, without one, of its relation.
    """

    edit_id: int
    kind: str
    method: str
    relation_id: str | None
    subject: str | None
    old_object: str | None
    new_object: str | None
    facts: int  # that it changes; 0: it is of a whole relation
    neurons: int
    norm: float
    state: str  # stored | reverted
    created_at: datetime
    prompts: int | None  # of the fact's, those that the edit was made from; None: unknown here
    success: float | None  # share of those on which the new object is the top answer
    held_out_success: float | None  # the same of the prompts that played no part
    old_gone: float | None  # share on which the old object is not the top answer
    p_old_before: float | None
    p_old_after: float | None
    p_new_before: float | None
    p_new_after: float | None
    checked_prompts: int | None  # None: `atlas edit check` has not run
    other_prompts: int | None  # of those, not its own; None: it was checked on no other
    right_to_wrong: int | None  # of other_prompts, as what follows
    wrong_to_right: int | None
    mean_delta_log_p: float | None
    model: str  # its name in the atlas, else its id
    model_id: str
    run_id: str | None  # None: it came from a file
    selection_id: str | None
    selection: str | None  # its name, where the atlas still has it


Held = Literal["new", "stored", "reverted"]  # what an atlas held of an edit before it got it
_EDIT = (
    "kind",
    "method",
    "weights_sha256",
    "run_id",
    "selection_id",
    "relation_id",
    "fact_id",
    "subject",
    "old_object",
    "new_object",
    "atlas_version",
    "seconds",
)


def held_before(connection: duckdb.DuckDBPyConnection, edit: Edit) -> Held:
    """Whether the atlas holds an equal edit, and whether that is in force."""
    equal = _equal_edit(connection, edit)
    if equal is None:
        return "new"
    return "stored" if equal.state == "stored" else "reverted"


def _equal_edit(connection: duckdb.DuckDBPyConnection, edit: Edit) -> Edit | None:
    """The stored edit that is this one, its deltas up to the rounding of other threads."""
    rows = connection.execute(
        """
        SELECT edit_id
        FROM edits
        WHERE state <> 'deleted'
          AND (digest = $digest
               OR (kind = $kind
                   AND method = $method
                   AND weights_sha256 = $weights
                   AND neurons = $neurons
                   AND abs(norm - $norm) <= $alike * $norm))
        ORDER BY digest = $digest DESC, edit_id
        """,
        {
            "digest": edit.digest,
            "kind": edit.kind,
            "method": edit.method,
            "weights": edit.weights_sha256,
            "neurons": len(edit.neurons),
            "norm": edit.norm,
            "alike": ALIKE,
        },
    ).fetchall()
    candidates = read_edits(connection, [int(row[0]) for row in rows])
    return next((held for held in candidates if held.equals(edit)), None)


def record_edit(
    connection: duckdb.DuckDBPyConnection, edit: Edit, outcomes: Sequence[EditOutcome] = ()
) -> int:
    """Add an edit with its outcomes; returns its number, that of the equal edit if there is one.

    An equal edit that was reverted is in force again; one without outcomes gets them.
    """
    known = _equal_edit(connection, edit)
    if known is not None:
        edit_id = known.edit_id or 0
        set_edit_state(connection, edit_id, "stored")
        if not edit_outcomes(connection, edit_id):
            _record_outcomes(connection, edit_id, outcomes)
        return edit_id
    (last,) = fetch_one(connection, "SELECT coalesce(max(edit_id), 0) FROM edits")
    edit_id = int(last) + 1
    row = {
        "edit_id": edit_id,
        "digest": edit.digest,
        "model_id": edit.model_id,
        **{name: getattr(edit, name) for name in _EDIT},
        "model_identity": None if edit.model_identity is None else str(edit.model_identity),
        "neurons": len(edit.neurons),
        "norm": edit.norm,
        "state": "stored",
        "created_at": datetime.now(UTC).replace(tzinfo=None),  # the atlas's times are UTC
        "settings": json.dumps(dict(edit.settings), sort_keys=True),
    }
    connection.execute(
        f"""
        INSERT INTO edits ({", ".join(row)})
        VALUES ({", ".join("?" * len(row))})
        """,
        list(row.values()),
    )
    bulk.insert(
        connection,
        "edit_deltas",
        {
            "edit_id": [edit_id] * len(edit.neurons),
            "layer": edit.layers.tolist(),
            "neuron": edit.neurons.tolist(),
            "delta": list(edit.deltas),
        },
    )
    _record_facts(connection, edit_id, edit.edited_facts)
    _record_outcomes(connection, edit_id, outcomes)
    return edit_id


def _record_facts(
    connection: duckdb.DuckDBPyConnection, edit_id: int, facts: Sequence[EditedFact]
) -> None:
    rows = [{"edit_id": edit_id, "place": i, **asdict(fact)} for i, fact in enumerate(facts)]
    if rows:
        bulk.insert(
            connection, "edit_facts", {name: [row[name] for row in rows] for name in rows[0]}
        )


def _record_outcomes(
    connection: duckdb.DuckDBPyConnection, edit_id: int, outcomes: Sequence[EditOutcome]
) -> None:
    if not outcomes:
        return
    rows = [{"edit_id": edit_id, **asdict(outcome)} for outcome in outcomes]
    names = ", ".join(rows[0])
    connection.executemany(
        f"""
        INSERT INTO edit_outcomes ({names})
        VALUES ({", ".join("?" * len(rows[0]))})
        """,
        [list(row.values()) for row in rows],
    )


def read_edits(
    connection: duckdb.DuckDBPyConnection, ids: Sequence[int] | None = None
) -> list[Edit]:
    """The edits with these numbers, in that order; without numbers, all in force, oldest first.

    A reverted edit is read if it is named. NotFound for a number that there is not, or no longer.
    """
    found = connection.execute(
        f"""
        SELECT edit_id, state, created_at, settings, model_identity, {", ".join(_EDIT)}
        FROM edits
        WHERE CASE WHEN $ids IS NULL THEN state = 'stored'
                   ELSE state <> 'deleted' AND edit_id IN $ids END
        ORDER BY edit_id
        """,
        {"ids": None if ids is None else list(ids)},
    )
    names = [column[0] for column in found.description or ()]
    rows = {row[0]: dict(zip(names, row, strict=True)) for row in found.fetchall()}
    for edit_id in ids or ():
        if edit_id not in rows:
            raise NotFound(_no_such_edit(connection, edit_id))
    edits = {}
    for edit_id, row in rows.items():
        deltas = connection.execute(
            """
            SELECT layer, neuron, delta
            FROM edit_deltas
            WHERE edit_id = ?
            ORDER BY layer, neuron
            """,
            [edit_id],
        ).fetchall()
        layers, neurons, vectors = zip(*deltas, strict=True)
        facts = edited_facts(connection, edit_id)
        edits[edit_id] = Edit(
            layers=np.array(layers, np.int16),
            neurons=np.array(neurons, np.int32),
            deltas=np.array(vectors, np.float32),
            facts=tuple(facts) if len(facts) > 1 else (),
            **{
                **row,
                "settings": json.loads(row["settings"]),
                "model_identity": stored_identity(row["model_identity"]),
            },
        )
    return list(edits.values()) if ids is None else [edits[edit_id] for edit_id in ids]


def edited_facts(connection: duckdb.DuckDBPyConnection, edit_id: int) -> list[EditedFact]:
    """The facts that an edit changes, in its order; none where it is of a whole relation."""
    names = ", ".join(f.name for f in fields(EditedFact))
    return fetch(
        connection,
        EditedFact,
        f"""
        SELECT {names}
        FROM edit_facts
        WHERE edit_id = ?
        ORDER BY place
        """,
        [edit_id],
    )


def edit_outcomes(connection: duckdb.DuckDBPyConnection, edit_id: int) -> list[EditOutcome]:
    """What an edit came to on its fact's prompts, those it was made from first."""
    names = ", ".join(f.name for f in fields(EditOutcome))
    return fetch(
        connection,
        EditOutcome,
        f"""
        SELECT {names}
        FROM edit_outcomes
        WHERE edit_id = ?
        ORDER BY held_out, prompt_id
        """,
        [edit_id],
    )


def edits_of(
    connection: duckdb.DuckDBPyConnection, facts: Sequence[FactColumns]
) -> list[EditSummary]:
    """The edits of these facts, by subject, relation and object; oldest first."""
    named = {(fact.subject, fact.relation_id, fact.object) for fact in facts}
    edited = connection.execute(
        """
        SELECT DISTINCT subject, relation_id, old_object
        FROM edits
        """
    ).fetchall()
    if named.isdisjoint(edited):  # a summary counts all that edits did, which takes longer
        return []
    return [
        e for e in edit_summaries(connection) if (e.subject, e.relation_id, e.old_object) in named
    ]


def edit_summaries(connection: duckdb.DuckDBPyConnection) -> list[EditSummary]:
    """One row per edit that is not deleted, oldest first."""
    return fetch(
        connection,
        EditSummary,
        """
        SELECT v.edit_id,
               v.kind,
               v.method,
               v.relation_id,
               v.subject,
               v.old_object,
               v.new_object,
               (SELECT count(*) FROM edit_facts AS f WHERE f.edit_id = v.edit_id) AS facts,
               v.neurons,
               v.norm,
               v.state,
               v.created_at,
               v.prompts,
               v.success,
               v.held_out_success,
               v.old_gone,
               v.p_old_before,
               v.p_old_after,
               v.p_new_before,
               v.p_new_after,
               v.checked_prompts,
               v.other_prompts,
               v.right_to_wrong,
               v.wrong_to_right,
               v.mean_delta_log_p,
               coalesce(m.name, e.model_id) AS model,
               e.model_id,
               e.run_id,
               e.selection_id,
               s.name AS selection
        FROM edit_summary AS v
        JOIN edits AS e USING (edit_id)
        LEFT JOIN models AS m ON m.model_id = e.model_id
        LEFT JOIN selections AS s ON s.selection_id = e.selection_id
        ORDER BY v.edit_id
        """,
    )


def revert_edit(connection: duckdb.DuckDBPyConnection, edit_id: int) -> None:
    """Take an edit out of force but keep it; NotFound if there is none."""
    read_edits(connection, [edit_id])
    set_edit_state(connection, edit_id, "reverted")


def delete_edit(connection: duckdb.DuckDBPyConnection, edit_id: int) -> None:
    """Remove an edit with its deltas, outcomes and side effects; NotFound if there is none.

    Its number is not given out again.
    """
    read_edits(connection, [edit_id])
    set_edit_state(connection, edit_id, "deleted")
    for table in ("edit_facts", "edit_deltas", "edit_outcomes", "side_effects"):
        connection.execute(f"DELETE FROM {table} WHERE edit_id = ?", [edit_id])


def set_edit_state(connection: duckdb.DuckDBPyConnection, edit_id: int, state: str) -> None:
    """Set `edits.state` (stored | reverted | deleted) unless it is that already."""
    connection.execute(
        """
        UPDATE edits
        SET state = $state
        WHERE edit_id = $edit_id
          AND state <> $state
        """,
        {"edit_id": edit_id, "state": state},
    )


def stored(
    connection: duckdb.DuckDBPyConnection, edit: Edit, outcomes: Sequence[EditOutcome]
) -> Edit:
    """`record_edit`, and the edit as the atlas now holds it."""
    return read_edits(connection, [record_edit(connection, edit, outcomes)])[0]


def _no_such_edit(connection: duckdb.DuckDBPyConnection, edit_id: int) -> str:
    rows = connection.execute(
        """
        SELECT edit_id
        FROM edits
        WHERE state <> 'deleted'
        ORDER BY edit_id
        """
    ).fetchall()
    if not rows:
        return f"no edit {edit_id}: the atlas has none yet, make one with `atlas edit update`"
    some = ", ".join(str(row[0]) for row in rows[:8]) + (", …" if len(rows) > 8 else "")
    return f"no edit {edit_id}: the atlas has {some} (see `atlas edit list`)"
