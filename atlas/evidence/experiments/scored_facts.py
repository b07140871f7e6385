"""Facts and what their single prompts choose by the stored scores, for experiments without a model.

Some of a fact's prompts choose as all of them do in the selection: at its ratio, the sharing at
which the relation came to rest, and its minimum of prompts in proportion. What else a selection may
ask, whom else a neuron serves and how often it is chosen, is not asked here.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb

from atlas.errors import NoScores, NotFound
from atlas.facts import as_name
from atlas.selection.chosen import ChosenSelection, labelled
from atlas.selection.sites import SUBJECT_END
from atlas.selection.thresholds import WHOLE
from atlas.specificity.controls import Neuron
from atlas.specificity.partners import HALVES

Choice = frozenset[Neuron]


@dataclass(frozen=True)
class ScoredFact:
    """A fact with measured prompts, known or not."""

    fact_id: str
    relation_id: str
    object: str
    known: bool
    prompts: int  # that the selection goes by
    sharing: int  # that its relation came to rest at, in millionths


@dataclass(frozen=True)
class PromptChoice:
    """A prompt, and what it chooses alone.

    text: still with [Y]. subject_end: as `lm.targets` takes it; None at the answer position.
    """

    template_id: str
    text: str
    subject_end: int | None
    neurons: Choice


def scored_facts(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection
) -> list[ScoredFact]:
    """The facts of the selection's relations with two measured prompts or more, by fact id.

    Raises NoScores for published neurons, NotFound where there is none.
    """
    if selection.preset == "published":
        raise NoScores(
            f"run {selection.run_id} is of published neurons, without scores that tell what "
            "single prompts choose: ask a run that measured a model",
            parameters=["run"],
        )
    rows = connection.execute(
        f"""
        SELECT f.fact_id,
               f.relation_id,
               f.object,
               any_value(k.known) AS known,
               least(count(*), $templates) AS prompts,
               round(any_value(s.sharing) * {WHOLE})::BIGINT AS sharing
        FROM prompt_results AS m
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f USING (fact_id)
        JOIN all_fact_knowledge AS k
          ON k.run_id = m.run_id
         AND k.fact_id = f.fact_id
        JOIN selection_relations AS s
          ON s.selection_id = $selection_id
         AND s.relation_id = f.relation_id
        WHERE m.run_id = $run_id
          AND m.skipped_because IS NULL
          AND s.sharing IS NOT NULL
        GROUP BY f.fact_id, f.relation_id, f.object
        HAVING count(*) > 1
        ORDER BY f.fact_id
        """,
        {
            "run_id": selection.run_id,
            "selection_id": selection.selection_id,
            "templates": selection.templates,
        },
    ).fetchall()
    if not rows:
        raise NotFound(
            f"selection {labelled(selection)} has no fact with two measured prompts: index more "
            "templates"
        )
    return [ScoredFact(*row) for row in rows]


def selected_facts(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection
) -> list[ScoredFact]:
    """Those that the selection chooses neurons of: the known ones, unless it is of all facts."""
    facts = scored_facts(connection, selection)
    found = [fact for fact in facts if fact.known or not selection.known_only]
    if not found:
        raise NotFound(f"selection {labelled(selection)} has no known fact: index more facts")
    return found


def prompt_choices(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, fact_ids: Iterable[str]
) -> dict[str, list[PromptChoice]]:
    """What each of the facts' prompts chooses, by template, of those that the selection goes by."""
    rows = connection.execute(
        f"""
        SELECT p.fact_id,
               p.template_id,
               p.text,
               any_value({SUBJECT_END}) AS subject_end,
               list((a.layer::INTEGER, a.neuron)) FILTER (a.layer IS NOT NULL) AS neurons
        FROM prompt_results AS m
        JOIN runs AS r USING (run_id)
        JOIN prompts AS p USING (prompt_id)
        LEFT JOIN attributions AS a
          ON a.run_id = m.run_id
         AND a.prompt_id = m.prompt_id
         AND a.score > 0
         AND a.score::DOUBLE {selection.comparison} $ratio * m.max_score::DOUBLE
        WHERE m.run_id = $run_id
          AND m.skipped_because IS NULL
          AND p.fact_id IN $fact_ids
        GROUP BY p.fact_id, p.template_id, p.prompt_id, p.text
        ORDER BY p.fact_id, p.template_id, p.prompt_id
        """,
        {"run_id": selection.run_id, "ratio": selection.ratio, "fact_ids": list(fact_ids)},
    ).fetchall()
    found: dict[str, list[PromptChoice]] = {}
    for fact_id, template_id, text, subject_end, neurons in rows:
        prompt = PromptChoice(template_id, text, subject_end, frozenset(neurons or ()))
        found.setdefault(fact_id, []).append(prompt)
    return {fact_id: prompts[: selection.templates] for fact_id, prompts in found.items()}


def chosen_by(
    selection: ChosenSelection, fact: ScoredFact, prompts: Sequence[PromptChoice]
) -> Choice:
    """The neurons that these of the fact's prompts agree on."""
    count = len(prompts)
    needed = max(
        -(-fact.sharing * count // WHOLE),
        -(-(selection.min_prompts or 1) * count // fact.prompts),
        1,
    )
    passing = Counter(neuron for prompt in prompts for neuron in prompt.neurons)
    return frozenset(neuron for neuron, times in passing.items() if times >= needed)


def halved(prompts: Sequence[PromptChoice]) -> list[Sequence[PromptChoice]]:
    """The prompts in two halves, by their templates in turn."""
    return [prompts[half::HALVES] for half in range(HALVES)]


def of_its_relation(facts: Sequence[ScoredFact]) -> dict[str, list[ScoredFact]]:
    """Of each fact, by its id, the others of its relation with other objects."""
    relations: dict[str, list[ScoredFact]] = {}
    for fact in facts:
        relations.setdefault(fact.relation_id, []).append(fact)
    return {
        fact.fact_id: [
            other
            for other in relations[fact.relation_id]
            if as_name(other.object) != as_name(fact.object)
        ]
        for fact in facts
    }
