"""Whether an edit carried over to what its fact implies: the inverse relation, the synonyms.

Niu et al. 2024 call these bijective symmetry and synonymous invariance: who moves Ireland's capital
from Dublin to Galway has moved something only if Galway, too, is then the capital of Ireland.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atlas.edits.applying import applied
from atlas.edits.edit import Edit
from atlas.engine.probe import probe
from atlas.facts import Fact, Template
from atlas.models.language_model import LanguageModel
from atlas.prompts import Target, UnusablePrompt, fill
from atlas.side_effects.implied_facts import ImpliedEffect, ImpliedFact


@dataclass(frozen=True)
class _Question:
    fact: ImpliedFact
    subject: str
    object: str
    wanted: str
    encoded: Sequence[Sequence[Target]]


def implied_effects(
    lm: LanguageModel, edit: Edit, implied: Sequence[ImpliedFact]
) -> list[ImpliedEffect]:
    """Ask what an edit implies, without it and with it.

    implied: from `implied_queries.implied_facts`. For each the fact of the atlas, whose answer
    should fall (after `amplify`: rise); and for an update, once a relation, the same templates with
    the new object in the old one's place, which should rise. Questions that the model cannot be
    asked are left out.
    """
    questions = [q for q in _questions(lm, edit, implied) if q.encoded]
    encoded = [targets for question in questions for targets in question.encoded]
    if not encoded:
        return []
    before = probe(lm, encoded)
    with applied(lm, edit):
        after = probe(lm, encoded)
    effects, start = [], 0
    for question in questions:
        part = slice(start, start + len(question.encoded))
        start = part.stop
        prompts = len(question.encoded)
        top_before = int((before.answer_rank[part] == 1).sum())
        top_after = int((after.answer_rank[part] == 1).sum())
        effects.append(
            ImpliedEffect(
                way=question.fact.way,
                relation_id=question.fact.relation_id,
                relation=question.fact.relation,
                subject=question.subject,
                object=question.object,
                wanted=question.wanted,
                prompts=prompts,
                p_before=float(before.p_answer[part].mean()),
                p_after=float(after.p_answer[part].mean()),
                top_before=top_before,
                top_after=top_after,
                carried_over=carried_over(question.wanted, prompts, top_before, top_after),
                mirrored=question.fact.mirrored,
                relation_facts=question.fact.relation_facts,
            )
        )
    return effects


def carried_over(wanted: str, prompts: int, top_before: int, top_after: int) -> bool | None:
    """Whether most top answers became what is wanted; None if they were before (see ImpliedEffect).

    For `rises`, most prompts must have the answer on top after; for `falls`, must not.
    """
    held, holds = 2 * top_before > prompts, 2 * top_after > prompts
    if wanted == "rises":
        return None if held else holds
    return not holds if held else None


def _questions(
    lm: LanguageModel, edit: Edit, implied: Sequence[ImpliedFact]
) -> Iterator[_Question]:
    indexed = "rises" if edit.kind == "amplify" else "falls"
    seen: set[tuple[str, str, int]] = set()
    edited = edit.edited_facts
    for fact in implied:
        yield _question(lm, fact, fact.subject, fact.object, indexed)
        own = edited[fact.edited]
        if own.new_object is None or (fact.way, fact.relation_id, fact.edited) in seen:
            continue
        seen.add((fact.way, fact.relation_id, fact.edited))
        pair = (own.new_object, own.subject)
        subject, object_ = pair if fact.way == "inverse" else pair[::-1]
        yield _question(lm, fact, subject, object_, "rises")


def _question(
    lm: LanguageModel, implied: ImpliedFact, subject: str, object_: str, wanted: str
) -> _Question:
    fact = Fact("", implied.relation_id, subject, object_)
    encoded = []
    for text in implied.templates:
        filled = fill(Template(implied.relation_id, text), fact)
        try:
            encoded.append(lm.targets(filled, object_))
        except UnusablePrompt:
            continue
    return _Question(implied, subject, object_, wanted, encoded)
