"""Interactions between a fact's neurons: which are missing, writing them, reading them."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from atlas.selection.derived import replace_of_facts
from atlas.selection.sites import SUBJECT_END
from atlas.store.rows import fetch


@dataclass(frozen=True)
class UnexaminedFact:
    """A fact whose interactions are not known for the neurons and prompts that it has now."""

    fact_id: str
    object: str
    layers: list[int]  # of its knowledge neurons, ascending by layer and index
    neurons: list[int]
    texts: list[str]  # prompts with [Y], as measured, whose top answer it is
    subject_ends: list[int | None]  # per text; None: neurons are measured at the answer
    asked: str  # digest of all that

    @property
    def named_neurons(self) -> list[tuple[int, int]]:
        """(layer, index) of each neuron."""
        return list(zip(self.layers, self.neurons, strict=True))


@dataclass(frozen=True)
class FactInteractions:
    """A row of `fact_interactions`: what suppression showed of one fact."""

    selection_id: str
    fact_id: str
    neurons: int
    prompts: int
    log_p: float | None
    effect_all: float | None
    kept_all: int | None
    removing_greedy: int | None
    removing_exact: int | None
    removing_sets: int | None
    removing_neurons: str | None
    asked: str


@dataclass(frozen=True)
class Interaction:
    """A row of `interactions`: two neurons of a fact; see `atlas.interactions` for the sign."""

    selection_id: str
    fact_id: str
    layer_a: int
    neuron_a: int
    layer_b: int
    neuron_b: int
    effect_a: float
    effect_b: float
    effect_ab: float
    interaction: float
    kept_a: int
    kept_b: int
    kept_ab: int


def unexamined_facts(
    connection: duckdb.DuckDBPyConnection,
    selection_id: str,
    *,
    relations: Sequence[str] | None = None,
    fact_id: str | None = None,
) -> list[UnexaminedFact]:
    """Facts with knowledge neurons whose interactions are missing or outdated, by fact id."""
    return fetch(
        connection,
        UnexaminedFact,
        f"""
        WITH own AS (
            SELECT k.fact_id,
                   list(k.layer::INTEGER ORDER BY k.layer, k.neuron) AS layers,
                   list(k.neuron ORDER BY k.layer, k.neuron) AS neurons
            FROM knowledge_neurons AS k
            JOIN facts AS f USING (fact_id)
            WHERE k.selection_id = $selection_id
              AND ($relations IS NULL OR f.relation_id IN $relations)
              AND ($fact_id IS NULL OR k.fact_id = $fact_id)
            GROUP BY k.fact_id
        ),
        known AS (
            SELECT p.fact_id,
                   list(p.text ORDER BY p.prompt_id) AS texts,
                   list({SUBJECT_END} ORDER BY p.prompt_id) AS subject_ends
            FROM prompt_results AS m
            JOIN prompts AS p USING (prompt_id)
            JOIN runs AS r USING (run_id)
            JOIN selections AS s USING (run_id)
            WHERE s.selection_id = $selection_id
              AND m.answer_rank = 1
            GROUP BY p.fact_id
        ),
        wanted AS (
            SELECT o.fact_id,
                   f.object,
                   o.layers,
                   o.neurons,
                   coalesce(k.texts, []) AS texts,
                   coalesce(k.subject_ends, []) AS subject_ends,
                   sha256(o.layers::VARCHAR || o.neurons::VARCHAR
                          || coalesce(k.texts, [])::VARCHAR)[:12] AS asked
            FROM own AS o
            JOIN facts AS f USING (fact_id)
            LEFT JOIN known AS k USING (fact_id)
        )
        SELECT w.fact_id, w.object, w.layers, w.neurons, w.texts, w.subject_ends, w.asked
        FROM wanted AS w
        LEFT JOIN fact_interactions AS i
          ON i.selection_id = $selection_id
         AND i.fact_id = w.fact_id
        WHERE i.asked IS DISTINCT FROM w.asked
        ORDER BY w.fact_id
        """,
        {
            "selection_id": selection_id,
            "relations": None if relations is None else list(relations),
            "fact_id": fact_id,
        },
    )


def record_interactions(
    connection: duckdb.DuckDBPyConnection,
    facts: Sequence[FactInteractions],
    pairs: Sequence[Interaction],
) -> None:
    """Put the facts' rows in the place of what was there."""
    if not facts:
        return
    replace_of_facts(
        connection,
        facts[0].selection_id,
        [fact.fact_id for fact in facts],
        {"fact_interactions": facts, "interactions": pairs},
    )


def fact_interactions(
    connection: duckdb.DuckDBPyConnection, selection_id: str, fact_id: str
) -> FactInteractions | None:
    """What is stored of a fact; None if nothing is."""
    found = fetch(
        connection,
        FactInteractions,
        """
        SELECT selection_id, fact_id, neurons, prompts, log_p, effect_all, kept_all,
               removing_greedy, removing_exact, removing_sets, removing_neurons, asked
        FROM fact_interactions
        WHERE selection_id = ?
          AND fact_id = ?
        """,
        [selection_id, fact_id],
    )
    return found[0] if found else None


def interactions_of(
    connection: duckdb.DuckDBPyConnection, selection_id: str, fact_id: str
) -> list[Interaction]:
    """The fact's pairs, the strongest interaction first."""
    return fetch(
        connection,
        Interaction,
        """
        SELECT selection_id, fact_id, layer_a, neuron_a, layer_b, neuron_b,
               effect_a, effect_b, effect_ab, interaction, kept_a, kept_b, kept_ab
        FROM interactions
        WHERE selection_id = ?
          AND fact_id = ?
        ORDER BY abs(interaction) DESC, layer_a, neuron_a, layer_b, neuron_b
        """,
        [selection_id, fact_id],
    )
