"""What a neuron means, as far as the atlas knows: no model is asked."""

from dataclasses import dataclass
from typing import Literal

import duckdb

from atlas.meaning.stored import Meaning, mean_activation, stored_meaning, turned
from atlas.meaning.stored_associations import Association, associations_of
from atlas.queries.neuron_scores import gather_scores
from atlas.queries.neurons import require_neuron
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.store.rows import fetch


@dataclass(frozen=True)
class ExcitingPrompt:
    """An indexed prompt whose answer position excites the neuron."""

    relation_id: str
    text: str  # the object still [Y]
    object: str
    activation: float
    score: float


@dataclass(frozen=True)
class NeuronMeaning(OfSelection, rows="tokens"):
    """A neuron by what it writes, what excites it, and what its facts have in common."""

    layer: int
    neuron: int
    activation: float | None  # mean at its facts' prompts; None: not known yet
    tokens: tuple[Meaning, ...]  # raised by that activation, then lowered; empty: not known yet
    by_activation: tuple[ExcitingPrompt, ...]  # furthest from 0 first, among stored scores
    by_score: tuple[ExcitingPrompt, ...]
    associations: tuple[Association, ...]  # the significant ones
    tested: bool = True  # whether what its facts have in common is known


def neuron_meaning(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    layer: int,
    neuron: int,
    prompts: int | None = 5,
) -> NeuronMeaning:
    """What is stored of a neuron; NotFound for one outside the model."""
    require_neuron(selection, layer, neuron)
    gather_scores(connection, selection, layer, neuron)
    tokens = stored_meaning(connection, selection.run_id, layer, neuron)
    activation = mean_activation(connection, selection.run_id, layer, neuron)
    associations = associations_of(connection, selection.selection_id, layer, neuron)
    return NeuronMeaning(
        layer=layer,
        neuron=neuron,
        activation=activation,
        tokens=() if activation is None else turned(tokens, activation),
        by_activation=tuple(_exciting_prompts(connection, "activation", prompts)),
        by_score=tuple(_exciting_prompts(connection, "score", prompts)),
        associations=tuple(associations or ()),
        tested=associations is not None,
    )


def _exciting_prompts(
    connection: duckdb.DuckDBPyConnection,
    by: Literal["activation", "score"],
    limit: int | None,
) -> list[ExcitingPrompt]:
    """Prompts with the activation furthest from 0, or the highest score, among gathered scores.

    Below 0 too, because activations of gated FFNs are products and reach far there.
    """
    return fetch(
        connection,
        ExcitingPrompt,
        """
        WITH own AS (
            SELECT prompt_id, activation, score
            FROM own_scores
            ORDER BY CASE WHEN $by = 'score' THEN score ELSE abs(activation) END DESC, prompt_id
            LIMIT $limit
        )
        SELECT f.relation_id, p.text, f.object, o.activation, o.score
        FROM own AS o
        JOIN prompts AS p USING (prompt_id)
        JOIN facts AS f USING (fact_id)
        ORDER BY CASE WHEN $by = 'score' THEN o.score ELSE abs(o.activation) END DESC, p.prompt_id
        """,
        {"by": by, "limit": limit},
    )
