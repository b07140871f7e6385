"""Whether what an edited fact implies follows (Niu et al. 2024, section 5).

Bijective symmetry: who makes Galway the capital of Ireland has made Ireland what Galway is the
capital of. Synonymous invariance: the same holds in a relation that says the same. The atlas tells
which facts imply which. A relation is another's inverse if at least half of its facts stand there
with subject and object swapped; it says the same if nearly all of its facts stand there whose
subjects do (embedded: native language and languages spoken, the languages of works and of films, a
company's origin and headquarters). So `synonym` is agreement in the data. Facts are edited by the
paper's rule through the head (see `update`; as published it puts hardly any new object on top of a
masked model, so that nothing could follow). An implied question is asked by all templates of its
relation.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import duckdb
import numpy as np

from atlas.edits.applying import applied
from atlas.engine.probe import probe
from atlas.errors import NotFound
from atlas.evidence.experiments.drawn_facts import drawn_facts
from atlas.evidence.experiments.drawn_updates import RULES, Asked, DrawnUpdate, drawn_updates
from atlas.evidence.experiments.experiment import (
    Chart,
    Claim,
    Item,
    Measuring,
    Point,
    Row,
    Rows,
    Setting,
    digest,
)
from atlas.models.language_model import LanguageModel
from atlas.selection.chosen import labelled
from atlas.side_effects.implied import implied_effects
from atlas.side_effects.implied_facts import ImpliedEffect, ImpliedFact, implied_by
from atlas.specificity.planned import planned
from atlas.specificity.stored import known_facts

VERSION = 1
RULE = "through the head"
IMPLIES = 0.5  # share of a relation's facts that must be mirrored
SAME = 0.9  # share that must have the same object, of those with a subject that both have
FEWEST = 5  # of these
OWN = "its own prompts"
WAYS = {"inverse": "the inverse relation", "synonym": "a relation that says the same"}


@dataclass(frozen=True, eq=False)
class Implying:
    """A fact that is to get a new object, and what it implies."""

    update: DrawnUpdate
    implied: tuple[ImpliedFact, ...]


class Inverse:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        return [
            Item(fact_id, fact_id, task, digest(VERSION, task.update.asked, implied))
            for task in _implying(connection, setting)
            for fact_id in [task.update.plan.fact.fact_id]
            for implied in [[astuple(fact) for fact in task.implied]]
        ]

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        return [row for item in items for row in _rows(measuring.lm, item.name, item.task)]

    def claims(self, rows: Rows) -> list[Claim]:
        source = "Niu et al. 2024, section 5"
        return [
            Claim(
                name,
                statement.format(words),
                source,
                unit,
                None,
                None,
                rows.contrast(measure, way, OWN),
                "the edited fact's own prompts",
                "lower",
            )
            for name, measure, way, words, unit, statement in (
                (f"{way}: {short}", measure, way, words, unit, statement)
                for way, words in WAYS.items()
                for short, measure, unit, statement in (
                    (
                        "new follows less",
                        "new object on top",
                        "share of prompts",
                        "an edit carries over to {} less often than it succeeds",
                    ),
                    (
                        "old goes less",
                        "old object gone",
                        "share of prompts that were right",
                        "the old fact goes less often from {} than from the edited one",
                    ),
                )
            )
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                "follows",
                "Whether what an edited fact implies follows",
                "Mean over facts of the share of prompts with the new object on top, and of right "
                "prompts that lose the old one, on the fact's own prompts and on implied ones.",
                "prompts",
                "share of prompts",
                tuple(
                    Point(measure, series, rows.mean(measure, series))
                    for measure in ("new object on top", "old object gone")
                    for series in (OWN, *WAYS)
                ),
            )
        ]


def _implying(connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Implying]:
    """At most `setting.limit` known facts of each relation that imply others, to be updated."""
    selection = setting.selection
    implied = _implied(connection, selection.run_id)
    if not implied:
        drawn_facts(connection, setting)  # which may say what else is missing
        raise NotFound(
            f"no known fact of selection {labelled(selection)} implies another in the atlas: index "
            "relations that are each other's inverse, say P36 and P1376"
        )
    relations = sorted({relation for relation, _ in implied.values()})
    plans = planned(connection, selection, relations, 1, None, setting.seed, setting.null)
    updates = drawn_updates(connection, setting, [p for p in plans if p.fact.fact_id in implied])
    taken: Counter[str] = Counter()
    found = []
    for update in updates:
        fact = update.plan.fact
        taken[fact.relation_id] += 1
        if setting.limit is None or taken[fact.relation_id] <= setting.limit:
            found.append(Implying(update, tuple(implied[fact.fact_id][1])))
    return found


def _implied(
    connection: duckdb.DuckDBPyConnection, run_id: str
) -> Mapping[str, tuple[str, list[ImpliedFact]]]:
    """By known fact its relation and what it implies; facts that imply nothing are left out."""
    facts = known_facts(connection, run_id)
    found: dict[str, tuple[str, list[ImpliedFact]]] = {}
    given = [(n, fact.relation_id, fact.subject, fact.object) for n, fact in enumerate(facts)]
    for implied in implied_by(connection, given):
        if implies(implied):
            fact = facts[implied.edited]
            of_fact = found.setdefault(fact.fact_id, (fact.relation_id, []))
            of_fact[1].append(replace(implied, edited=0))
    return found


def implies(implied: ImpliedFact) -> bool:
    """Whether the data say that the edited fact's relation implies the implied fact's."""
    if implied.way == "inverse":
        return implied.mirrored >= IMPLIES * implied.relation_facts
    return implied.comparable >= FEWEST and implied.mirrored >= SAME * implied.comparable


def _rows(lm: LanguageModel, item: str, task: Implying) -> Iterator[Row]:
    asked = Asked(lm, task.update)
    if not asked.prompts:
        return
    edit = asked.edit(task.update.neurons, range(len(asked.prompts)), RULES[RULE])
    with applied(lm, edit):
        old, new = probe(lm, asked.old), probe(lm, asked.new)
    shares: dict[tuple[str, str], list[float]] = defaultdict(list)
    shares["new object on top", OWN].append(float((new.answer_rank == 1).mean()))
    shares["old object gone", OWN].append(float((old.answer_rank > 1).mean()))
    for effect in implied_effects(lm, edit, task.implied):
        if (share := _share(effect)) is not None:
            shares[share[0], effect.way].append(share[1])
    for (measure, series), values in shares.items():
        yield Row(item, measure, series, None, float(np.mean(values)))


def _share(effect: ImpliedEffect) -> tuple[str, float] | None:
    """What was implied and the share of prompts that did it; None where no prompt was right.

    Prompts that became right by the edit stand for others that did not stay so.
    """
    if effect.wanted == "rises":
        return "new object on top", effect.top_after / effect.prompts
    if not effect.top_before:
        return None
    kept = min(effect.top_after, effect.top_before)
    return "old object gone", 1 - kept / effect.top_before


EXPERIMENT = Inverse()
