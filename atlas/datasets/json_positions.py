"""Where the parts of a JSON text begin, so that an error can name the line.

Everything here takes text that `json.loads` has accepted.
"""

import json
import re
from bisect import bisect_left

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


class Lines:
    """Line numbers, from 1, of positions in a text."""

    def __init__(self, text: str) -> None:
        self._ends = [match.start() for match in re.finditer("\n", text)]

    def number(self, at: int) -> int:
        return bisect_left(self._ends, at) + 1


def value_position(text: str) -> int:
    """Where the text's one value begins."""
    return _past_space(text, 0)


def member_positions(text: str, at: int) -> dict[str, int]:
    """Where the values of the object at `at` begin, by key."""
    positions: dict[str, int] = {}
    at = _past_space(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _past_space(text, _past_space(text, at) + 1)
        positions[key] = at
        at = _past_value(text, at)
    return positions


def element_positions(text: str, at: int) -> list[int]:
    """Where the elements of the array at `at` begin."""
    positions: list[int] = []
    at = _past_space(text, at + 1)
    while text[at] != "]":
        positions.append(at)
        at = _past_value(text, at)
    return positions


def _past_value(text: str, at: int) -> int:
    """The next value or closing bracket after the value at `at`."""
    _, at = _DECODER.raw_decode(text, at)
    at = _past_space(text, at)
    return _past_space(text, at + 1) if text[at] == "," else at


def _past_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
