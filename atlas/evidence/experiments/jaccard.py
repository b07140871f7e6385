"""How much two sets of neurons have in common."""

from collections.abc import Collection, Hashable


def jaccard(first: Collection[Hashable], second: Collection[Hashable]) -> float:
    """What both hold, as a share of what either holds; 0 where both are empty."""
    either = set(first) | set(second)
    return len(set(first) & set(second)) / len(either) if either else 0.0
