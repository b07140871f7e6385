"""Edits of a source, put into the target: under their numbers where those are free.

An edit that the target has, one with the same digest, keeps its number and its state there; what
was measured of it and is not there yet comes along.
"""

import duckdb

from atlas.merging.sources import Source
from atlas.store import bulk

# What was measured of an edit comes along for those edits that the target has nothing of, or prompt
# by prompt where a check may be continued.
_MEASURED = {"edit_outcomes": ("edit_id",), "side_effects": ("edit_id", "prompt_id")}


def add_edits(connection: duckdb.DuckDBPyConnection, source: Source) -> int:
    """Returns how many edits were new."""
    numbers = _numbers(connection, source)
    new = [found for found in numbers if found[2]]
    if not numbers:
        return 0
    names = ["theirs", "edit_id", "is_new"]
    with bulk.offered(connection, bulk.as_columns(names, numbers)):
        for table in ("edits", "edit_facts", "edit_deltas"):
            connection.execute(
                f"""
                INSERT INTO {table} BY NAME
                SELECT t.* REPLACE (n.edit_id::INTEGER AS edit_id)
                FROM {source.table(table)} AS t
                JOIN {bulk.OFFERED} AS n ON n.theirs = t.edit_id
                WHERE n.is_new
                """
            )
        for table, key in _MEASURED.items():
            connection.execute(
                f"""
                INSERT INTO {table} BY NAME
                SELECT *
                FROM (
                    SELECT t.* REPLACE (n.edit_id::INTEGER AS edit_id)
                    FROM {source.table(table)} AS t
                    JOIN {bulk.OFFERED} AS n ON n.theirs = t.edit_id
                )
                ANTI JOIN (SELECT DISTINCT {", ".join(key)} FROM {table}) USING ({", ".join(key)})
                """
            )
    return len(new)


def _numbers(connection: duckdb.DuckDBPyConnection, source: Source) -> list[tuple[int, int, bool]]:
    """(number in the source, number in the target, whether it is new there) of every edit."""
    held = {
        str(digest): int(number)
        for digest, number in connection.execute(
            """
            SELECT digest, min(edit_id)
            FROM edits
            WHERE state <> 'deleted'
            GROUP BY digest
            """
        ).fetchall()
    }
    given = {int(n) for (n,) in connection.execute("SELECT edit_id FROM edits").fetchall()}
    found: list[tuple[int, int, bool]] = []
    for theirs, digest in connection.execute(
        f"""
        SELECT edit_id, digest
        FROM {source.table("edits")}
        WHERE state <> 'deleted'
        ORDER BY edit_id
        """
    ).fetchall():
        if digest in held:
            found.append((theirs, held[digest], False))
            continue
        number = theirs if theirs not in given else max(given) + 1
        given.add(number)
        held[digest] = number
        found.append((theirs, number, True))
    return found
