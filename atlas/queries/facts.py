"""A fact's prompts and its knowledge neurons, found by subject or id."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from atlas.errors import NotFound
from atlas.facts import FactColumns
from atlas.queries.knowledge import NOT_MEASURED, fact_knowledge
from atlas.queries.named_facts import NamedFact, facts_called
from atlas.queries.near_misses import NearMiss, near_misses
from atlas.selection.chosen import ChosenSelection, OfSelection, measured_elsewhere
from atlas.selection.degrees import neuron_degrees
from atlas.selection.stability import StabilityTables, stability_tables
from atlas.store.rows import fetch


@dataclass(frozen=True)
class FactPrompt:
    """One prompt of a fact, as measured by the selection's run."""

    fact_id: str
    text: str  # subject filled in, the object still [Y]
    p_answer: float | None
    answer_rank: int | None  # 1 = the model's top answer
    predicted: str | None  # the model's top answer
    p_predicted: float | None
    completeness_gap: float | None  # the signed gap of the layer where it is largest
    over_tolerance: bool | None
    skipped_because: str | None  # None: measured


@dataclass(frozen=True)
class FactNeuron:
    """A knowledge neuron of a fact.

    What it is a neuron of, and the mean Δ log P that suppressing it alone costs which prompts, are
    known where `specificity` has measured them. Groups of prompts: `neuron_specificity`.
    """

    fact_id: str
    layer: int
    neuron: int
    mean_score: float | None  # over the fact's prompts in which the neuron passes the ratio
    prompt_share: float | None  # of the fact's measured prompts, those in which it passes
    facts: int  # that the neuron serves in this selection, this fact included
    relations: int  # of those facts
    label: str | None  # fact | subject | answer | relation | unclear
    own: float | None  # on the fact's own prompts
    same_relation_and_object: float | None
    same_relation: float | None  # other objects
    same_object: float | None  # other relations
    same_subject: float | None  # other relations
    unrelated: float | None
    selection_frequency: float | None  # how often other ratios and bootstraps of prompts choose it


@dataclass(frozen=True)
class FactReport(FactColumns, OfSelection, rows="neurons"):
    """A fact, what its run measured on its prompts, and the neurons that the selection chose."""

    known: bool | None  # the object is the top answer in at least half of its measured prompts
    right: int  # measured prompts whose top answer it is
    measured: int  # prompts; known is None where there is none
    skipped: int  # prompts that the model could not be asked
    unmeasured: int  # prompts in the atlas that the run has no result of (yet)
    elsewhere: str | None  # of a fact without any result: the selection of a run that measured it
    prompts: tuple[FactPrompt, ...]  # best known first, skipped ones last; at most the limit
    chosen: int  # knowledge neurons
    neurons: tuple[FactNeuron, ...]  # highest score first; at most the limit
    near_miss: NearMiss | None  # of a fact without any, though the selection considered it
    split_half_jaccard: float | None  # of what both halves of its prompts choose, mean over splits
    splits: int | None  # of 10, those in which either half chooses a neuron


@dataclass(frozen=True)
class FactsReport(OfSelection, rows="facts"):
    """Every fact that a name leads to."""

    facts: tuple[FactReport, ...]


def fact_reports(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    wanted: str,
    limit: int | None = None,
) -> list[FactReport]:
    """Every fact that `wanted` names: an id, a subject, or `SUBJECT:RELATION`, in any case.

    `limit` bounds the prompts and the neurons of each. Raises NotFound, with near matches among
    the atlas's subjects.
    """
    return reports_of(connection, selection, facts_called(connection, wanted), limit)


def reports_of(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    facts: Sequence[NamedFact],
    limit: int | None = None,
) -> list[FactReport]:
    """The reports on these facts, in their order."""
    ids = [fact.fact_id for fact in facts]
    prompts = _prompts(connection, selection.run_id, ids)
    knowledge = fact_knowledge(connection, selection.run_id, ids)
    relations = list(dict.fromkeys(fact.relation_id for fact in facts))
    stability = stability_tables(connection, selection.selection_id, relations)
    neurons = _neurons(connection, selection.selection_id, ids, stability)
    agreed = _agreements(connection, selection.selection_id, ids, stability)
    without = [
        fact_id
        for fact_id in ids
        if all(n.fact_id != fact_id for n in neurons)
        and not knowledge.get(fact_id, NOT_MEASURED).left_out_of(selection)
        and selection.frequency is None  # else a neuron may pass, and be missing all the same
    ]
    near = {miss.fact_id: miss for miss in near_misses(connection, selection, without)}
    reports = []
    for fact in facts:
        own = tuple(prompt for prompt in prompts if prompt.fact_id == fact.fact_id)
        knows = knowledge.get(fact.fact_id, NOT_MEASURED)
        found = tuple(n for n in neurons if n.fact_id == fact.fact_id)
        jaccard, splits = agreed.get(fact.fact_id, (None, None))
        reports.append(
            FactReport(
                fact_id=fact.fact_id,
                relation_id=fact.relation_id,
                relation=fact.relation,
                subject=fact.subject,
                object=fact.object,
                known=knows.known,
                right=knows.right,
                measured=knows.measured,
                skipped=len(own) - knows.measured,
                unmeasured=fact.prompts - len(own),
                elsewhere=None if own else _elsewhere(connection, fact.fact_id, selection),
                prompts=own[:limit],
                chosen=len(found),
                neurons=found[:limit],
                near_miss=None if found else near.get(fact.fact_id),
                split_half_jaccard=jaccard,
                splits=splits,
            )
        )
    return reports


def require_measured(
    connection: duckdb.DuckDBPyConnection, selection: ChosenSelection, fact: FactColumns
) -> None:
    """NotFound unless the selection's run has measured a prompt of the fact; says whose has."""
    rows = connection.execute(
        """
        SELECT DISTINCT m.skipped_because
        FROM prompt_results AS m
        JOIN prompts AS p USING (prompt_id)
        WHERE m.run_id = $run_id
          AND p.fact_id = $fact_id
        ORDER BY m.skipped_because
        """,
        {"run_id": selection.run_id, "fact_id": fact.fact_id},
    ).fetchall()
    reasons = [reason for (reason,) in rows]
    if None in reasons:
        return
    of = f"run {selection.run_id} has measured no prompt of {fact.named}"
    if other := measured_elsewhere(connection, fact.fact_id, selection.run_id):
        raise NotFound(
            f"{of}, but run {other.run_id} of {other.model} has: name its selection "
            f"{other.selection_id}",
            parameters=["selection"],
        )
    if reasons:
        raise NotFound(f"{of}, because each was skipped ({reasons[0]}): name another fact")
    raise NotFound(f"{of}, nor has another: index relation {fact.relation_id} with all its facts")


def _elsewhere(
    connection: duckdb.DuckDBPyConnection, fact_id: str, selection: ChosenSelection
) -> str | None:
    found = measured_elsewhere(connection, fact_id, selection.run_id)
    return None if found is None else found.selection_id


def _prompts(
    connection: duckdb.DuckDBPyConnection, run_id: str, ids: list[str]
) -> list[FactPrompt]:
    return fetch(
        connection,
        FactPrompt,
        """
        SELECT p.fact_id,
               p.text,
               m.p_answer,
               m.answer_rank,
               m.predicted,
               m.p_predicted,
               m.completeness_gap,
               m.over_tolerance,
               m.skipped_because
        FROM prompts AS p
        JOIN prompt_results AS m USING (prompt_id)
        WHERE m.run_id = $run_id
          AND p.fact_id IN $ids
        ORDER BY m.p_answer DESC NULLS LAST, p.text, p.prompt_id
        """,
        {"run_id": run_id, "ids": ids},
    )


def _neurons(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    ids: list[str],
    stability: StabilityTables,
) -> list[FactNeuron]:
    return fetch(
        connection,
        FactNeuron,
        f"""
        WITH own AS MATERIALIZED (
            SELECT fact_id, layer, neuron, mean_score, prompt_share
            FROM knowledge_neurons
            WHERE selection_id = $selection_id
              AND fact_id IN $ids
        ),
        degrees AS (
            {neuron_degrees("own")}
        )
        SELECT o.fact_id,
               o.layer,
               o.neuron,
               o.mean_score,
               o.prompt_share,
               d.facts,
               d.relations,
               n.selection_frequency,
               s.label,
               s.own,
               s.same_relation_and_object,
               s.same_relation,
               s.same_object,
               s.same_subject,
               s.unrelated
        FROM own AS o
        JOIN degrees AS d USING (layer, neuron)
        LEFT JOIN {stability.neurons} AS n
          ON n.selection_id = $selection_id
         AND n.fact_id = o.fact_id
         AND n.layer = o.layer
         AND n.neuron = o.neuron
        LEFT JOIN neuron_specificity AS s
          ON s.selection_id = $selection_id
         AND s.fact_id = o.fact_id
         AND s.layer = o.layer
         AND s.neuron = o.neuron
        ORDER BY o.mean_score DESC, o.layer, o.neuron
        """,
        {"selection_id": selection_id, "ids": ids},
    )


def _agreements(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    ids: list[str],
    stability: StabilityTables,
) -> dict[str, tuple[float | None, int]]:
    """How far halves of a fact's prompts choose the same neurons, and in how many splits any."""
    rows = connection.execute(
        f"""
        SELECT fact_id, split_half_jaccard, splits
        FROM {stability.facts}
        WHERE selection_id = $selection_id
          AND fact_id IN $ids
        """,
        {"selection_id": selection_id, "ids": ids},
    ).fetchall()
    return {fact_id: (jaccard, splits) for fact_id, jaccard, splits in rows}
