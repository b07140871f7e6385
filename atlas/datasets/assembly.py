"""Rows of any layout, folded into relations; every rule about their content is applied here."""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from atlas.counted import counted
from atlas.datasets.rows import FactRow, LabelRow, Place, Problem, Row, TemplateRow, quoted
from atlas.facts import Fact, Relation, Template, derived_fact_id

_RESERVED = ("[X]", "[Y]", "[MASK]")


@dataclass(frozen=True)
class Assembly:
    """Relations in the order in which rows first name them, and what is wrong with the rows.

    relations: those that have templates, with or without facts.
    without_templates: ids of relations that have facts only.
    """

    relations: tuple[Relation, ...]
    without_templates: tuple[str, ...]
    problems: tuple[Problem, ...]


def assemble(
    rows: Iterable[Row], label_of: Callable[[str], str], *, templates_required: bool
) -> Assembly:
    """Fold rows into relations.

    The same template or the same fact (id, subject and object) again adds nothing; a fact is the
    same whether its characters are composed (NFC) or not, and stays as it is first written. A
    relation that no row labels is labelled by `label_of` its id. With `templates_required`, a
    relation that has facts only is a problem.
    """
    drafts: dict[str, _Draft] = {}
    facts: dict[str, tuple[Fact, Place]] = {}
    problems: dict[Problem, None] = {}  # a dict, because one line may be found wrong twice over
    for row in rows:
        problem = row if isinstance(row, Problem) else _add(row, drafts, facts)
        if problem:
            problems.setdefault(problem)
    without = {name: draft for name, draft in drafts.items() if draft.facts and not draft.templates}
    if templates_required:
        for relation, draft in without.items():
            count = len(draft.facts)
            problem = draft.first_fact.problem(
                f"relation {relation} has {count} fact{'s' * (count > 1)} but no template: "
                'give one, like "The capital of [X] is [Y]."'
            )
            problems.setdefault(problem)
    relations = tuple(
        Relation(
            relation,
            draft.label or label_of(relation),
            tuple(Template(relation, text) for text in draft.templates),
            tuple(draft.facts),
        )
        for relation, draft in drafts.items()
        if draft.templates
    )
    return Assembly(relations, tuple(without), tuple(problems))


@dataclass
class _Draft:
    """A relation under construction."""

    first_fact: Place = field(default_factory=lambda: Place(""))
    label: str | None = None
    templates: dict[str, None] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)


def _add(
    row: FactRow | TemplateRow | LabelRow,
    drafts: dict[str, _Draft],
    facts: dict[str, tuple[Fact, Place]],
) -> Problem | None:
    draft = drafts.setdefault(row.relation, _Draft())
    if isinstance(row, TemplateRow):
        message = _template_fault(row.text)
        if message:
            return row.place.problem(message)
        draft.templates.setdefault(row.text)
        return None
    if isinstance(row, LabelRow):
        if draft.label not in (None, row.label):
            return row.place.problem(
                f"relation {row.relation} is called {quoted(row.label)} here but "
                f"{quoted(draft.label or '')} before: keep one label"
            )
        draft.label = row.label
        return None
    return _add_fact(row, draft, facts)


def _add_fact(row: FactRow, draft: _Draft, facts: dict[str, tuple[Fact, Place]]) -> Problem | None:
    for name, text in (("subject", row.subject), ("object", row.object)):
        reserved = next((slot for slot in _RESERVED if slot in text), None)
        if reserved:
            return row.place.problem(
                f"the {name} {quoted(text)} contains {reserved}, which only templates may: "
                "remove it"
            )
    triple = row.relation, row.subject, row.object
    composed = [unicodedata.normalize("NFC", text) for text in triple]
    key = row.uuid or derived_fact_id(*composed)
    fact_id = row.uuid or derived_fact_id(*triple)
    if key not in facts:
        if not draft.facts:
            draft.first_fact = row.place
        fact = Fact(fact_id, *triple)
        facts[key] = fact, row.place
        draft.facts.append(fact)
        return None
    known, place = facts[key]
    texts = known.relation_id, known.subject, known.object
    if [unicodedata.normalize("NFC", text) for text in texts] == composed:
        return None
    where = "" if place.file == row.place.file else f" of {place.file}"
    return row.place.problem(
        f"uuid {quoted(fact_id)} already belongs to ({known.subject}, {known.relation_id}, "
        f"{known.object}) on line {place.line}{where}: give one of the two facts another"
    )


def _template_fault(text: str) -> str | None:
    advice = "write [X] once for the subject and [Y] once for the object"
    for slot in ("[X]", "[Y]"):
        count = text.count(slot)
        if count != 1:
            times = "no" if count == 0 else counted(count, "time")
            return f"template {quoted(text)} has {times} {slot}: {advice}"
    if "[MASK]" in text:
        return f"template {quoted(text)} contains [MASK]: {advice}"
    return None
