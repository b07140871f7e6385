"""Audits in the atlas. Repeating a call changes no row."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import duckdb

from atlas.audit.changed import Changes
from atlas.store import bulk


@dataclass(frozen=True)
class AuditEffect:
    """A prompt's answer by the run's model and by the checkpoint; see `audit_effects`."""

    prompt_id: int
    p_before: float
    p_after: float
    rank_before: int
    rank_after: int
    predicted_before: str
    predicted_after: str


@dataclass(frozen=True)
class Noise:
    """What the run's own model asked twice, in batches of other sizes, differs by."""

    prompts: int
    flips: int
    delta_log_p: float  # the largest


def audit_id_of(run_id: str, weights_sha256: str) -> str:
    """An audit's id: the same checkpoint of a run is the same audit."""
    return hashlib.sha256(f"{run_id} {weights_sha256}".encode()).hexdigest()[:12]


def begun(connection: duckdb.DuckDBPyConnection, audit_id: str) -> bool:
    """Whether the atlas has the audit."""
    rows = connection.execute(
        """
        SELECT 1
        FROM audits
        WHERE audit_id = $audit_id
        """,
        {"audit_id": audit_id},
    ).fetchall()
    return bool(rows)


def record_audit(
    connection: duckdb.DuckDBPyConnection,
    audit_id: str,
    run_id: str,
    checkpoint: str,
    weights_sha256: str,
    changes: Changes,
) -> None:
    """Begin an audit: what it is of, and what differs."""
    if begun(connection, audit_id):
        return
    whole = {
        "audit_id": audit_id,
        "run_id": run_id,
        "checkpoint": checkpoint,
        "weights_sha256": weights_sha256,
        "created_at": datetime.now(UTC).replace(tzinfo=None),
        "atlas_version": version("knowledge-neuron-atlas"),
    }
    bulk.insert(connection, "audits", {name: [value] for name, value in whole.items()})
    for table, rows in (("audit_neurons", changes.rows), ("audit_tensors", changes.tensors)):
        _insert(connection, table, audit_id, rows)


def record_noise(connection: duckdb.DuckDBPyConnection, audit_id: str, noise: Noise) -> None:
    """Put the noise in the place of what was there."""
    connection.execute(
        """
        UPDATE audits
        SET noise_prompts = $prompts,
            noise_flips = $flips,
            noise_delta_log_p = $delta_log_p
        WHERE audit_id = $audit_id
        """,
        {"audit_id": audit_id, **vars(noise)},
    )


def stored_noise(connection: duckdb.DuckDBPyConnection, audit_id: str) -> Noise | None:
    """The noise; None if nothing was asked yet."""
    found = connection.execute(
        """
        SELECT noise_prompts, noise_flips, noise_delta_log_p
        FROM audits
        WHERE audit_id = $audit_id
          AND noise_prompts IS NOT NULL
        """,
        {"audit_id": audit_id},
    ).fetchall()
    return Noise(*found[0]) if found else None


def record_effects(
    connection: duckdb.DuckDBPyConnection, audit_id: str, effects: Sequence[AuditEffect]
) -> None:
    """Add rows of prompts that have none for this audit."""
    known = asked_prompts(connection, audit_id)
    _insert(
        connection,
        "audit_effects",
        audit_id,
        [effect for effect in effects if effect.prompt_id not in known],
    )


def asked_prompts(connection: duckdb.DuckDBPyConnection, audit_id: str) -> set[int]:
    """Ids of the prompts that have their row."""
    rows = connection.execute(
        """
        SELECT prompt_id
        FROM audit_effects
        WHERE audit_id = $audit_id
        """,
        {"audit_id": audit_id},
    ).fetchall()
    return {int(row[0]) for row in rows}


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, audit_id: str, rows: Sequence[object]
) -> None:
    if rows:
        names = list(vars(rows[0]))
        values = [(audit_id, *vars(row).values()) for row in rows]
        bulk.insert(connection, table, bulk.as_columns(["audit_id", *names], values))
