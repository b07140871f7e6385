"""A fact's interactions as they are shown, and what they come to over a whole selection."""

from dataclasses import dataclass

import duckdb

from atlas.interactions.plan import kind_of
from atlas.interactions.stored import fact_interactions, interactions_of
from atlas.queries.named_facts import NamedFact
from atlas.selection.chosen import ChosenSelection, OfSelection


@dataclass(frozen=True)
class PairRow:
    """Two neurons and what suppressing them does to mean log P; `atlas.interactions` has the sign.

    kept: prompts whose top answer it still is, without a, without b, without both.
    """

    layer_a: int
    neuron_a: int
    layer_b: int
    neuron_b: int
    effect_a: float
    effect_b: float
    effect_ab: float
    interaction: float
    kind: str  # backing-up | serial | independent
    kept_a: int
    kept_b: int
    kept_ab: int


@dataclass(frozen=True)
class InteractionReport(OfSelection, rows="pairs"):
    """What suppression showed of one fact."""

    fact: NamedFact
    neurons: int
    prompts: int  # those whose top answer it is
    log_p: float | None
    effect_all: float | None
    kept_all: int | None
    removing_greedy: int | None
    removing_exact: int | None
    removing_sets: int | None
    removing_neurons: tuple[tuple[int, int], ...] | None  # (layer, neuron) of one such set
    pairs_in_all: int
    pairs: tuple[PairRow, ...]  # the strongest interaction first; at most the limit


def interaction_report(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    fact: NamedFact,
    limit: int | None = None,
) -> InteractionReport | None:
    """What is stored of a fact; None if nothing is."""
    found = fact_interactions(connection, selection.selection_id, fact.fact_id)
    if found is None:
        return None
    pairs = [
        PairRow(
            layer_a=pair.layer_a,
            neuron_a=pair.neuron_a,
            layer_b=pair.layer_b,
            neuron_b=pair.neuron_b,
            effect_a=pair.effect_a,
            effect_b=pair.effect_b,
            effect_ab=pair.effect_ab,
            interaction=pair.interaction,
            kind=kind_of(pair.interaction, pair.effect_a, pair.effect_b),
            kept_a=pair.kept_a,
            kept_b=pair.kept_b,
            kept_ab=pair.kept_ab,
        )
        for pair in interactions_of(connection, selection.selection_id, fact.fact_id)
    ]
    return InteractionReport(
        fact=fact,
        neurons=found.neurons,
        prompts=found.prompts,
        log_p=found.log_p,
        effect_all=found.effect_all,
        kept_all=found.kept_all,
        removing_greedy=found.removing_greedy,
        removing_exact=found.removing_exact,
        removing_sets=found.removing_sets,
        removing_neurons=_neurons(found.removing_neurons),
        pairs_in_all=len(pairs),
        pairs=tuple(pairs[:limit]),
    )


def _neurons(stored: str | None) -> tuple[tuple[int, int], ...] | None:
    """`5:300 5:387`, as a row of the atlas has it, as pairs of numbers."""
    if stored is None:
        return None
    pairs = (name.split(":") for name in stored.split())
    return tuple((int(layer), int(neuron)) for layer, neuron in pairs)
