"""What a neuron serves, and which neurons serve most."""

import operator
import re
from dataclasses import dataclass
from typing import Literal, get_args

import duckdb

from atlas.errors import NotFound, SettingsError
from atlas.facts import FactColumns
from atlas.selection.chosen import ChosenSelection, OfSelection, null_selection
from atlas.selection.degrees import relation_degrees
from atlas.store.rows import fetch, fetch_one

HubOrder = Literal["facts", "relations", "entropy"]
HUB_ORDERS: tuple[HubOrder, ...] = get_args(HubOrder)


@dataclass(frozen=True)
class ServedFact(FactColumns):
    """A fact that a neuron serves."""

    mean_score: float | None  # over the fact's prompts in which the neuron passes the ratio
    prompt_share: float | None  # of the fact's measured prompts, those in which it passes


@dataclass(frozen=True)
class NeuronReport(OfSelection, rows="served"):
    """A neuron's degree in a selection and the facts that it serves, highest score first."""

    layer: int
    neuron: int
    facts: int
    relations: int
    served: tuple[ServedFact, ...]  # at most the limit asked for


@dataclass(frozen=True)
class Hub:
    """A neuron with the number of facts and relations that it serves."""

    layer: int
    neuron: int
    facts: int
    relations: int
    mean_score: float | None  # over those facts
    top_relation_id: str  # the relation of most of those facts
    top_relation: str
    top_share: float  # of those facts, the share that lies in that relation
    entropy: float  # bits, of those facts' distribution over relations; 0: all in one
    fact_share: float  # of the selection's facts
    null_share: float | None  # of the null's facts, whose objects are shuffled; None: no null


@dataclass(frozen=True)
class HubsReport(OfSelection, rows="hubs"):
    """Neurons that serve most, and how many serve at least one fact."""

    neurons: int
    hubs: tuple[Hub, ...]  # at most the limit asked for


def parse_neuron(text: str) -> tuple[int, int]:
    """`3:117` as (layer, neuron); anything else is a SettingsError that tells the notation."""
    if re.fullmatch(r"[0-9]+:[0-9]+", text):
        layer, neuron = text.split(":")
        return int(layer), int(neuron)
    numbers = re.findall(r"[0-9]+", text)
    example = ":".join(numbers) if len(numbers) == 2 else "3:117"
    raise SettingsError(
        f"'{text}' is not a neuron: write LAYER:NEURON, both counted from 0, e.g. {example}"
    )


def named_neuron(layer: int | str, neuron: int | None = None) -> tuple[int, int]:
    """The neuron (layer, index) of two numbers or of `"3:117"`; SettingsError for anything else."""
    if isinstance(layer, str) and neuron is None:
        return parse_neuron(layer)
    try:
        return operator.index(layer), operator.index(neuron)  # type: ignore[arg-type]
    except TypeError:
        given = repr(layer) if neuron is None else f"{layer!r}, {neuron!r}"
        raise SettingsError(
            f"{given} is not a neuron: give its layer and its number, as 3, 117 or '3:117'"
        ) from None


def neuron_report(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    layer: int,
    neuron: int,
    limit: int | None = None,
    offset: int = 0,
) -> NeuronReport:
    """The facts that a neuron serves; none is an answer, a neuron outside the model NotFound.

    limit: at most so many of them; offset: after so many.
    """
    require_neuron(selection, layer, neuron)
    where = [selection.selection_id, layer, neuron]
    facts, relations = fetch_one(
        connection,
        """
        SELECT count(*),
               count(DISTINCT relation_id)
        FROM all_neuron_facts
        WHERE selection_id = ?
          AND layer = ?
          AND neuron = ?
        """,
        where,
    )
    served = fetch(
        connection,
        ServedFact,
        """
        SELECT relation_id,
               relation,
               fact_id,
               subject,
               object,
               mean_score,
               prompt_share
        FROM all_neuron_facts
        WHERE selection_id = ?
          AND layer = ?
          AND neuron = ?
        ORDER BY mean_score DESC, relation_id, subject, fact_id
        LIMIT ?
        OFFSET ?
        """,
        [*where, limit, offset],
    )
    return NeuronReport(layer, neuron, facts, relations, tuple(served))


def require_neuron(selection: ChosenSelection, layer: int, neuron: int) -> None:
    """NotFound for a neuron outside the selection's model."""
    if not (0 <= layer < selection.layers and 0 <= neuron < selection.neurons_per_layer):
        raise NotFound(
            f"{selection.model} has no neuron {layer}:{neuron}: its layers are "
            f"0 to {selection.layers - 1}, its neurons 0 to {selection.neurons_per_layer - 1}"
        )


def hubs_report(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    limit: int | None = None,
    by: HubOrder = "facts",
) -> HubsReport:
    """The neurons that serve most facts, facts of most relations, or relations most evenly."""
    null = null_selection(connection, selection.selection_id)
    (neurons,) = fetch_one(
        connection,
        """
        SELECT count(DISTINCT (layer, neuron))
        FROM knowledge_neurons
        WHERE selection_id = ?
        """,
        [selection.selection_id],
    )
    hubs = fetch(
        connection,
        Hub,
        f"""
        WITH degrees AS (
            {relation_degrees()}
        ),
        hubs AS (
            SELECT layer,
                   neuron,
                   sum(facts)::BIGINT AS facts,
                   count(*) AS relations,
                   sum(score) / sum(facts) AS mean_score,
                   arg_max(relation_id, (facts, relation_id)) AS top_relation_id,
                   max(facts) / sum(facts) AS top_share,
                   -- rounded, or the order of summation would decide between equals
                   round(log2(sum(facts)) - sum(facts * log2(facts)) / sum(facts), 9) AS entropy
            FROM degrees
            GROUP BY layer, neuron
        ),
        facts AS (
            SELECT sum(facts) FILTER (selection_id = $selection_id) AS facts,
                   sum(facts) FILTER (selection_id = $null_id) AS null_facts
            FROM selection_relations
        ),
        null_degrees AS (
            SELECT layer, neuron, count(*) AS facts
            FROM knowledge_neurons
            WHERE selection_id = $null_id
            GROUP BY layer, neuron
        )
        SELECT h.layer,
               h.neuron,
               h.facts,
               h.relations,
               h.mean_score,
               h.top_relation_id,
               r.label AS top_relation,
               h.top_share,
               h.entropy,
               h.facts / f.facts AS fact_share,
               CASE WHEN f.null_facts > 0 THEN coalesce(n.facts, 0) / f.null_facts END
                   AS null_share
        FROM hubs AS h
        CROSS JOIN facts AS f
        LEFT JOIN null_degrees AS n ON n.layer = h.layer AND n.neuron = h.neuron
        JOIN relations AS r ON r.relation_id = h.top_relation_id
        ORDER BY CASE $by
                     WHEN 'relations' THEN h.relations
                     WHEN 'entropy' THEN h.entropy
                     ELSE h.facts
                 END DESC,
                 h.facts DESC,
                 h.relations DESC,
                 h.layer,
                 h.neuron
        LIMIT $limit
        """,
        {
            "selection_id": selection.selection_id,
            "null_id": None if null is None else null.selection_id,
            "by": by,
            "limit": limit,
        },
    )
    return HubsReport(neurons, tuple(hubs))
