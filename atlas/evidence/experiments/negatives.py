"""Neurons that a template has with other subjects and objects, too, left out of the facts'.

The original code takes from a fact's neurons those that pass on prompts about others with the same
template. The selection at hand is held against another of its run with the same thresholds that
leaves such neurons out, see `selection.against`. A fact's neurons, chosen by one half of its
templates, are suppressed on its prompts of the other half, and on prompts of other facts of its
relation with other objects.
"""

from collections.abc import Sequence

import duckdb

from atlas.errors import NotFound
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
from atlas.evidence.experiments.losses import Asked, mean_losses
from atlas.selection.chosen import (
    ChosenSelection,
    find_selection,
    labelled,
    null_selection,
    selection_ids,
)
from atlas.specificity.partners import OWN
from atlas.specificity.plan import FactPlan
from atlas.specificity.planned import planned

WITH, WITHOUT = "with the template's", "without them"
LOSS, OF_RELATION, BEYOND = "loss", "loss of its relation", "loss beyond its relation's"
GROUPS = {OWN: LOSS, "same_relation": OF_RELATION}
ALIKE = ("ratio", "sharing", "comparison", "min_prompts", "frequency", "templates", "known_only")
SOURCE = "Dai et al. 2022, the code's negative examples"


class Negatives:
    def items(self, connection: duckdb.DuckDBPyConnection, setting: Setting) -> list[Item]:
        other = _without(connection, setting.selection)
        null = None
        if setting.null is not None:
            null = null_selection(connection, other.selection_id)
            if null is None:
                raise NotFound(f"selection {labelled(other)} has not looked at the run's null")
        theirs = {
            plan.fact.fact_id: plan
            for plan in planned(connection, other, None, 1, None, setting.seed, null)
        }
        items = []
        for plan in drawn_facts(connection, setting):
            fact_id = plan.fact.fact_id
            left = theirs.get(fact_id)
            if left is not None and any(left.chosen.by_half):
                asked = digest(1, plan.asked, left.chosen.neurons, left.chosen.by_half)
                items.append(Item(fact_id, fact_id, (plan, left), asked))
        if not items:
            raise NotFound(
                f"no known fact has knowledge neurons both in selection "
                f"{labelled(setting.selection)} and in {labelled(other)}"
            )
        return items

    def measure(self, measuring: Measuring, items: Sequence[Item]) -> list[Row]:
        rows = []
        for item in items:
            plan, left = item.task
            asked = {
                (group, series, half): _asked(plan, of, group, half)
                for series, of in ((WITH, plan), (WITHOUT, left))
                for group in GROUPS
                for half in range(len(plan.chosen.by_half))
            }
            losses = mean_losses(measuring.lm, asked)
            means: dict[tuple[str, str], list[float]] = {}
            for (group, series, _), value in losses.items():
                means.setdefault((group, series), []).append(value)
            found = {key: sum(some) / len(some) for key, some in means.items()}
            rows += [
                Row(item.name, GROUPS[group], series, None, value)
                for (group, series), value in found.items()
            ]
            rows += [
                Row(item.name, BEYOND, series, None, value - found["same_relation", series])
                for (group, series), value in found.items()
                if group == OWN and ("same_relation", series) in found
            ]
            rows += [
                Row(item.name, "neurons", series, None, len(of.chosen.neurons))
                for series, of in ((WITH, plan), (WITHOUT, left))
            ]
        return rows

    def claims(self, rows: Rows) -> list[Claim]:
        share = "share of P lost"
        return [
            Claim(
                "its relation loses less",
                "without the template's neurons other facts of the relation lose less",
                SOURCE,
                share,
                None,
                None,
                rows.contrast(OF_RELATION, WITHOUT, WITH),
                "the selection with them",
                "lower",
            ),
            Claim(
                "more the fact's own",
                "without the template's neurons the fact loses more than its relation does, by "
                "more than with them",
                SOURCE,
                "difference of shares of P lost",
                None,
                None,
                rows.contrast(BEYOND, WITHOUT, WITH),
                "the selection with them",
                "higher",
            ),
        ]

    def charts(self, rows: Rows) -> list[Chart]:
        return [
            Chart(
                "negatives",
                "What leaving out a template's neurons changes",
                "Mean over facts of the share of P(answer) that the fact's prompts lose, and "
                "prompts of its relation with other objects, with the template's neurons among "
                "the fact's and without them.",
                "prompts",
                "share of P lost",
                tuple(
                    Point(series, measure, rows.mean(measure, series))
                    for measure in (LOSS, OF_RELATION)
                    for series in (WITH, WITHOUT)
                ),
            )
        ]


def _without(connection: duckdb.DuckDBPyConnection, selection: ChosenSelection) -> ChosenSelection:
    """The selection like this one that leaves the templates' neurons out; NotFound without one."""
    if selection.against is not None:
        raise NotFound(
            f"selection {labelled(selection)} leaves out neurons already: ask the one with all",
            parameters=["selection"],
        )
    for one in selection_ids(connection, selection.run_id):
        other = find_selection(connection, one)
        if (
            other is not None
            and other.against == "template"
            and other.null_of is None
            and all(getattr(other, name) == getattr(selection, name) for name in ALIKE)
        ):
            return other
    raise NotFound(
        f"the atlas has no selection like {labelled(selection)} that leaves out the neurons of "
        "templates: select once more against them",
        parameters=["against_template"],
    )


def _asked(plan: FactPlan, of: FactPlan, group: str, half: int) -> Asked:
    """The group's prompts of a half, with what the other half chooses; none without neurons."""
    own = of.chosen.by_half[1 - half]
    prompts = [p.prompt for p in plan.prompts if p.group == group and p.prompt.half == half]
    return (prompts if own else [], own)


EXPERIMENT = Negatives()
