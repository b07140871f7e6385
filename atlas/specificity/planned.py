"""What there is to measure of a selection: plans of its facts, or why there are none."""

from collections.abc import Sequence

import duckdb

from atlas.errors import NoScores, NotFound, SettingsError
from atlas.selection.chosen import ChosenSelection, labelled
from atlas.specificity.partners import OWN
from atlas.specificity.plan import FactPlan, plan_facts
from atlas.specificity.stored import chosen_neurons, known_facts, neurons_of_relations


def planned(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    relations: Sequence[str] | None,
    controls: int,
    limit: int | None,
    seed: int,
    null: ChosenSelection | None = None,
) -> list[FactPlan]:
    """A plan for each known fact with knowledge neurons, of the relations, `limit` of each.

    null: of a null of the selection's run; facts get the neurons of their false objects. Raises
    SettingsError for a number below 1, NoScores for published neurons, and NotFound where no fact
    is left, or none has any partner.
    """
    for name, value in (("controls", controls), ("limit", limit)):
        if value is not None and value < 1:
            raise SettingsError(f"{name} is {value}: use 1 or more", parameters=[name])
    if selection.preset == "published":
        raise NoScores(
            f"run {selection.run_id} is of published neurons, without the prompts that "
            "specificity is measured on: ask a run that measured a model",
            parameters=["run"],
        )
    if selection.null_of is not None:
        raise NotFound(
            f"selection {labelled(selection)} is of a null, whose facts are false, so that none is "
            "known: there is nothing to measure",
            parameters=["selection"],
        )
    known = known_facts(connection, selection.run_id)
    whose = null or selection
    chosen = chosen_neurons(connection, whose, known, relations=relations, limit=limit, seed=seed)
    if not chosen:
        among = "" if relations is None else f" in {', '.join(relations)}"
        raise NotFound(
            f"no known fact{among} has a knowledge neuron in selection {labelled(whose)}: "
            "there is nothing to measure",
            parameters=["selection"] if relations is None else ["relation"],
        )
    of_relations = neurons_of_relations(connection, whose.selection_id)
    plans = plan_facts(known, chosen, of_relations, controls, seed)
    if all(p.group == OWN for plan in plans for p in plan.prompts):
        raise NotFound(
            f"run {selection.run_id} has no other known fact to compare with: "
            "index more facts or relations",
        )
    return plans
