"""zsRE: as EasyEdit and ROME have it, and as MEND has it."""

from collections.abc import Mapping

from atlas.benchmarks.case import BenchmarkCase
from atlas.benchmarks.entries import Entry


def easyedit_case(entry: Entry) -> BenchmarkCase:
    """An entry with `src`, `alt` (the new object), `rephrase`, `loc` and `loc_ans`."""
    truth, locality = entry.texts("answers"), entry.question("loc", "loc_ans", "loc")
    return BenchmarkCase(
        number=entry.number,
        prompt=entry.text("src"),
        new_object=entry.text("alt"),
        subject=entry.text_if_there("subject"),
        true_object=truth[0] if truth else entry.text_if_there("pred"),
        paraphrases=entry.texts("rephrase"),
        neighbourhood=locality,
    )


def mend_case(entry: Entry) -> BenchmarkCase:
    """A line with `input`, `output`, `alternatives` (the first is the new object) and rephrasings.

    Its subject is the title of the page that the answer is from, where the question names it.
    """
    outputs = entry.value("output")
    first = outputs[0] if isinstance(outputs, list) and outputs else {}
    output = first if isinstance(first, Mapping) else {}
    truth = output.get("answer")
    if not isinstance(truth, str) or not truth.strip():
        entry.lacks.append('"answer" in the first of "output"')
    alternatives = entry.texts("alternatives")
    prompt = entry.text("input")
    if not alternatives:
        entry.lacks.append('"alternatives"')
    return BenchmarkCase(
        number=entry.number,
        prompt=prompt,
        new_object=alternatives[0] if alternatives else "",
        subject=_title(output, prompt),
        true_object=truth.strip() if isinstance(truth, str) else None,
        paraphrases=tuple(text for text in entry.texts("filtered_rephrases") if text != prompt),
    )


def _title(output: Mapping[str, object], prompt: str) -> str | None:
    sources = output.get("provenance")
    for source in sources if isinstance(sources, list) else ():
        title = source.get("title") if isinstance(source, Mapping) else None
        if isinstance(title, str) and title and title in prompt:
            return title
    return None
