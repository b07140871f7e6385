"""What an edit of a fact rests on: the prompts it learns from, those held out, the neurons.

An edit learns from part of the fact's measured prompts. The others are held out for real: the
knowledge neurons are selected anew from the part alone (with the selection's ratio and the
relation's sharing threshold; `neurons` ranks by scores of the part alone), and the deltas are
found on the part alone. What held-out prompts still share with the rest is the relation's sharing
threshold and the neurons called common, which rest on all facts of the relation; and neurons that
others published, which are taken as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import torch
from torch import Tensor

from atlas.counted import counted
from atlas.edits.making import neurons as edit_neurons
from atlas.edits.making import sources
from atlas.edits.making.questions import split_held_out
from atlas.edits.making.settings import EditSettings
from atlas.edits.making.sources import MeasuredPrompt
from atlas.errors import EditError
from atlas.facts import FactColumns
from atlas.models.identity import identity_difference
from atlas.models.language_model import LanguageModel
from atlas.queries.facts import require_measured
from atlas.selection.chosen import ChosenSelection, choose_selection, labelled
from atlas.store.atlas_file import AtlasFile

WIDENED = 20  # neurons in place of knowledge neurons that are all common
Neurons = Sequence[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class EditBasis:
    """What the edit of a fact rests on: prompts to learn from, prompts held out, neurons.

    widened_because: why the neurons are not the fact's knowledge neurons though nobody asked for
        others; None where they are, or where the settings say how many.
    """

    selection: ChosenSelection
    fact: FactColumns
    prompts: tuple[MeasuredPrompt, ...]
    held_out: tuple[MeasuredPrompt, ...]
    neurons: tuple[tuple[int, int], ...]
    widened_because: str | None = None


def read_basis(
    lm: LanguageModel,
    atlas: AtlasFile,
    fact_id: str,
    settings: EditSettings,
    *,
    neurons_too: bool = True,
) -> EditBasis:
    """Prompts and neurons for an edit of the fact; EditError or NotFound if there are none.

    neurons_too: without, the basis has none: for methods that choose them themselves.
    """
    with atlas.reading() as connection:
        selection = selection_of_model(connection, lm, settings)
        fact = sources.edited_fact(connection, fact_id)
        require_measured(connection, selection, fact)
        prompts = sources.measured_prompts(connection, selection.run_id, [fact_id])
        learnt, held_out = split_held_out(prompts, settings.held_out)
        ids = [prompt.prompt_id for prompt in learnt]
        widened, count, neurons = None, settings.neurons, []
        if not neurons_too:
            return EditBasis(selection, fact, tuple(learnt), tuple(held_out), ())
        if count is None:
            chosen = edit_neurons.selected_from(connection, selection, fact, ids, len(prompts))
            common = edit_neurons.common_neurons(
                connection, selection.selection_id, fact.relation_id, settings.common_share
            )
            neurons = [(n.layer, n.neuron) for n in chosen if (n.layer, n.neuron) not in common]
            if not chosen:
                raise _no_neuron(fact, selection)
            if not neurons:
                widened, count = _all_common(fact, len(chosen), settings), WIDENED
        if count is not None:
            found = edit_neurons.highest_scores(connection, selection.run_id, ids, count)
            neurons = [(neuron.layer, neuron.neuron) for neuron in found]
    if not neurons:
        raise EditError(f"{fact.named} has no neuron with a positive score: edit another fact")
    return EditBasis(selection, fact, tuple(learnt), tuple(held_out), tuple(neurons), widened)


def value_vectors(lm: LanguageModel, neurons: Neurons) -> Tensor:
    """The neurons' value vectors, [neuron, d_model] float32."""
    return torch.stack([lm.value_vectors(layer)[neuron] for layer, neuron in neurons]).float()


def selection_of_model(
    connection: duckdb.DuckDBPyConnection, lm: LanguageModel, settings: EditSettings
) -> ChosenSelection:
    """The selection that the settings name; EditError if another model was measured for it."""
    selection = choose_selection(connection, settings.selection_id)
    weights, identity = sources.model_of_run(connection, selection.run_id)
    if weights != lm.weights_sha256:
        raise EditError(
            f"selection {labelled(selection)} is of {selection.model} (weights {weights[:12]}), "
            f"but {lm.name} has {lm.model_id}: load that model, or name another selection",
            parameters=["model", "selection"],
        )
    if differs := identity_difference(lm.identity, identity, lm.name):
        raise EditError(
            f"selection {selection.selection_id} is of {selection.model} with another {differs} "
            f"than {lm.name} has: load that model, or name another selection",
            parameters=["model", "selection"],
        )
    return selection


def _all_common(fact: FactColumns, chosen: int, settings: EditSettings) -> str:
    own = (
        "the only knowledge neuron" if chosen == 1 else f"all {counted(chosen, 'knowledge neuron')}"
    )
    return (
        f"{own} of {fact.named} {'is' if chosen == 1 else 'are'} common to more than "
        f"{settings.common_share:.0%} of its relation's facts, so its {WIDENED} strongest neurons "
        "are edited"
    )


def _no_neuron(fact: FactColumns, selection: ChosenSelection) -> EditError:
    return EditError(
        f"{fact.named} has no knowledge neurons in selection {labelled(selection)}: name "
        f"another selection, or say how many of its strongest neurons to edit, say {WIDENED}",
        parameters=["selection", "neurons"],
    )
