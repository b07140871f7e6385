"""Files in EasyEdit's fields: flat CounterFact, and the factual part of KnowEdit."""

from dataclasses import replace

from atlas.benchmarks.case import BenchmarkCase
from atlas.benchmarks.entries import Entry


def flat_case(entry: Entry) -> BenchmarkCase:
    """An entry with one paraphrase and one locality prompt, both of which may be missing."""
    locality = entry.question("locality_prompt", "locality_ground_truth", "locality")
    return replace(_rewrite(entry), neighbourhood=locality)


def knowedit_case(entry: Entry) -> BenchmarkCase:
    """An entry of KnowEdit's WikiData or zsRE files: `portability` and `locality` by kind."""
    return replace(
        _rewrite(entry),
        neighbourhood=entry.questions("locality"),
        portability=entry.questions("portability"),
    )


def _rewrite(entry: Entry) -> BenchmarkCase:
    """What both have: the edit and its paraphrase."""
    truth = entry.texts("ground_truth")
    return BenchmarkCase(
        number=entry.number,
        prompt=entry.text("prompt"),
        new_object=entry.text("target_new"),
        subject=entry.text("subject"),
        true_object=truth[0] if truth else None,
        paraphrases=entry.texts("rephrase_prompt"),
    )
