"""Facts that the model knows beside those that it does not: have those knowledge neurons, too?

Neurons of either are chosen alike, from stored scores, at the sharing at which the relation's
selection came to rest. Unknown facts are also looked at where P(answer) is near 0. Half of a fact's
templates choose neurons, which are suppressed on prompts of the other half, whatever the model
answers there. A relation is one item, so that known and unknown facts are compared within it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import duckdb

from atlas.errors import NotFound
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
from atlas.evidence.experiments.jaccard import jaccard
from atlas.evidence.experiments.losses import Asked, mean_losses
from atlas.evidence.experiments.scored_facts import (
    PromptChoice,
    ScoredFact,
    chosen_by,
    halved,
    prompt_choices,
    scored_facts,
)
from atlas.models.language_model import LanguageModel
from atlas.selection.chosen import ChosenSelection, labelled
from atlas.specificity.controls import random_alike
from atlas.specificity.partners import AskedPrompt

KNOWN, UNKNOWN, NEAR_0 = "known facts", "unknown facts", "facts with P near 0"
NEAR = 0.01  # mean P(answer) over a fact's prompts, below which it is near 0
PROMPTS = 4  # of a half that neurons are tried on, at most
OF_RANDOM = ", random neurons"


@dataclass(frozen=True)
class _Task:
    facts: dict[str, tuple[ScoredFact, ...]]
    seed: str


class Knowledge:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        p_of = _mean_p(connection, setting.selection.run_id)
        relations: dict[str, dict[str, list[ScoredFact]]] = {}
        for fact in scored_facts(connection, setting.selection):
            kinds = relations.setdefault(
                fact.relation_id, {kind: [] for kind in (KNOWN, UNKNOWN, NEAR_0)}
            )
            kinds[KNOWN if fact.known else UNKNOWN].append(fact)
            if not fact.known and p_of[fact.fact_id] < NEAR:
                kinds[NEAR_0].append(fact)
        items = []
        for relation, kinds in relations.items():
            if not kinds[KNOWN] or not kinds[UNKNOWN]:
                continue
            seed = f"knowledge {setting.seed} {relation}"
            draw = random.Random(seed)
            drawn = {
                kind: tuple(draw.sample(facts, min(len(facts), setting.limit or len(facts))))
                for kind, facts in kinds.items()
            }
            task = _Task(drawn, seed)
            items.append(Item(relation, None, task, digest(1, NEAR, PROMPTS, task)))
        if not items:
            raise NotFound(
                f"selection {labelled(setting.selection)} has no relation with both known and "
                "unknown facts: index more facts"
            )
        return items

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        selection = measuring.setting.selection
        tasks: list[_Task] = [item.task for item in items]
        wanted = {f.fact_id for task in tasks for facts in task.facts.values() for f in facts}
        with measuring.atlas.reading() as connection:
            choices = prompt_choices(connection, selection, sorted(wanted))
        return [row for item in items for row in _rows(measuring.lm, selection, item, choices)]

    def claims(self, rows: Rows) -> list[Claim]:
        source = "Dai et al. 2022, section 3: neurons that express a fact"

        def claim(name: str, statement: str, unit: str, measure: str, series: str) -> Claim:
            return Claim(
                name,
                statement,
                source,
                unit,
                None,
                None,
                rows.contrast(measure, series, KNOWN),
                "known facts of the same relation",
                "lower",
            )

        index = "Jaccard index of what two halves of the templates choose"
        lost = "share of P lost"
        found = [
            claim(
                "unknown are less stable",
                "paraphrases of a fact that the model does not know agree less on neurons",
                index,
                "halves",
                UNKNOWN,
            ),
            claim(
                "near 0 are less stable",
                "paraphrases of a fact with P near 0 agree less on neurons",
                index,
                "halves",
                NEAR_0,
            ),
            claim(
                "unknown have fewer",
                "a fact that the model does not know has fewer knowledge neurons",
                "neurons",
                "neurons",
                UNKNOWN,
            ),
            claim(
                "unknown lose less",
                "a fact that the model does not know loses less with its neurons suppressed",
                lost,
                "loss",
                UNKNOWN,
            ),
        ]
        found.append(
            Claim(
                "unknown lose, too",
                "neurons of facts that the model does not know matter to the answer, too",
                source,
                lost,
                None,
                None,
                rows.contrast("loss", UNKNOWN, UNKNOWN + OF_RANDOM),
                "as many random neurons of the same layers",
                "higher",
            )
        )
        return found

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                "stability",
                "Known facts, unknown ones, and those with P near 0",
                "Mean over relations of the Jaccard index of what two halves of a fact's templates "
                "choose, and of the share of P(answer) that suppressing them costs.",
                "measure",
                "share",
                tuple(
                    Point(series, measure, rows.mean(measure, series))
                    for measure in ("halves", "loss")
                    for series in rows.series(measure)
                ),
            )
        ]


def _mean_p(connection: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, float]:
    return dict(
        connection.execute(
            """
            SELECT p.fact_id,
                   avg(m.p_answer)
            FROM prompt_results AS m
            JOIN prompts AS p USING (prompt_id)
            WHERE m.run_id = $run_id
              AND m.skipped_because IS NULL
            GROUP BY p.fact_id
            """,
            {"run_id": run_id},
        ).fetchall()
    )


def _rows(
    lm: LanguageModel,
    selection: ChosenSelection,
    item: Item,
    choices: dict[str, list[PromptChoice]],
) -> list[Row]:
    task: _Task = item.task
    draw = random.Random(task.seed)
    values: dict[tuple[str, str], list[float]] = {}
    asked: dict[tuple[str, str], Asked] = {}
    for kind, facts in task.facts.items():
        for fact in facts:
            prompts = choices[fact.fact_id]
            first, second = halved(prompts)
            by_half = [chosen_by(selection, fact, half) for half in (first, second)]
            values.setdefault(("neurons", kind), []).append(
                len(chosen_by(selection, fact, prompts))
            )
            if any(by_half):
                values.setdefault(("halves", kind), []).append(jaccard(*by_half))
            if by_half[0]:
                own = tuple(sorted(by_half[0]))
                some = [
                    AskedPrompt(fact.fact_id, p.text, fact.object, p.subject_end, 1)
                    for p in second[:PROMPTS]
                ]
                asked[kind, fact.fact_id] = (some, own)
                alike = random_alike(own, lm.neurons_per_layer, draw)
                asked[kind + OF_RANDOM, fact.fact_id] = (some, alike)
    for (kind, _), value in mean_losses(lm, asked).items():
        values.setdefault(("loss", kind), []).append(value)
    return [
        Row(item.name, measure, kind, None, fmean(some)) for (measure, kind), some in values.items()
    ]


EXPERIMENT = Knowledge()
