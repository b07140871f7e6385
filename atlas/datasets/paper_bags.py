"""The data file of the paper's own code (Dai et al. 2022, hunter-ddm/knowledge-neurons).

`data_all_allbags.json` is an object relation → list of bags; a bag is all prompts of one fact, each
[text with [MASK], answer, "P36(capital)"]. `data_11.json` and its like hold the bags without the
outer object, and are read too. The file was made by filling a relation's templates, in the same
order, with one subject after another; subjects and templates themselves are not in it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from atlas.counted import counted
from atlas.datasets.json_positions import Lines, element_positions, member_positions, value_position
from atlas.datasets.rows import (
    FactRow,
    LabelRow,
    Place,
    Problem,
    Row,
    TemplateRow,
    detokenised,
    quoted,
)

_MASK = "[MASK]"
_RELATION = re.compile(r"(?P<relation>[^()]+?)\s*(?:\((?P<label>.*)\))?")


@dataclass(frozen=True)
class _Bag:
    place: Place
    relation: str
    label: str | None
    prompts: tuple[str, ...]
    answer: str


def bag_rows(document: Any, text: str, file: str) -> Iterator[Row]:
    """The rows of the paper's data file; `document` is the value of the JSON in `text`.

    A relation whose subjects cannot be recovered yields one Problem; see `recover`.
    """
    bags: dict[str, list[_Bag]] = {}
    for place, relation, value in _located_bags(document, text, file):
        bag = _read_bag(value, place)
        if isinstance(bag, Problem):
            yield bag
        elif relation is not None and bag.relation != relation:
            yield place.problem(f"a bag of {bag.relation} under {quoted(relation)}: move it")
        else:
            bags.setdefault(bag.relation, []).append(bag)
    for relation, found in bags.items():
        yield from _relation_rows(relation, found)


def recover(bags: Sequence[Sequence[str]]) -> tuple[list[str], list[str]] | None:
    """Templates, one per prompt of a bag, and subjects, one per bag; None if there are none.

    Takes bags [bag][prompt] of equal length, with [MASK] in each prompt. A subject is what differs
    between the bags: the shortest run of whole words (where no whole words fit, of characters)
    such that, for every bag and prompt, the template with the bag's subject in place of [X] is the
    prompt again, character for character. So the prompts are always kept exactly; but words that
    all subjects of a relation have in common at the same end ("Battle of …") become part of the
    templates. Two facts with different prompts are the least from which this can tell.
    """
    first = [bag[0] for bag in bags]
    start, end = _shared_ends(first)
    model = min(first, key=len)
    cuts = [
        (left, right)
        for left in range(min(start, len(model)) + 1)
        for right in range(max(len(model) - end, left + 1), len(model) + 1)
    ]
    cuts.sort(key=lambda cut: (not _at_words(model, *cut), cut[1] - cut[0], cut[0]))
    for left, right in cuts:
        before, after = model[:left], model[right:]
        subjects = [prompt[left : len(prompt) - len(after)] for prompt in first]
        if not all(map(_may_be_subject, subjects)):
            continue
        templates: list[str] = [f"{before}[X]{after}"]
        for column in range(1, len(bags[0])):
            template = _template([bag[column] for bag in bags], subjects)
            if template is None:
                break
            templates.append(template)
        else:
            if any(template.count(_MASK) != 1 for template in templates):
                continue  # the subject has swallowed a mask that it touches
            return [template.replace(_MASK, "[Y]") for template in templates], subjects
    return None


def _located_bags(document: Any, text: str, file: str) -> Iterator[tuple[Place, str | None, Any]]:
    """Each bag with its line and, where the file is an object, the key it stands under."""
    lines, at = Lines(text), value_position(text)
    if isinstance(document, dict):
        starts = member_positions(text, at)
        lists = [(relation, starts[relation], bags) for relation, bags in document.items()]
    else:
        lists = [(None, at, document)]
    for relation, start, bags in lists:
        if not isinstance(bags, list):
            yield Place(file, lines.number(start)), relation, bags
            continue
        for position, bag in zip(element_positions(text, start), bags, strict=True):
            yield Place(file, lines.number(position)), relation, bag


def _read_bag(value: Any, place: Place) -> _Bag | Problem:
    shape = 'write [["text with [MASK]", "answer", "P36(capital)"], …]'
    if not isinstance(value, list) or not value:
        return place.problem(f"not a bag of prompts: {shape}")
    for entry in value:
        texts = isinstance(entry, list) and all(isinstance(part, str) for part in entry)
        if not texts or len(entry) != 3:
            return place.problem(f"a bag with an entry that is not three texts: {shape}")
        if entry[0].count(_MASK) != 1:
            return place.problem(f"{quoted(entry[0])} must have {_MASK} once: mend or remove it")
        if entry[1:] != value[0][1:]:
            return place.problem("a bag with several answers or relations: split it, one per fact")
    _, answer, named = value[0]
    if not answer.strip():
        return place.problem("a bag whose answer is empty: give it, or remove the bag")
    match = _RELATION.fullmatch(named.strip())
    if match is None:
        return place.problem(f'{quoted(named)} names no relation: write it like "P36(capital)"')
    prompts = tuple(entry[0] for entry in value)
    label = (match["label"] or "").strip()
    return _Bag(place, match["relation"].strip(), label or None, prompts, answer.strip())


def _relation_rows(relation: str, bags: list[_Bag]) -> Iterator[Row]:
    size = len(bags[0].prompts)
    for bag in bags:
        if len(bag.prompts) != size:
            yield bag.place.problem(
                f"{counted(len(bag.prompts), 'prompt')} in a bag of {relation} whose first bag has "
                f"{size}: give every bag the same templates in the same order"
            )
    bags = [bag for bag in bags if len(bag.prompts) == size]
    place = bags[0].place
    if len({bag.prompts for bag in bags}) < 2:
        yield place.problem(
            f"{relation} has one fact only, from which its subject cannot be recovered: "
            "add a fact, or write the relation as JSONL"
        )
        return
    found = recover([bag.prompts for bag in bags])
    if found is None:
        yield _first_misfit(bags).place.problem(
            f"the subject cannot be recovered: this bag of {relation} does not come from the "
            "same templates, in the same order, as those before it"
        )
        return
    templates, subjects = found
    for template in templates:
        yield TemplateRow(place, relation, detokenised(template))
    for bag, subject in zip(bags, subjects, strict=True):
        if bag.label is not None:
            yield LabelRow(bag.place, relation, bag.label)
        yield FactRow(bag.place, relation, subject, bag.answer, None)


def _first_misfit(bags: list[_Bag]) -> _Bag:
    """The first bag with which no recovery is possible; whatever fits many fits fewer of them."""
    fits, fails = 1, len(bags)
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if recover([bag.prompts for bag in bags[:middle]]) is None:
            fails = middle
        else:
            fits = middle
    return bags[fails - 1]


def _template(prompts: Sequence[str], subjects: Sequence[str]) -> str | None:
    """The one text around the subjects that makes all the prompts, with [X] in their place."""
    model, subject = prompts[0], subjects[0]
    at = model.find(subject)
    while at >= 0:
        before, after = model[:at], model[at + len(subject) :]
        pairs = zip(prompts, subjects, strict=True)
        if all(prompt == before + subject + after for prompt, subject in pairs):
            return f"{before}[X]{after}"
        at = model.find(subject, at + 1)
    return None


def _shared_ends(texts: Sequence[str]) -> tuple[int, int]:
    """How many characters all texts have in common at their start, and at their end."""
    return _shared_start(texts), _shared_start([text[::-1] for text in texts])


def _shared_start(texts: Sequence[str]) -> int:
    # whatever the first and the last in order share, all between them share too
    pairs = zip(min(texts), max(texts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _at_words(text: str, left: int, right: int) -> bool:
    """Whether text[left:right] neither begins nor ends inside a word."""
    begins = left == 0 or not (text[left - 1].isalnum() and text[left].isalnum())
    ends = right == len(text) or not (text[right - 1].isalnum() and text[right].isalnum())
    return begins and ends


def _may_be_subject(text: str) -> bool:
    return bool(text) and text == text.strip() and _MASK not in text
