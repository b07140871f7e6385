"""Specificity in the atlas: what there is to measure, writing it, reading it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import duckdb

from atlas.selection.chosen import ChosenSelection
from atlas.selection.derived import replace_of_facts
from atlas.selection.sites import SUBJECT_END
from atlas.specificity.controls import Neuron
from atlas.specificity.halves import HALF, chosen_by_half
from atlas.specificity.partners import AskedPrompt, KnownFact
from atlas.specificity.plan import ChosenNeurons
from atlas.store.rows import fetch

# A run's measured prompts, each with the half that its template is in among its relation's.
_MEASURED = f"""
            SELECT p.prompt_id,
                   p.fact_id,
                   f.relation_id,
                   p.text,
                   {SUBJECT_END} AS subject_end,
                   m.answer_rank,
                   {HALF} AS half
            FROM prompt_results AS m
            JOIN runs AS r USING (run_id)
            JOIN prompts AS p USING (prompt_id)
            JOIN facts AS f USING (fact_id)
            WHERE m.run_id = $run_id
              AND m.skipped_because IS NULL
"""


@dataclass(frozen=True)
class SpecificityFact:
    """A row of `specificity_facts`: a fact whose neurons were measured."""

    selection_id: str
    fact_id: str
    neurons: float | None  # mean number suppressed, over both halves; None: neither chose any
    prompts: int  # own ones
    controls: int
    seed: int
    asked: str


@dataclass(frozen=True)
class SpecificityEffect:
    """A row of `specificity_effects`: what suppressing some neurons did to one group's prompts."""

    selection_id: str
    fact_id: str
    neurons: str  # own | random | matched | strongest | commonest
    draw: int  # of the random ones, from 0; else 0
    partners: str  # whose prompts, see `partners.GROUPS`
    prompts: int
    delta_log_p: float  # mean over prompts, nats
    relative_dp: float  # mean of (P after - P before) / P before
    right_before: int  # prompts
    right_to_wrong: int


@dataclass(frozen=True)
class NeuronSpecificity:
    """A row of `neuron_specificity`: a neuron suppressed alone, with its label.

    Effects are mean Δ log P over the prompts counted beside them; None without a prompt.
    """

    selection_id: str
    fact_id: str
    layer: int
    neuron: int
    label: str
    own: float | None
    same_relation_and_object: float | None
    same_relation: float | None
    same_object: float | None
    same_subject: float | None
    unrelated: float | None
    own_prompts: int
    same_relation_and_object_prompts: int
    same_relation_prompts: int
    same_object_prompts: int
    same_subject_prompts: int
    unrelated_prompts: int


def known_facts(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[KnownFact]:
    """The run's known facts, by fact id."""
    rows = connection.execute(
        f"""
        WITH measured AS (
            {_MEASURED}
        )
        SELECT f.relation_id,
               r.label AS relation,
               f.fact_id,
               f.subject,
               f.object,
               list((m.text, m.subject_end, m.half) ORDER BY m.prompt_id)
                   FILTER (m.answer_rank = 1) AS prompts
        FROM measured AS m
        JOIN facts AS f USING (fact_id)
        JOIN relations AS r ON r.relation_id = f.relation_id
        JOIN all_fact_knowledge AS k
          ON k.run_id = $run_id
         AND k.fact_id = f.fact_id
         AND k.known
        GROUP BY f.relation_id, r.label, f.fact_id, f.subject, f.object
        ORDER BY f.fact_id
        """,
        {"run_id": run_id},
    ).fetchall()
    return [
        KnownFact(
            relation_id,
            relation,
            fact_id,
            subject,
            object_,
            tuple(AskedPrompt(fact_id, text, object_, end, half) for text, end, half in prompts),
        )
        for relation_id, relation, fact_id, subject, object_, prompts in rows
    ]


def chosen_neurons(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    known: Sequence[KnownFact],
    *,
    relations: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[ChosenNeurons]:
    """Known facts with knowledge neurons, at most `limit` of a relation, by relation.

    Which they are the seed decides; with a higher limit they are among them again. In a selection
    of a null, a known fact has the neurons of its false object.
    """
    rows = connection.execute(
        """
        WITH chosen AS (
            SELECT coalesce(f.null_of, f.fact_id) AS fact_id,
                   f.relation_id,
                   f.fact_id AS chosen_by,
                   f.object,
                   list((k.layer::INTEGER, k.neuron) ORDER BY k.layer, k.neuron) AS neurons
            FROM knowledge_neurons AS k
            JOIN facts AS f USING (fact_id)
            WHERE k.selection_id = $selection_id
            GROUP BY ALL
        )
        SELECT fact_id, chosen_by, object, neurons
        FROM chosen
        WHERE fact_id IN $known
          AND ($relations IS NULL OR relation_id IN $relations)
        QUALIFY $limit IS NULL
             OR row_number() OVER (
                    PARTITION BY relation_id
                    ORDER BY md5($seed || fact_id), fact_id
                ) <= $limit
        ORDER BY length(relation_id), relation_id, md5($seed || fact_id), fact_id
        """,
        {
            "selection_id": selection.selection_id,
            "known": [fact.fact_id for fact in known],
            "relations": None if relations is None else list(relations),
            "limit": limit,
            "seed": f"{seed} ",
        },
    ).fetchall()
    choosing = [chosen_by for _, chosen_by, _, _ in rows]
    by_half = chosen_by_half(connection, selection.run_id, selection.selection_id, choosing)
    return [
        ChosenNeurons(fact_id, tuple(neurons), by_half[chosen_by], object_)
        for fact_id, chosen_by, object_, neurons in rows
    ]


def neurons_of_relations(
    connection: duckdb.DuckDBPyConnection, selection_id: str
) -> Mapping[str, Counter[Neuron]]:
    """How many of a relation's facts have each neuron as a knowledge neuron."""
    rows = connection.execute(
        """
        SELECT f.relation_id,
               k.layer::INTEGER,
               k.neuron,
               count(*)
        FROM knowledge_neurons AS k
        JOIN facts AS f USING (fact_id)
        WHERE k.selection_id = $selection_id
        GROUP BY f.relation_id, k.layer, k.neuron
        """,
        {"selection_id": selection_id},
    ).fetchall()
    found: dict[str, Counter[Neuron]] = {}
    for relation_id, layer, neuron, count in rows:
        found.setdefault(relation_id, Counter())[layer, neuron] = count
    return found


def measured_already(connection: duckdb.DuckDBPyConnection, selection_id: str) -> dict[str, str]:
    """What was asked of each fact that is measured, as a digest, by fact id."""
    rows = connection.execute(
        """
        SELECT fact_id, asked
        FROM specificity_facts
        WHERE selection_id = $selection_id
        """,
        {"selection_id": selection_id},
    ).fetchall()
    return {str(fact_id): str(asked) for fact_id, asked in rows}


def record_specificity(
    connection: duckdb.DuckDBPyConnection,
    facts: Sequence[SpecificityFact],
    effects: Sequence[SpecificityEffect],
    neurons: Sequence[NeuronSpecificity],
) -> None:
    """Put the facts' rows in the place of what was there."""
    if not facts:
        return
    replace_of_facts(
        connection,
        facts[0].selection_id,
        [fact.fact_id for fact in facts],
        {
            "specificity_facts": facts,
            "specificity_effects": effects,
            "neuron_specificity": neurons,
        },
    )


def neuron_specificity(
    connection: duckdb.DuckDBPyConnection, selection_id: str, fact_ids: Sequence[str]
) -> list[NeuronSpecificity]:
    """What is stored of the facts' neurons, by fact, layer and neuron."""
    return fetch(
        connection,
        NeuronSpecificity,
        f"""
        SELECT {", ".join(field.name for field in fields(NeuronSpecificity))}
        FROM neuron_specificity
        WHERE selection_id = $selection_id
          AND fact_id IN $fact_ids
        ORDER BY fact_id, layer, neuron
        """,
        {"selection_id": selection_id, "fact_ids": list(fact_ids)},
    )
