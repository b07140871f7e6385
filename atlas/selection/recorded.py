"""The rows of `selections`: adding one under a name, and making it the default."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from atlas.errors import SettingsError
from atlas.selection.thresholds import Thresholds
from atlas.store.rows import fetch_one

_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_LONGEST_NAME = 60


def record_selection(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    run_id: str,
    settings: Mapping[str, Any],
    name: str | None,
    automatic: Sequence[str],
) -> bool:
    """Add the selection unless it is there; returns whether it is new. It is not the default yet.

    settings: `preset`, and the thresholds that it has. A new selection without a name gets the
    first of the automatic ones that is not taken in the run, else the last with a number behind; an
    old one that is given a name is called so from now on. SettingsError for a name that is
    malformed or taken.
    """
    others = _names(connection, run_id)
    known = others.pop(selection_id, None)
    if name is not None:
        _require_free(name, run_id, others)
    if known is None:
        connection.execute(
            """
            INSERT INTO selections (
                selection_id, run_id, name, preset, ratio, sharing, comparison, min_prompts,
                known_only, created_at, settings, associated
            )
            VALUES (
                $selection_id, $run_id, $name, $preset, $ratio, $sharing, $comparison, $min_prompts,
                $known_only, $created_at, $settings, FALSE
            )
            """,
            {
                "selection_id": selection_id,
                "run_id": run_id,
                "name": name or free_name(automatic, set(others.values())),
                "preset": settings["preset"],
                "ratio": settings.get("ratio"),
                "sharing": settings.get("sharing"),
                "comparison": settings.get("comparison"),
                "min_prompts": settings.get("min_prompts"),
                "known_only": settings.get("known_only", False) if "ratio" in settings else None,
                "created_at": datetime.now(UTC).replace(tzinfo=None),
                "settings": json.dumps(settings, sort_keys=True),
            },
        )
    elif name not in (None, known):
        connection.execute(
            """
            UPDATE selections
            SET name = $name
            WHERE selection_id = $selection_id
            """,
            {"name": name, "selection_id": selection_id},
        )
    return known is None


def record_null_selection(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    run_id: str,
    null_of: str,
    name: str,
) -> None:
    """Add what the selection `null_of` finds in a null, with its thresholds, unless it is there.

    It is never the default by itself: `asked_at` stays empty, and the default is a real one.
    """
    others = _names(connection, run_id)
    if selection_id in others:
        return
    connection.execute(
        """
        INSERT INTO selections (
            selection_id, run_id, name, preset, ratio, sharing, comparison, min_prompts,
            known_only, created_at, settings, associated, null_of
        )
        SELECT $selection_id, $run_id, $name, preset, ratio, sharing, comparison, min_prompts,
               FALSE, $created_at, settings, FALSE, selection_id
        FROM selections
        WHERE selection_id = $null_of
        """,
        {
            "selection_id": selection_id,
            "run_id": run_id,
            "name": free_name([name], set(others.values())),
            "created_at": datetime.now(UTC).replace(tzinfo=None),
            "null_of": null_of,
        },
    )


def recorded_thresholds(connection: duckdb.DuckDBPyConnection, selection_id: str) -> Thresholds:
    """What a selection, not an imported one, asks of a neuron.

    A null has the settings of its real selection, but for knowledge: none of its facts is known.
    """
    settings, known_only = fetch_one(
        connection,
        """
        SELECT settings, known_only
        FROM selections
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    )
    return replace(Thresholds.from_settings(settings), known_only=known_only)


def offer_default(
    connection: duckdb.DuckDBPyConnection, selection_id: str, wanted: bool = True
) -> None:
    """Make the selection the default if that is wanted and it has a neuron, or if there is none.

    A selection without any knowledge neuron answers no question.
    """
    there_is, has_neurons = fetch_one(
        connection,
        """
        SELECT EXISTS (FROM selections WHERE asked_at IS NOT NULL),
               EXISTS (FROM knowledge_neurons WHERE selection_id = $selection_id)
        """,
        {"selection_id": selection_id},
    )
    if not there_is or (wanted and has_neurons):
        make_default(connection, selection_id)


def make_default(connection: duckdb.DuckDBPyConnection, selection_id: str) -> None:
    """Make the selection the default; nothing is written if it is already."""
    found = connection.execute("SELECT selection_id, asked_at FROM default_selection").fetchone()
    default, asked_at = found or (None, None)
    if default == selection_id and asked_at is not None:
        return
    now = datetime.now(UTC).replace(tzinfo=None)
    if asked_at is not None:  # a clock that was set back must not leave an older one the default
        now = max(now, asked_at + timedelta(microseconds=1))
    connection.execute(
        """
        UPDATE selections
        SET asked_at = $now
        WHERE selection_id = $selection_id
        """,
        {"now": now, "selection_id": selection_id},
    )


def _names(connection: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, str]:
    """Names of the run's selections, by id."""
    rows = connection.execute(
        """
        SELECT selection_id, name
        FROM selections
        WHERE run_id = $run_id
        """,
        {"run_id": run_id},
    ).fetchall()
    return {str(selection_id): str(name) for selection_id, name in rows}


def _require_free(name: str, run_id: str, others: Mapping[str, str]) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise SettingsError(
            f"'{name}' cannot name a selection: use letters, digits, '-', '_' and '.', "
            f"at most {_LONGEST_NAME} and no '-' in front"
        )
    for selection_id, taken in others.items():
        if taken == name:
            raise SettingsError(
                f"selection {selection_id} of run {run_id} is called {name} already: "
                "choose another name, or delete that selection first"
            )


def free_name(automatic: Sequence[str], taken: set[str]) -> str:
    """The first of the names that is not taken, else the last with a number behind."""
    numbered = (f"{automatic[-1]}-{number}" for number in itertools.count(2))
    return next(name for name in itertools.chain(automatic, numbered) if name not in taken)
