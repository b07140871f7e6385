"""The page on a neuron."""

from dataclasses import dataclass

import duckdb

from atlas.meaning.report import NeuronMeaning, neuron_meaning
from atlas.queries.neuron_scores import Fellow, ScoreBin, fellows, score_bins
from atlas.queries.neurons import NeuronReport, neuron_report
from atlas.selection.chosen import ChosenSelection, OfSelection

SHOWN = 10  # prompts and fellows


@dataclass(frozen=True)
class NeuronPage(OfSelection, rows="fellows"):
    """A neuron: the facts that it serves, what it means, its scores, its fellows."""

    neuron: NeuronReport
    meaning: NeuronMeaning
    scores: tuple[ScoreBin, ...]  # the distribution of its stored scores
    fellows: tuple[Fellow, ...]  # neurons most often together with it


def neuron_page(
    connection: duckdb.DuckDBPyConnection,
    selection: ChosenSelection,
    layer: int,
    neuron: int,
    limit: int | None = None,
    offset: int = 0,
) -> NeuronPage:
    """Everything that is stored of a neuron; limit and offset are of its facts.

    NotFound as its parts.
    """
    meaning = neuron_meaning(connection, selection, layer, neuron, SHOWN)  # gathers its scores
    return NeuronPage(
        neuron=neuron_report(connection, selection, layer, neuron, limit, offset),
        meaning=meaning,
        scores=tuple(score_bins(connection)),
        fellows=tuple(fellows(connection, selection, layer, neuron, SHOWN)),
    )
