"""Reading the one JSON shape of answers, as a command prints it."""

import json
from typing import Any


def rows_of(stdout: str) -> list[Any]:
    """The rows of the answer's main table."""
    rows: list[Any] = _answer(stdout)["rows"]
    return rows


def summary_of(stdout: str) -> dict[str, Any]:
    """All that the answer says beside its main table."""
    summary: dict[str, Any] = _answer(stdout)["summary"]
    return summary


def merged_of(stdout: str, rows: str) -> dict[str, Any]:
    """The summary with the main table in it, under the name of its field."""
    answer = _answer(stdout)
    return {**answer["summary"], rows: answer["rows"]}


def _answer(stdout: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(stdout)
    assert set(answer) == {"schema_version", "answer", "run", "selection", "rows", "summary"}
    return answer
