"""The neurons of a relation: which serve most of its facts, and in which layers they lie."""

from dataclasses import dataclass

import duckdb

from atlas.counted import counted
from atlas.errors import NotFound
from atlas.facts import as_name
from atlas.queries.layers import LayerCount, layer_counts
from atlas.queries.unindexed import relation_to_index
from atlas.selection.chosen import ChosenSelection, OfSelection, null_selection
from atlas.selection.degrees import neuron_degrees
from atlas.selection.report import selected_relations
from atlas.store.near import near_matches
from atlas.store.rows import fetch, fetch_one

_FEW = 5


@dataclass(frozen=True)
class RelationNeuron:
    """A neuron that serves facts of the relation."""

    layer: int
    neuron: int
    facts: int  # of the relation
    fact_share: float  # of the relation's facts that the selection is made from
    mean_score: float | None  # over those facts
    relations: int  # that the neuron serves in this selection, this one included


@dataclass(frozen=True)
class SkipReason:
    """Why prompts could not be used, and how many."""

    run_id: str
    reason: str
    prompts: int


@dataclass(frozen=True)
class RelationReport(OfSelection, rows="neurons"):
    """A relation in a selection: what was measured, the thresholds used, and its neurons."""

    relation_id: str
    relation: str
    facts: int  # with at least one measured prompt
    known_facts: int  # of those
    selected_facts: int | None  # that the selection is made from; None: it is not there yet
    templates: int  # with a measured prompt; a selection may go by fewer
    prompts: int  # measured
    mean_p_answer: float | None  # over measured prompts
    top1_share: float | None  # of measured prompts, those whose top answer is the fact's object
    mean_neurons: float | None  # knowledge neurons per fact selected from; None: there is none
    ratio: float | None
    comparison: str | None  # >= | >
    sharing: float | None  # the threshold that the selection used here
    moves: int | None  # steps of the preset `paper` from where it started
    target_met: bool | None  # by mean_neurons, the preset's; None: there is no target, or no fact
    min_prompts: int | None
    distinct_neurons: int
    with_neurons: float | None  # share of the facts that have any; None as for mean_neurons
    null_mean_neurons: float | None  # of facts with shuffled objects; None: no null of it
    null_with_neurons: float | None
    neurons: tuple[RelationNeuron, ...]  # most facts first, at most the limit asked for
    layers: tuple[LayerCount, ...]  # every layer of the model
    skipped: tuple[SkipReason, ...]  # most prompts first


def relation_report(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    wanted: str,
    limit: int | None = None,
) -> RelationReport:
    """The relation with the id or label `wanted`, in any case; else NotFound with near matches."""
    relation_id, label = one_relation(connection, wanted)
    selected = {s.relation_id: s for s in selected_relations(connection, selection.selection_id)}
    used = selected.get(relation_id)
    facts, known_facts, templates, prompts, mean_p_answer, top1_share = fetch_one(
        connection,
        """
        WITH answered AS (
            SELECT p.fact_id,
                   p.template_id,
                   m.p_answer,
                   m.answer_rank,
                   2 * count(*) FILTER (m.answer_rank = 1) OVER (PARTITION BY p.fact_id)
                       >= count(*) OVER (PARTITION BY p.fact_id) AS known
            FROM prompt_results AS m
            JOIN (
                FROM prompts
                SEMI JOIN (FROM facts WHERE relation_id = $relation_id) USING (fact_id)
            ) AS p USING (prompt_id)
            WHERE m.run_id = $run_id
              AND m.skipped_because IS NULL
        )
        SELECT count(DISTINCT fact_id),
               count(DISTINCT fact_id) FILTER (known),
               count(DISTINCT template_id),
               count(*),
               avg(p_answer),
               avg(CASE WHEN answer_rank = 1 THEN 1.0 ELSE 0.0 END)
        FROM answered
        """,
        {"run_id": selection.run_id, "relation_id": relation_id},
    )
    layers = layer_counts(connection, selection, relation_id)
    (distinct,) = fetch_one(
        connection,
        """
        SELECT count(DISTINCT (layer, neuron))
        FROM all_neuron_facts
        WHERE selection_id = ?
          AND relation_id = ?
        """,
        [selection.selection_id, relation_id],
    )
    null = null_selection(connection, selection.selection_id)
    null_found: tuple[float | None, float | None] = (None, None)
    if null is not None:
        null_found = _neurons_per_fact(connection, null.selection_id, relation_id)
    return RelationReport(
        relation_id=relation_id,
        relation=label,
        facts=facts,
        known_facts=known_facts,
        selected_facts=used.facts if used else None,
        templates=templates,
        prompts=prompts,
        mean_p_answer=mean_p_answer,
        top1_share=top1_share,
        mean_neurons=used.mean_neurons if used else None,
        ratio=selection.ratio,
        comparison=selection.comparison,
        sharing=used.sharing if used else None,
        moves=used.moves if used else None,
        target_met=used.target_met if used else None,
        min_prompts=selection.min_prompts,
        distinct_neurons=distinct,
        with_neurons=_neurons_per_fact(connection, selection.selection_id, relation_id)[1],
        null_mean_neurons=null_found[0],
        null_with_neurons=null_found[1],
        neurons=tuple(
            _neurons(connection, selection, relation_id, used.facts if used else 0, limit)
        ),
        layers=tuple(layers),
        skipped=tuple(skip_reasons(connection, selection.run_id, relation_id)),
    )


def skip_reasons(
    connection: duckdb.DuckDBPyConnection, run_id: str | None = None, relation_id: str | None = None
) -> list[SkipReason]:
    """Skipped prompts by reason, of every run and relation or of those named."""
    return fetch(
        connection,
        SkipReason,
        """
        SELECT m.run_id,
               m.skipped_because AS reason,
               count(*) AS prompts
        FROM prompt_results AS m
        JOIN prompts AS p USING (prompt_id)
        JOIN templates AS t USING (template_id)
        WHERE m.skipped_because IS NOT NULL
          AND ($run_id IS NULL OR m.run_id = $run_id)
          AND ($relation_id IS NULL OR t.relation_id = $relation_id)
        GROUP BY m.run_id, m.skipped_because
        ORDER BY m.run_id, count(*) DESC, m.skipped_because
        """,
        {"run_id": run_id, "relation_id": relation_id},
    )


def _neurons_per_fact(
    connection: duckdb.DuckDBPyConnection, selection_id: str, relation_id: str
) -> tuple[float | None, float | None]:
    """Mean number of a fact's knowledge neurons, and the share of facts that have any."""
    mean_neurons, with_neurons = fetch_one(
        connection,
        """
        SELECT any_value(s.mean_neurons),
               count(DISTINCT k.fact_id) / nullif(any_value(s.facts), 0)
        FROM selection_relations AS s
        LEFT JOIN (
            SELECT k.fact_id, f.relation_id
            FROM knowledge_neurons AS k
            JOIN facts AS f USING (fact_id)
            WHERE k.selection_id = $selection_id
        ) AS k USING (relation_id)
        WHERE s.selection_id = $selection_id
          AND s.relation_id = $relation_id
        """,
        {"selection_id": selection_id, "relation_id": relation_id},
    )
    return mean_neurons, with_neurons


def _neurons(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    relation_id: str,
    facts: int,
    limit: int | None,
) -> list[RelationNeuron]:
    return fetch(
        connection,
        RelationNeuron,
        f"""
        WITH own AS MATERIALIZED (
            SELECT k.layer,
                   k.neuron,
                   count(*) AS facts,
                   avg(k.mean_score) AS mean_score
            FROM knowledge_neurons AS k
            JOIN facts AS f USING (fact_id)
            WHERE k.selection_id = $selection_id
              AND f.relation_id = $relation_id
            GROUP BY k.layer, k.neuron
        ),
        shown AS MATERIALIZED (
            SELECT layer, neuron, facts, mean_score
            FROM own
            ORDER BY facts DESC, mean_score DESC, layer, neuron
            LIMIT $limit
        ),
        served AS (
            {neuron_degrees("shown")}
        )
        SELECT s.layer,
               s.neuron,
               s.facts,
               s.facts / $facts AS fact_share,
               s.mean_score,
               r.relations
        FROM shown AS s
        JOIN served AS r USING (layer, neuron)
        ORDER BY s.facts DESC, s.mean_score DESC, s.layer, s.neuron
        """,
        {
            "selection_id": selection.selection_id,
            "relation_id": relation_id,
            "facts": facts,
            "limit": limit,
        },
    )


def one_relation(connection: duckdb.DuckDBPyConnection, wanted: str) -> tuple[str, str]:
    """Id and label of the relation that `wanted` names, by either; NotFound with near matches."""
    relations = [
        (str(relation_id), str(label))
        for relation_id, label in connection.execute(
            """
            SELECT relation_id, label
            FROM relations
            ORDER BY length(relation_id), relation_id
            """
        ).fetchall()
    ]
    name = as_name(wanted)
    found = [r for r in relations if name == as_name(r[0])] or [
        r for r in relations if name == as_name(r[1])
    ]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(relation_id for relation_id, _ in found)
        raise NotFound(
            f"{counted(len(found), 'relation')} are called '{wanted}': name one of {ids}"
        )
    if to_index := relation_to_index(connection, wanted):
        raise NotFound(f"no relation '{wanted}' in this atlas, but {to_index}")
    near = near_matches(
        connection,
        name,
        """
            SELECT unnest([relation_id, label]) AS name
            FROM relations
            """,
    )
    if near:
        relations = [r for r in relations if r[0] in near or r[1] in near]
    if near or len(relations) <= _FEW:
        shown = ", ".join(f"{relation_id} ({label})" for relation_id, label in relations)
        raise NotFound(f"no relation '{wanted}' in this atlas; there is {shown or 'none yet'}")
    raise NotFound(
        f"no relation '{wanted}' among the {len(relations)} of this atlas; list them with "
        '`atlas sql "SELECT relation_id, label FROM relations ORDER BY relation_id"`'
    )
