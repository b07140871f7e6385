"""Statistics of paired and of grouped numbers; None where one is undefined.

scipy.stats is imported when something is computed: it takes half a second.
"""

from collections.abc import Sequence


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties ranked by their mean; None where it is undefined.

    That is the case for fewer than three pairs, and where all of x or all of y are equal.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} values of x but {len(y)} of y")
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(x, y).statistic)


def separation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The share of pairs in which the first's value is larger, ties counting half (the AUC).

    None if either is empty.
    """
    if not first or not second:
        return None
    from scipy.stats import mannwhitneyu

    wins = mannwhitneyu(first, second, method="asymptotic").statistic
    return float(wins) / (len(first) * len(second))
