"""Files of the field that are not read: how they are known, and what to do with them."""

from collections.abc import Mapping

_WRITE = (
    'write its facts as lines {"relation": …, "subject": …, "object": …} and each of its prompts '
    'as {"relation": …, "template": "… [X] … [Y]."}'
)
_EVALUATE = "as a benchmark of edits `atlas evaluate` takes it as it is"
# Name, keys by which an entry is known, and what to do.
FOREIGN: tuple[tuple[str, frozenset[str], str], ...] = (
    (
        "CounterFact",
        frozenset(("requested_rewrite",)),
        f"{_WRITE}: of requested_rewrite, {{}} in prompt is [X] and target_true the object; "
        f"{_EVALUATE}",
    ),
    (
        "EasyEdit's JSON",
        frozenset(("prompt", "target_new")),
        f"{_WRITE}; ground_truth is the object; {_EVALUATE}",
    ),
    ("zsRE", frozenset(("src", "subject", "alt")), f"{_WRITE}: src is the question; {_EVALUATE}"),
    (
        "LAMA's relations.jsonl",
        frozenset(("relation", "template", "description", "type")),
        "name the directory that holds it and TREx/, with the facts",
    ),
    (
        "a LAMA file without relations",
        frozenset(("masked_sentences",)),
        "name the directory that holds LAMA's relations.jsonl and TREx/: these are read",
    ),
    (
        "a line of LAMA's or ParaRel's",
        frozenset(("sub_label", "obj_label")),
        "name LAMA's directory, which holds relations.jsonl and TREx/, or the directory that holds "
        "ParaRel's patterns and facts instead",
    ),
    (
        "a line of ParaRel's",
        frozenset(("pattern",)),
        "name the directory that holds its patterns and facts instead",
    ),
)


def what_it_is(entry: Mapping[str, object]) -> str | None:
    """Which file of the field has such entries, and what to do; None for none that is known."""
    if "object" in entry or "templates" in entry:
        return None  # the atlas's own, whatever else it says
    for name, keys, advice in FOREIGN:
        if keys <= entry.keys():
            return f"{name} is not read: {advice}"
    return None
