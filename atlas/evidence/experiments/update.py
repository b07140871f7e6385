"""Facts that get another object by the paper's rule (Dai et al. 2022, section 5.1).

Asked are prompts that the model answers rightly. As in the paper, the edit of a fact is made from
the prompts that it is tried on; beside that, edits made from one half of the templates, with
neurons that these choose, are tried on prompts of the other (held out). The rule's directions are
those of the output embedding, which a masked head's dense layer turns: so it is tried through the
head, too, with the slopes of the objects' logits, see `edits.making.directions`. Controls: the same
rule on as many random neurons of the same layers.
"""

import random
from collections.abc import Iterator, Sequence

import duckdb
import numpy as np

from atlas.edits.applying import applied
from atlas.edits.edit import Edit
from atlas.engine.probe import Probed, probe
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
from atlas.specificity.controls import Neurons, random_alike
from atlas.specificity.partners import HALVES

VERSION = 2
OWN, RANDOM = "knowledge neurons", "random"
PUBLISHED, THROUGH_HEAD = RULES
OTHERS = {"same_relation": "other facts of its relation", "unrelated": "unrelated facts"}
OWN_PROMPTS = "its own prompts"


def by_rule(series: str, rule: str) -> str:
    """How the rows of some neurons, edited by a rule, are called."""
    return series if rule == PUBLISHED else f"{series}, {rule}"


def at_random_of(prompts: str) -> str:
    """How the rows of some prompts are called where random neurons are edited."""
    return f"{prompts}, {RANDOM} neurons"


class Update:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        updates = drawn_updates(connection, setting, drawn_facts(connection, setting))
        return [
            Item(fact_id, fact_id, update, digest(VERSION, update.asked))
            for update in updates
            for fact_id in [update.plan.fact.fact_id]
        ]

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        return [row for item in items for row in _rows(measuring.lm, item.name, item.task)]

    def claims(self, rows: Rows) -> list[Claim]:
        section = "Dai et al. 2022, section 5.1"
        critics = "Niu et al. 2024, section 4"
        at_random = "the same rule on as many random neurons of the same layers"
        share = "share of its prompts"
        through_head = by_rule(OWN, THROUGH_HEAD), by_rule(RANDOM, THROUGH_HEAD)
        nats = "nats of log P(answer) lost"
        return [
            Claim(
                "updated",
                "value vectors of knowledge neurons moved from the old object to a new one, the "
                "new one is the top answer",
                section,
                share,
                0.344,
                0.0,
                rows.contrast("success", OWN, RANDOM),
                at_random,
                "higher",
            ),
            Claim(
                "updated, through the head",
                "the same with the slopes of the objects' logits for their embeddings",
                section,
                share,
                0.344,
                0.0,
                rows.contrast("success", *through_head),
                at_random,
                "higher",
            ),
            Claim(
                "updated, held out",
                "the same on prompts of templates that the edit was not made from",
                section,
                share,
                0.344,
                0.0,
                rows.contrast("success, held out", *through_head),
                at_random,
                "higher",
            ),
            Claim(
                "changed",
                "the old object is no longer the top answer",
                section,
                share,
                None,
                None,
                rows.contrast("changed", OWN, RANDOM),
                at_random,
                "higher",
            ),
            Claim(
                "P(new) rises",
                "the new object gains probability",
                section,
                "P(new) after less P(new) before",
                None,
                None,
                rows.contrast("P(new) gained", OWN, RANDOM),
                at_random,
                "higher",
            ),
            *(
                Claim(
                    f"spares {others}",
                    f"prompts of {others} lose less than the fact's own prompts do",
                    section,
                    nats,
                    None,
                    None,
                    rows.contrast(
                        "log P lost",
                        by_rule(others, THROUGH_HEAD),
                        by_rule(OWN_PROMPTS, THROUGH_HEAD),
                    ),
                    OWN_PROMPTS,
                    "lower",
                )
                for others in OTHERS.values()
            ),
            *(
                Claim(
                    f"costs {others} no more",
                    f"prompts of {others} lose no more than when random neurons are edited",
                    section,
                    nats,
                    None,
                    None,
                    rows.contrast(
                        "log P lost",
                        by_rule(others, THROUGH_HEAD),
                        by_rule(at_random_of(others), THROUGH_HEAD),
                    ),
                    at_random,
                    "lower",
                )
                for others in OTHERS.values()
            ),
            Claim(
                "few flips",
                "the rule moves probabilities more than it changes answers",
                critics,
                "share of right prompts that become wrong",
                None,
                None,
                rows.contrast("harm", "flips", "share of P lost"),
                "share of P(old) that is lost",
                "lower",
            ),
            Claim(
                "few flips, through the head",
                "the same with the slopes of the objects' logits for their embeddings",
                critics,
                "share of right prompts that become wrong",
                None,
                None,
                rows.contrast(
                    "harm", by_rule("flips", THROUGH_HEAD), by_rule("share of P lost", THROUGH_HEAD)
                ),
                "share of P(old) that is lost",
                "lower",
            ),
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                "success",
                "Prompts whose top answer is the new object",
                "Mean over facts of the share of prompts whose top answer is the new object after "
                "the edit, on the edit's own prompts and on those held out, for knowledge neurons "
                "and random ones.",
                "prompts",
                "share of prompts",
                tuple(
                    Point(series, measure, rows.mean(measure, series))
                    for measure in ("success", "success, held out")
                    for series in rows.series(measure)
                ),
            ),
            Chart(
                "spared",
                "What the edit costs",
                "Mean over facts of the log P(answer) that prompts lose by the edit: the fact's "
                "own, those of other facts of its relation, those of unrelated facts.",
                "prompts",
                "nats of log P lost",
                tuple(
                    Point(rule, of, rows.mean("log P lost", by_rule(of, rule)))
                    for rule in RULES
                    for of in (OWN_PROMPTS, *OTHERS.values())
                ),
            ),
        ]


class _Asking:
    """The fact's prompts for the old object and for the new one, and those of others."""

    def __init__(self, lm: LanguageModel, update: DrawnUpdate) -> None:
        self.lm = lm
        self.asked = Asked(lm, update)
        self.count = len(self.asked.prompts)
        partners = [p for p in update.plan.prompts if p.group in OTHERS]
        self.groups = [OTHERS[p.group] for p in partners]
        others = [lm.targets(p.prompt.text, p.prompt.object) for p in partners]
        self.encoded = [*self.asked.old, *self.asked.new, *others]
        self.before = probe(lm, self.encoded)

    def after(self, edit: Edit) -> Probed:
        """What is answered with the edit."""
        with applied(self.lm, edit):
            return probe(self.lm, self.encoded)

    def success(self, edit: Edit, prompts: Sequence[int]) -> list[bool]:
        """Whether each of the fact's prompts has the new object on top with the edit."""
        with applied(self.lm, edit):
            after = probe(self.lm, [self.asked.new[place] for place in prompts])
        return [bool(rank == 1) for rank in after.answer_rank]

    def lost(self, after: Probed) -> dict[str, float]:
        """Mean log P lost by the fact's own prompts and those of each group of others."""
        change = self.before.log_p - after.log_p
        by_group = {OWN_PROMPTS: change[: self.count].tolist()}
        for group, one in zip(self.groups, change[2 * self.count :], strict=True):
            by_group.setdefault(group, []).append(one)
        return {group: float(np.mean(some)) for group, some in by_group.items()}


def _rows(lm: LanguageModel, item: str, update: DrawnUpdate) -> Iterator[Row]:
    asking = _Asking(lm, update)
    if not asking.count:
        return
    draw = update.plan.draws
    sets = _with_random(update.neurons, lm.neurons_per_layer, draw)
    halves = [_with_random(own, lm.neurons_per_layer, draw) for own in update.by_half]
    for rule in RULES:
        for series, neurons in sets.items():
            yield from _of_edit(asking, item, series, neurons, rule)
    for series in sets:
        success: list[bool] = []
        for half in range(HALVES):
            made_from, tried_on = (asking.asked.of_half(h) for h in (half, 1 - half))
            neurons = halves[half][series]
            if neurons and made_from and tried_on:
                edit = asking.asked.edit(neurons, made_from, RULES[THROUGH_HEAD])
                success += asking.success(edit, tried_on)
        if success:
            name = by_rule(series, THROUGH_HEAD)
            yield Row(item, "success, held out", name, None, float(np.mean(success)))


def _with_random(own: Neurons, width: int, draw: random.Random) -> dict[str, Neurons]:
    return {OWN: own, RANDOM: random_alike(own, width, draw)}


def _of_edit(asking: _Asking, item: str, series: str, neurons: Neurons, rule: str) -> Iterator[Row]:
    """What the rule on these neurons comes to on the prompts that it was made from."""
    edit = asking.asked.edit(neurons, range(asking.count), RULES[rule])
    after = asking.after(edit)
    old, new = slice(0, asking.count), slice(asking.count, 2 * asking.count)
    flips = float((after.answer_rank[old] > 1).mean())
    gained = after.p_answer[new].astype(float) - asking.before.p_answer[new]
    measured = {
        "success": float((after.answer_rank[new] == 1).mean()),
        "changed": flips,
        "P(new) gained": float(gained.mean()),
    }
    for measure, value in measured.items():
        yield Row(item, measure, by_rule(series, rule), None, value)
    for of, value in asking.lost(after).items():
        name = of if series == OWN else at_random_of(of)
        yield Row(item, "log P lost", by_rule(name, rule), None, value)
    if series != OWN:
        return
    lost = -float(np.expm1(after.log_p[old] - asking.before.log_p[old]).mean())
    for harm, value in (("flips", flips), ("share of P lost", lost)):
        yield Row(item, "harm", by_rule(harm, rule), None, value)


EXPERIMENT = Update()
