"""Whether bfloat16 finds the neurons that float32 finds.

Prompts of drawn facts are attributed by the run's method on the run's model in float32, and on a
copy whose weights and passes are in bfloat16. Each prompt's neurons are those that pass the
selection's ratio. Chance is another drawn fact of the same relation, in bfloat16.
"""

import copy
from collections.abc import Sequence

import duckdb
import numpy as np
import torch
from numpy.typing import NDArray

from atlas.engine.attribution import attribute_targets
from atlas.errors import NotFound, SettingsError
from atlas.evidence.drawn import RunSettings, run_settings
from atlas.evidence.experiments.drawn_facts import drawn_facts
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
from atlas.models.language_model import LanguageModel
from atlas.selection.chosen import labelled
from atlas.specificity.plan import FactPlan

SAME, OTHER = "the same fact", "another fact"
PROMPTS = 4  # of a fact, at most


class Precision:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        plans = drawn_facts(connection, setting)
        others = {}
        for plan in plans:
            fellows = [p for p in plans if p.fact.relation_id == plan.fact.relation_id]
            if len(fellows) > 1:
                after = fellows[(fellows.index(plan) + 1) % len(fellows)]
                others[plan.fact.fact_id] = (plan, after)
        if not others:
            raise NotFound(
                f"no two facts of a relation are drawn from selection "
                f"{labelled(setting.selection)}: ask more facts of each relation",
                parameters=["limit"],
            )
        ratio = setting.selection.ratio
        return [
            Item(fact_id, fact_id, pair, digest(1, PROMPTS, ratio, *(p.asked for p in pair)))
            for fact_id, pair in others.items()
        ]

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        lm, ratio = measuring.lm, measuring.setting.selection.ratio
        assert ratio is not None  # published neurons have no drawn facts
        if lm.dtype != "float32":
            raise SettingsError(
                f"the run is in {lm.dtype}: compare number formats on a run in float32",
                parameters=["run"],
            )
        with measuring.atlas.reading() as connection:
            settings = run_settings(connection, measuring.setting.selection.run_id)
        short = _in_bfloat16(lm)
        rows = []
        for item in items:
            plan, other = item.task
            exact, rounded, of_other = (
                _scores(model, settings, one)
                for model, one in ((lm, plan), (short, plan), (short, other))
            )
            for series, theirs in ((SAME, rounded), (OTHER, of_other)):
                rows += [
                    Row(item.name, "Jaccard", series, None, jaccard(*both))
                    for pair in zip(exact, theirs, strict=False)
                    for both in [[passing(scores, ratio) for scores in pair]]
                ]
            rows += [
                Row(item.name, "largest error", SAME, None, float(abs(a - b).max() / abs(a).max()))
                for a, b in zip(exact, rounded, strict=True)
            ]
        return rows

    def claims(self, rows: Rows) -> list[Claim]:
        return [
            Claim(
                "bfloat16 finds the same",
                "in bfloat16 a prompt has the neurons that it has in float32",
                "of ours: no published figure is known",
                "Jaccard index",
                None,
                None,
                rows.contrast("Jaccard", SAME, OTHER),
                "another fact's prompt in the same relation",
                "higher",
            )
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                "precision",
                "Neurons in float32 and in bfloat16",
                "Mean over facts of the Jaccard index of a prompt's neurons in float32 with its "
                "own in bfloat16, and with those of another fact; and the largest error of a score "
                "as a share of the prompt's largest.",
                "compared",
                "share",
                tuple(
                    Point(series, measure, rows.mean(measure, series))
                    for measure in ("Jaccard", "largest error")
                    for series in rows.series(measure)
                ),
            )
        ]


def passing(scores: NDArray[np.float32], ratio: float) -> set[int]:
    """The neurons, counted through, whose score is at least so much of the largest."""
    largest = scores.max()
    return set(np.flatnonzero(scores >= ratio * largest).tolist()) if largest > 0 else set()


def _in_bfloat16(lm: LanguageModel) -> LanguageModel:
    model = copy.deepcopy(lm.model).to(torch.bfloat16)
    return LanguageModel.from_parts(
        model=model,
        tokenizer=lm.tokenizer,
        name=lm.name,
        revision=lm.revision,
        weights_sha256=lm.weights_sha256,
        dtype="bfloat16",
        device=lm.device,
        identity=lm.identity,
    )


def _scores(lm: LanguageModel, settings: RunSettings, plan: FactPlan) -> list[NDArray[np.float32]]:
    """The scores of the fact's first prompts, [neuron] over all layers each."""
    prompts = plan.fact.prompts[:PROMPTS]
    encoded = [lm.targets(p.text, p.object, p.subject_end) for p in prompts]
    found = attribute_targets(lm, encoded, method=settings.method, how=settings.integration)
    return [one.reshape(-1) for one in found.scores]


EXPERIMENT = Precision()
