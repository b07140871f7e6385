"""CounterFact (Meng et al. 2022): as ROME has it, and flat as it is told on for tracing."""

from atlas.benchmarks.case import BenchmarkCase, Question
from atlas.benchmarks.entries import Entry


def rome_case(entry: Entry) -> BenchmarkCase:
    """An entry of ROME's list: `requested_rewrite` and lists of prompts.

    Its neighbourhood prompts are of other subjects with the same true object.
    """
    subject = entry.text("requested_rewrite.subject")
    prompt = entry.text("requested_rewrite.prompt")
    if prompt and "{}" not in prompt:
        entry.lacks.append('{} for the subject in "requested_rewrite.prompt"')
    true = entry.text("requested_rewrite.target_true.str")
    return BenchmarkCase(
        number=entry.number,
        prompt=prompt.replace("{}", subject),
        new_object=entry.text("requested_rewrite.target_new.str"),
        subject=subject,
        relation=entry.text_if_there("requested_rewrite.relation_id"),
        true_object=true,
        paraphrases=entry.texts("paraphrase_prompts"),
        neighbourhood=tuple(
            Question(text, (true,)) for text in entry.texts("neighborhood_prompts")
        ),
        generation=entry.texts("generation_prompts"),
    )


def tracing_case(entry: Entry) -> BenchmarkCase:
    """A flat entry with `target_true` beside `target_false`, which becomes the new object."""
    return BenchmarkCase(
        number=entry.number,
        prompt=entry.text("prompt"),
        new_object=entry.text("target_false"),
        subject=entry.text("subject"),
        relation=entry.text_if_there("relation_id"),
        true_object=entry.text("target_true"),
    )
