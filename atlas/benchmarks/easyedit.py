"""Files in EasyEdit's fields: flat CounterFact, and the factual part of KnowEdit."""

from atlas.benchmarks.case import BenchmarkCase, Question
from atlas.benchmarks.entries import Entry


def flat_case(entry: Entry) -> BenchmarkCase:
    """An entry with one paraphrase and one locality prompt, both of which may be missing."""
    locality, answers = entry.text_if_there("locality_prompt"), entry.texts("locality_ground_truth")
    if locality and not answers:
        entry.lacks.append('"locality_ground_truth"')
    truth = entry.texts("ground_truth")
    return BenchmarkCase(
        number=entry.number,
        prompt=entry.text("prompt"),
        new_object=entry.text("target_new"),
        subject=entry.text("subject"),
        true_object=truth[0] if truth else None,
        paraphrases=entry.texts("rephrase_prompt"),
        neighbourhood=(Question(locality, answers, "locality"),) if locality and answers else (),
    )


def knowedit_case(entry: Entry) -> BenchmarkCase:
    """An entry of KnowEdit's WikiData or zsRE files: `portability` and `locality` by kind."""
    truth = entry.texts("ground_truth")
    return BenchmarkCase(
        number=entry.number,
        prompt=entry.text("prompt"),
        new_object=entry.text("target_new"),
        subject=entry.text("subject"),
        true_object=truth[0] if truth else None,
        paraphrases=entry.texts("rephrase_prompt"),
        neighbourhood=entry.questions("locality"),
        portability=entry.questions("portability"),
    )
