"""What answers to a case's questions come to: pure numbers, without any model."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from atlas.facts import as_name
from atlas.scripts import blank_between

WEIGHTS = {2: 2 / 3, 3: 4 / 3}  # of bigrams and trigrams, as ROME's evaluation has them
_WORD = re.compile(r"\w+|[^\w\s]")


def begins_with(text: str, answer: str) -> bool:
    """Whether a text begins with the answer, whole words and whatever the case."""
    said, wanted = as_name(text), as_name(answer)
    if not wanted or not said.startswith(wanted):
        return False
    following = said[len(wanted) : len(wanted) + 1]
    return not following.isalnum() or blank_between(wanted, following) == ""


def ngram_entropy(text: str) -> float | None:
    """Weighted mean of a text's bigram and trigram entropies, in bits; None for too few words.

    As in Meng et al. 2022: low where a model repeats itself. Words and marks count as one each.
    """
    words = _WORD.findall(text)
    if len(words) < max(WEIGHTS):
        return None
    total = 0.0
    for size, weight in WEIGHTS.items():
        grams = Counter(zip(*(words[start:] for start in range(size)), strict=False))
        count = sum(grams.values())
        total -= weight * sum(n / count * math.log2(n / count) for n in grams.values())
    return total / len(WEIGHTS)


def share(values: Sequence[bool]) -> float:
    """How many of the values are true, as a share."""
    return sum(values) / len(values)


def mean(values: Sequence[float]) -> float:
    """Their mean."""
    return math.fsum(values) / len(values)
