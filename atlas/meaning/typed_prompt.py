"""The neurons of a prompt and an answer that are typed by hand."""

from dataclasses import dataclass

import numpy as np

from atlas.engine.attribution import attribute
from atlas.errors import PromptError
from atlas.models.language_model import LanguageModel
from atlas.progress import Advance, Reporter
from atlas.prompts import MASK, Prompt
from atlas.selection.chosen import ChosenSelection, OfSelection
from atlas.store.atlas_file import AtlasFile


@dataclass(frozen=True)
class TypedNeuron:
    """A neuron of a prompt typed by hand."""

    layer: int
    neuron: int
    score: float
    share: float  # of the largest score
    activation: float
    facts: int  # that it serves in the selection


@dataclass(frozen=True)
class TypedPromptReport(OfSelection, rows="neurons"):
    """A prompt and an answer typed by hand, and the neurons that the answer rests on."""

    text: str
    answer: str
    p_answer: float
    answer_rank: int  # 1 = the model's top answer
    predicted: str  # the model's top answer
    p_predicted: float
    completeness_gap: float  # the signed gap of the layer where it is largest
    neurons: tuple[TypedNeuron, ...]  # highest score first; at most the limit


def typed_prompt(
    atlas: AtlasFile,
    lm: LanguageModel,
    selection: ChosenSelection,
    text: str,
    answer: str,
    limit: int | None,
    report: Reporter,
) -> TypedPromptReport:
    """Attribute the answer; PromptError for what the model cannot be asked."""
    asked, wanted = text.replace("[Y]", MASK).strip(), answer.strip()
    if not wanted:
        raise PromptError("there is no answer to attribute: write one")

    def tell(share: float) -> None:
        report(Advance("Attributing the answer", round(100 * share), 100, unit="%"))

    found = attribute(lm, Prompt(asked, wanted), told=tell)
    scores, activations = found.scores[0], found.activations[0]  # [layer, neuron]
    order = np.argsort(-scores, axis=None, kind="stable")[:limit]
    order = order[scores.ravel()[order] > 0]
    places = [divmod(int(place), scores.shape[1]) for place in order]
    served = _served(atlas, selection.selection_id)
    largest = float(scores.max())
    gaps = found.completeness_gap[0]
    return TypedPromptReport(
        text=asked,
        answer=wanted,
        p_answer=float(found.p_answer[0]),
        answer_rank=int(found.answer_rank[0]),
        predicted=found.predicted[0],
        p_predicted=float(found.p_predicted[0]),
        completeness_gap=float(gaps[np.argmax(np.abs(gaps))]),
        neurons=tuple(
            TypedNeuron(
                layer,
                neuron,
                float(scores[layer, neuron]),
                float(scores[layer, neuron]) / largest,
                float(activations[layer, neuron]),
                served.get((layer, neuron), 0),
            )
            for layer, neuron in places
        ),
    )


def _served(atlas: AtlasFile, selection_id: str) -> dict[tuple[int, int], int]:
    """How many facts each neuron of the selection serves."""
    with atlas.reading() as connection:
        rows = connection.execute(
            """
            SELECT layer, neuron, facts
            FROM all_neuron_degrees
            WHERE selection_id = ?
            """,
            [selection_id],
        ).fetchall()
    return {(layer, neuron): facts for layer, neuron, facts in rows}
