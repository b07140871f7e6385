"""What an edit of a fact rests on: the prompts it learns from, those held out, the neurons.

An edit learns from part of the fact's measured prompts. The others are held out for real: the
knowledge neurons are selected anew from the part alone (with the selection's ratio and the
relation's sharing threshold; `--neurons N` ranks by scores of the part alone), and the deltas are
found on the part alone. What held-out prompts still share with the rest is the relation's sharing
threshold and the neurons called common, which rest on all facts of the relation; and neurons that
others published, which are taken as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import torch
from torch import Tensor

from atlas.edits.making import neurons as edit_neurons
from atlas.edits.making import sources
from atlas.edits.making.directions import output_directions, paper_deltas, pulled_back
from atlas.edits.making.questions import ask_for, held_apart
from atlas.edits.making.solving import MARGIN, solve_deltas
from atlas.edits.making.sources import EditedFact, MeasuredPrompt
from atlas.errors import EditError, SettingsError
from atlas.models.language_model import LanguageModel
from atlas.selection.chosen import ChosenSelection, choose_selection
from atlas.store.atlas_file import AtlasFile

METHODS = ("solve", "paper")
WIDENED = 20  # neurons in place of knowledge neurons that are all common
Neurons = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class EditSettings:
    """How an edit is made; nothing but `neurons` is meant to need tuning.

    selection_id: whose knowledge neurons; None: the latest selection's.
    common: leave out neurons of more than this share of the relation's facts (of those that have
        knowledge neurons; a neuron of a single fact is never common).
    neurons: None: the fact's knowledge neurons, and where all of them are common, its WIDENED
        neurons of highest mean score; N: its N neurons of highest mean score instead.
    lambda1, lambda2: strengths of method paper. pull_back: let it take the slope of the objects'
        logits at the prompts in place of their output embeddings, see `directions`.
    keep: prompts of other facts that method solve leaves in place.
    held_out: share of the fact's prompts that play no part.
    """

    method: str = "solve"
    selection_id: str | None = None
    common: float = 0.1
    neurons: int | None = None
    lambda1: float = 1.0
    lambda2: float = 8.0
    pull_back: bool = False
    keep: int = 40
    held_out: float = 0.25

    def __post_init__(self) -> None:
        """SettingsError for a value outside its range."""
        if self.method not in METHODS:
            raise SettingsError(f"unknown method '{self.method}': choose solve or paper")
        if not 0 <= self.common <= 1:
            raise SettingsError(f"common is {self.common}: use a share between 0 and 1")
        if self.neurons is not None and self.neurons < 1:
            raise SettingsError(f"neurons is {self.neurons}: use 1 or more")
        if not 0 <= self.held_out < 1:
            raise SettingsError(f"held_out is {self.held_out}: use a share from 0 to below 1")
        if self.keep < 0:
            raise SettingsError(f"keep is {self.keep}: use 0 or more")


@dataclass(frozen=True, eq=False)
class EditBasis:
    """What the edit of a fact rests on: prompts to learn from, prompts held out, neurons.

    widened_because: why the neurons are not the fact's knowledge neurons though nobody asked for
        others; None where they are, or where `--neurons` named so many.
    """

    selection: ChosenSelection
    fact: EditedFact
    prompts: tuple[MeasuredPrompt, ...]
    held_out: tuple[MeasuredPrompt, ...]
    neurons: tuple[tuple[int, int], ...]
    widened_because: str | None = None


def read_basis(
    lm: LanguageModel, atlas: AtlasFile, fact_id: str, settings: EditSettings
) -> EditBasis:
    """Prompts and neurons for an edit of the fact; EditError or NotFound if there are none."""
    with atlas.reading() as con:
        selection = selection_of_model(con, lm, settings)
        fact = sources.edited_fact(con, fact_id)
        prompts = sources.measured_prompts(con, selection.run_id, [fact_id])
        if not prompts:
            raise EditError(
                f"run {selection.run_id} has measured no prompt of {named_fact(fact)}: run "
                f"`atlas index --relation {fact.relation_id}` first"
            )
        learnt, held_out = held_apart(prompts, settings.held_out)
        ids = [prompt.prompt_id for prompt in learnt]
        widened, count = None, settings.neurons
        if count is None:
            chosen = edit_neurons.selected_from(con, selection, fact, ids, len(prompts))
            common = edit_neurons.common_neurons(
                con, selection.selection_id, fact.relation_id, settings.common
            )
            neurons = [(n.layer, n.neuron) for n in chosen if (n.layer, n.neuron) not in common]
            if not chosen:
                raise EditError(_no_neuron(fact, selection))
            if not neurons:
                widened, count = _all_common(fact, len(chosen), settings), WIDENED
        if count is not None:
            found = edit_neurons.highest_scores(con, selection.run_id, ids, count)
            neurons = [(neuron.layer, neuron.neuron) for neuron in found]
    if not neurons:
        raise EditError(
            f"{named_fact(fact)} has no neuron with a positive score: edit another fact"
        )
    return EditBasis(selection, fact, tuple(learnt), tuple(held_out), tuple(neurons), widened)


def update_deltas(
    lm: LanguageModel,
    atlas: AtlasFile,
    basis: EditBasis,
    new_object: str,
    settings: EditSettings,
) -> tuple[Tensor, Mapping[str, Any]]:
    """Deltas [neuron, d_model] by the settings' method, and what its settings will say."""
    wanted = ask_for(lm, basis.prompts, new_object)
    ask_for(lm, basis.held_out, new_object)  # refused before anything is computed
    if settings.method == "paper":
        asked = (ask_for(lm, basis.prompts), wanted)
        if settings.pull_back:
            e_old, e_new = (pulled_back(lm, questions) for questions in asked)
        else:  # the answer's tokens are the same in every prompt
            tokens = ([target.token for target in questions[0]] for questions in asked)
            e_old, e_new = (output_directions(lm, ids).mean(0) for ids in tokens)
        vectors = value_vectors(lm, basis.neurons)
        deltas = paper_deltas(vectors, e_old, e_new, settings.lambda1, settings.lambda2)
        deltas = _signs(lm, atlas, basis)[:, None] * deltas
        return deltas, {
            "lambda1": settings.lambda1,
            "lambda2": settings.lambda2,
            "pull_back": settings.pull_back,
        }
    with atlas.reading() as con:
        kept = sources.prompts_to_keep(
            con, basis.selection, basis.fact, basis.neurons, settings.keep
        )
    solved = solve_deltas(lm, basis.neurons, wanted, ask_for(lm, kept))
    return solved.deltas, {
        "keep": settings.keep,
        "margin": MARGIN,
        "reached": round(solved.reached, 6),
        "broken": round(solved.broken, 6),
        "steps": solved.steps,
        "kept_facts": sorted({prompt.fact_id for prompt in kept}),
    }


def _signs(lm: LanguageModel, atlas: AtlasFile, basis: EditBasis) -> Tensor:
    """-1 for neurons whose activation on the prompts is negative on average, else 1; [neuron].

    A neuron writes activation times value vector. The paper's models have activations that are
    positive wherever they matter; those of a gated MLP (Llama) have either sign, and a delta
    towards the new object would push a negative one away from it.
    """
    with atlas.reading() as con:
        ids = [prompt.prompt_id for prompt in basis.prompts]
        mean = edit_neurons.mean_activations(con, basis.selection.run_id, ids)
    signs = [-1.0 if mean.get(neuron, 1.0) < 0 else 1.0 for neuron in basis.neurons]
    return torch.tensor(signs, device=lm.model.device)


def value_vectors(lm: LanguageModel, neurons: Neurons) -> Tensor:
    """The neurons' value vectors, [neuron, d_model] float32."""
    return torch.stack([lm.value_vectors(layer)[neuron] for layer, neuron in neurons]).float()


def selection_of_model(
    con: duckdb.DuckDBPyConnection, lm: LanguageModel, settings: EditSettings
) -> ChosenSelection:
    """The selection that the settings name; EditError if another model was measured for it."""
    selection = choose_selection(con, settings.selection_id)
    weights = sources.weights_of_run(con, selection.run_id)
    if weights != lm.weights_sha256:
        raise EditError(
            f"selection {selection.selection_id} is of {selection.model} (weights {weights[:12]}), "
            f"but {lm.name} has {lm.model_id}: load that model, or name another with --selection"
        )
    return selection


def named_fact(fact: EditedFact) -> str:
    """How messages call a fact: `Ireland (P36 capital)`."""
    return f"{fact.subject} ({fact.relation_id} {fact.relation})"


def _all_common(fact: EditedFact, chosen: int, settings: EditSettings) -> str:
    return (
        f"all {chosen} knowledge neurons of {named_fact(fact)} are common to more than "
        f"{settings.common:.0%} of its relation's facts, so its {WIDENED} strongest neurons are "
        f"edited; allow common ones with --common 1, or say how many with --neurons"
    )


def _no_neuron(fact: EditedFact, selection: ChosenSelection) -> str:
    return (
        f"{named_fact(fact)} has no knowledge neurons in selection {selection.selection_id}: name "
        "another with --selection, or edit its strongest neurons with --neurons 20"
    )
