"""Near matches for a name that the atlas does not hold."""

import difflib
from collections.abc import Iterable


def near_matches(wanted: str, names: Iterable[str], most: int = 4) -> list[str]:
    """The names closest to `wanted`, best first, whatever the case of either."""
    by_lower: dict[str, str] = {}
    for name in names:
        by_lower.setdefault(name.lower(), name)
    close = difflib.get_close_matches(wanted.lower(), by_lower, n=most, cutoff=0.6)
    return [by_lower[name] for name in close]
