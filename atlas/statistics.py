"""Statistics of paired and of grouped numbers; None where one is undefined.

scipy.stats is imported when something is computed: it takes half a second.
"""

from collections.abc import Sequence

from atlas.counted import counted


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties ranked by their mean; None where it is undefined.

    That is the case for fewer than three pairs, and where all of x or all of y are equal.
    """
    if len(x) != len(y):
        raise ValueError(f"{counted(len(x), 'value')} of x but {len(y)} of y")
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


RESAMPLES = 2000
AT_ONCE = 4_000_000  # values drawn
Interval = tuple[float, float]


def mean_interval(values: Sequence[float], seed: int = 0) -> Interval | None:
    """Where the mean lies with 95 %, by a seeded bootstrap (percentiles); None for fewer than two.

    Whatever the values are of is drawn anew, with replacement.
    """
    return ratio_interval(values, [1.0] * len(values), seed)


def ratio_interval(
    above: Sequence[float], below: Sequence[float], seed: int = 0
) -> Interval | None:
    """The same for a ratio of two means of paired values."""
    if len(above) != len(below):
        raise ValueError(f"{counted(len(above), 'value')} above but {len(below)} below")
    if len(above) < 2:
        return None
    import numpy as np

    draw = np.random.default_rng(seed)
    size = max(1, min(RESAMPLES, AT_ONCE // len(above)))
    parts = []
    for start in range(0, RESAMPLES, size):  # for a million values do not fit into memory at once
        drawn = draw.integers(0, len(above), (min(size, RESAMPLES - start), len(above)))
        parts.append([np.asarray(values)[drawn].mean(axis=1) for values in (above, below)])
    means = [np.concatenate(some) for some in zip(*parts, strict=True)]
    if not means[1].all():
        return None
    low, high = np.percentile(means[0] / means[1], [2.5, 97.5])
    return float(low), float(high)
