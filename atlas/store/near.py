"""Near matches for a name that the atlas does not hold."""

import unicodedata
from collections.abc import Mapping

import duckdb

_ALIKE = 0.85  # least Jaro-Winkler similarity, which counts a common beginning for more


def near_matches(
    connection: duckdb.DuckDBPyConnection,
    wanted: str,
    names: str,
    parameters: Mapping[str, object] | None = None,
    most: int = 4,
) -> list[str]:
    """The names closest to `wanted`, best first, whatever the case of either.

    `names` is a query for one column, `name`, with `parameters` of its own. Near is what is spelt
    alike, what differs in no more than a third of its letters, and what contains the wanted word.
    """
    found = connection.execute(
        f"""
        WITH names AS (
            {names}
        ),
        different AS (
            SELECT min(name) AS name,
                   lower(nfc_normalize(name)) AS lowered
            FROM names
            GROUP BY lowered
        ),
        compared AS (
            SELECT name,
                   jaro_winkler_similarity(lowered, lower($wanted)) AS likeness,
                   damerau_levenshtein(lowered, lower($wanted)) AS edits,
                   length($wanted) > 2 AND contains(lowered, lower($wanted)) AS within
            FROM different
        )
        SELECT name
        FROM compared
        WHERE likeness >= $alike
           OR edits <= length(name) // 3
           OR within
        ORDER BY likeness DESC, edits, name
        LIMIT $most
        """,
        {
            "wanted": unicodedata.normalize("NFC", wanted.strip()),
            "alike": _ALIKE,
            "most": most,
            **(parameters or {}),
        },
    ).fetchall()
    return [str(name) for (name,) in found]
