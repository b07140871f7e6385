"""Spearman's correlation by counting ranks pair by pair."""

import math


def naive_spearman(x: list[float], y: list[float]) -> float:
    """Ranks by counting: a value's rank is what is smaller, and half of what is equal."""

    def ranks(values: list[float]) -> list[float]:
        return [sum((b < a) + (b == a) / 2 for b in values) for a in values]

    a, b = ranks(x), ranks(y)
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    top = sum((i - mean_a) * (j - mean_b) for i, j in zip(a, b, strict=True))
    below = sum((i - mean_a) ** 2 for i in a) * sum((j - mean_b) ** 2 for j in b)
    return top / math.sqrt(below)
