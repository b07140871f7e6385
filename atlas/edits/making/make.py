"""Making edits of facts and relations: deltas found, outcome measured, stored.

Suppressing and amplifying is meant in two ways, which have two names. `interventions.scaled` at
the answer position scales activations there while a model runs. A stored edit of kind suppress or
amplify scales the value vectors, hence acts at every position of every prompt. They agree where
the edited neurons are silent at all other positions, for causal and masked models alike, and where
nothing after the edited layer reads other positions: for the last layer, always.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import duckdb
import numpy as np
from torch import Tensor

from atlas.edits.edit import Edit, EditedFact, EditOutcome
from atlas.edits.making import neurons as edit_neurons
from atlas.edits.making.basis import (
    EditBasis,
    read_basis,
    selection_of_model,
    value_vectors,
)
from atlas.edits.making.found import Change
from atlas.edits.making.methods import (
    CHOOSE_THEMSELVES,
    TOGETHER,
    prepare,
    require_expressible,
    update_deltas,
)
from atlas.edits.making.outcomes import measured_kept, measured_outcomes
from atlas.edits.making.settings import EditSettings, require_factor, require_other_object
from atlas.edits.stored import Held, held_before, read_edits, record_edit
from atlas.errors import EditError, NotFound, SettingsError
from atlas.models.language_model import LanguageModel
from atlas.progress import Reporter
from atlas.selection.chosen import labelled
from atlas.store.atlas_file import AtlasFile

__all__ = [
    "EditSettings",
    "MadeEdit",
    "make_erase",
    "make_relation_erase",
    "make_scale",
    "make_update",
    "make_updates",
]


@dataclass(frozen=True, eq=False)
class MadeEdit:
    """An edit as the atlas holds it, with its outcome, and what it held of it before."""

    edit: Edit
    outcomes: tuple[EditOutcome, ...]
    before: Held

    def __repr__(self) -> str:
        return f"MadeEdit({self.edit!r}, outcomes=<{len(self.outcomes)}>, before={self.before!r})"

    @property
    def new(self) -> bool:
        """Whether the atlas held no equal edit."""
        return self.before == "new"

    @property
    def success(self) -> float | None:
        """Share of the prompts it was made from with the new object on top; None: no update."""
        return _success([outcome for outcome in self.outcomes if not outcome.held_out])

    @property
    def held_out_success(self) -> float | None:
        """The same of the prompts held out; None also if there is none."""
        return _success([outcome for outcome in self.outcomes if outcome.held_out])


def make_update(
    lm: LanguageModel,
    atlas: AtlasFile,
    fact_id: str,
    new_object: str,
    settings: EditSettings | None = None,
    report: Reporter = lambda event: None,
) -> MadeEdit:
    """Make, measure and store an edit that replaces the fact's object.

    report: is told where it stands if the method has to measure much first.

    Raises EditError (another model, the object that it is, an object that the tokenizer cannot
    express, no neuron left) and NotFound (fact, selection, run); then nothing is stored.
    """
    settings = settings or EditSettings()
    basis = _basis(lm, atlas, fact_id, settings)
    new_object = new_object.strip()
    require_other_object(basis.fact.named, basis.fact.object, new_object)
    require_expressible(lm, basis, new_object)
    prepare(lm, atlas, basis, settings, report)
    started = time.monotonic()
    found = update_deltas(lm, atlas, basis, new_object, settings)
    how = {**_shared(settings, basis), **found.settings}
    if found.neurons is not None:
        basis = replace(basis, neurons=found.neurons)
    edit = _edit_of(lm, basis, found.deltas, "update", settings.method, how)
    edit = replace(edit, new_object=new_object)
    if found.kept and "kept_right_after" not in how:
        edit = replace(edit, settings={**how, **measured_kept(lm, edit, found.kept)})
    return _stored(lm, atlas, edit, basis, started)


def make_updates(
    lm: LanguageModel,
    atlas: AtlasFile,
    wanted: Sequence[tuple[str, str]],
    settings: EditSettings | None = None,
    each: bool = False,
    report: Reporter = lambda event: None,
) -> tuple[MadeEdit, ...]:
    """Make, measure and store an edit that gives several facts new objects, solved together.

    wanted: fact ids with their new objects. each: store one edit a fact; they add up to the one.
    Methods that solve no facts together make one edit a fact, whatever the others. One fact is what
    `make_update` makes of it. Raises what that raises, and then nothing is stored.
    """
    settings, started = settings or EditSettings(), time.monotonic()
    changes = [Change(_basis(lm, atlas, fact_id, settings), new.strip()) for fact_id, new in wanted]
    _require_makeable(lm, changes)
    if settings.method not in TOGETHER:
        return tuple(
            make_update(lm, atlas, change.basis.fact.fact_id, change.new_object, settings, report)
            for change in changes
        )
    found = TOGETHER[settings.method](lm, atlas, changes, settings, report)
    of_several = {"together": len(changes)} if len(changes) > 1 else {}
    others = sorted({prompt.fact_id for prompt in found.kept})
    how = {**({"kept_facts": others} if others else {}), **found.settings, **of_several}
    if each or len(changes) == 1:
        parts = [([change], deltas) for change, deltas in zip(changes, found.deltas, strict=True)]
    else:
        parts = [(changes, sum(found.deltas[1:], found.deltas[0]))]
    made = []
    for own, deltas in parts:
        edit = _edit_of_several(lm, own, found.neurons, deltas, settings, how)
        if found.kept:
            edit = replace(edit, settings={**edit.settings, **measured_kept(lm, edit, found.kept)})
        learnt = [prompt for change in own for prompt in change.basis.prompts]
        held_out = [prompt for change in own for prompt in change.basis.held_out]
        outcomes = measured_outcomes(lm, edit, learnt, held_out)
        seconds = (time.monotonic() - started) / len(parts)
        made.append((replace(edit, seconds=seconds), outcomes))
    with atlas.writing() as connection:
        return tuple(_recorded(connection, edit, outcomes) for edit, outcomes in made)


def make_erase(
    lm: LanguageModel, atlas: AtlasFile, fact_id: str, settings: EditSettings | None = None
) -> MadeEdit:
    """Make, measure and store an edit that zeroes the value vectors of the fact's neurons."""
    settings, started = settings or EditSettings(), time.monotonic()
    basis = read_basis(lm, atlas, fact_id, settings)
    deltas = -value_vectors(lm, basis.neurons)
    edit = _edit_of(lm, basis, deltas, "erase", "zero", _shared(settings, basis))
    return _stored(lm, atlas, edit, basis, started)


def make_scale(
    lm: LanguageModel,
    atlas: AtlasFile,
    fact_id: str,
    factor: float,
    settings: EditSettings | None = None,
) -> MadeEdit:
    """Make, measure and store an edit that multiplies the value vectors of the fact's neurons.

    A factor below 1 suppresses, above 1 amplifies; SettingsError for 1 and for negative ones.
    """
    require_factor(factor)
    settings, started = settings or EditSettings(), time.monotonic()
    basis = read_basis(lm, atlas, fact_id, settings)
    kind = "suppress" if factor < 1 else "amplify"
    deltas = (factor - 1) * value_vectors(lm, basis.neurons)
    how = {**_shared(settings, basis), "factor": float(factor)}
    return _stored(lm, atlas, _edit_of(lm, basis, deltas, kind, "scale", how), basis, started)


def make_relation_erase(
    lm: LanguageModel,
    atlas: AtlasFile,
    relation_id: str,
    neurons: int = 20,
    settings: EditSettings | None = None,
) -> MadeEdit:
    """Make and store the paper's erasure of a relation; it has no outcome of its own.

    Zeroes the value vectors of the neurons that are knowledge neurons of most of its facts (Dai et
    al. 2022, section 5.3).
    """
    settings, started = settings or EditSettings(), time.monotonic()
    if neurons < 1:
        raise SettingsError(f"neurons is {neurons}: use 1 or more")
    with atlas.reading() as connection:
        selection = selection_of_model(connection, lm, settings)
        found = edit_neurons.most_frequent(connection, selection.selection_id, relation_id, neurons)
    if not found:
        raise NotFound(
            f"selection {labelled(selection)} has no knowledge neurons in relation "
            f"'{relation_id}': index that relation, or select otherwise"
            + (", for example from all facts" if selection.known_only else ""),
            parameters=["known_only"] if selection.known_only else [],
        )
    chosen = [(neuron.layer, neuron.neuron) for neuron in found]
    edit = Edit(
        kind="erase",
        method="zero",
        weights_sha256=lm.weights_sha256,
        model_identity=lm.identity,
        layers=np.array([layer for layer, _ in chosen]),
        neurons=np.array([neuron for _, neuron in chosen]),
        deltas=-value_vectors(lm, chosen).cpu().numpy(),
        settings={"neurons": neurons},
        run_id=selection.run_id,
        selection_id=selection.selection_id,
        relation_id=relation_id,
        atlas_version=version("knowledge-neuron-atlas"),
    )
    return _record(atlas, replace(edit, seconds=time.monotonic() - started), ())


def _require_makeable(lm: LanguageModel, changes: Sequence[Change]) -> None:
    """EditError that lists every change that asks for no other object, or for one without words."""
    problems = []
    for change in changes:
        fact = change.basis.fact
        try:
            require_other_object(fact.named, fact.object, change.new_object)
            require_expressible(lm, change.basis, change.new_object)
        except EditError as error:
            problems.append(f"{fact.named}: {error}")
    if problems:
        raise EditError("; ".join(problems))


def _edit_of_several(
    lm: LanguageModel,
    changes: Sequence[Change],
    neurons: tuple[tuple[int, int], ...],
    deltas: Tensor,
    settings: EditSettings,
    how: Mapping[str, Any],
) -> Edit:
    """The edit of these changes; of one fact it is like any other."""
    basis = replace(changes[0].basis, neurons=neurons)
    how = {**_shared(settings, basis), **how}
    edit = _edit_of(lm, basis, deltas, "update", settings.method, how)
    if len(changes) == 1:
        return replace(edit, new_object=changes[0].new_object)
    relations = {change.basis.fact.relation_id for change in changes}
    facts = [(change.basis.fact, change.new_object) for change in changes]
    return replace(
        edit,
        relation_id=relations.pop() if len(relations) == 1 else None,
        fact_id=None,
        subject=None,
        old_object=None,
        facts=tuple(
            EditedFact(fact.fact_id, fact.relation_id, fact.subject, fact.object, new)
            for fact, new in facts
        ),
    )


def _edit_of(
    lm: LanguageModel,
    basis: EditBasis,
    deltas: Tensor,
    kind: str,
    method: str,
    settings: Mapping[str, Any],
) -> Edit:
    return Edit(
        kind=kind,
        method=method,
        weights_sha256=lm.weights_sha256,
        model_identity=lm.identity,
        layers=np.array([layer for layer, _ in basis.neurons]),
        neurons=np.array([neuron for _, neuron in basis.neurons]),
        deltas=deltas.float().cpu().numpy(),
        settings=settings,
        run_id=basis.selection.run_id,
        selection_id=basis.selection.selection_id,
        relation_id=basis.fact.relation_id,
        fact_id=basis.fact.fact_id,
        subject=basis.fact.subject,
        old_object=basis.fact.object,
        atlas_version=version("knowledge-neuron-atlas"),
    )


def _shared(settings: EditSettings, basis: EditBasis) -> dict[str, Any]:
    shared: dict[str, Any] = {
        "common": None if settings.neurons is not None else settings.common_share,
        "neurons": settings.neurons,
        "held_out": settings.held_out,
    }
    if basis.widened_because is not None:
        shared["widened_because"] = basis.widened_because
    return shared


def _stored(
    lm: LanguageModel, atlas: AtlasFile, edit: Edit, basis: EditBasis, started: float
) -> MadeEdit:
    outcomes = measured_outcomes(lm, edit, basis.prompts, basis.held_out)
    return _record(atlas, replace(edit, seconds=time.monotonic() - started), outcomes)


def _record(atlas: AtlasFile, edit: Edit, outcomes: tuple[EditOutcome, ...]) -> MadeEdit:
    with atlas.writing() as connection:
        return _recorded(connection, edit, outcomes)


def _recorded(
    connection: duckdb.DuckDBPyConnection, edit: Edit, outcomes: tuple[EditOutcome, ...]
) -> MadeEdit:
    before = held_before(connection, edit)
    edit_id = record_edit(connection, edit, outcomes)
    (held,) = read_edits(connection, [edit_id])
    return MadeEdit(held, outcomes, before)


def _basis(lm: LanguageModel, atlas: AtlasFile, fact_id: str, settings: EditSettings) -> EditBasis:
    chooses = settings.method in CHOOSE_THEMSELVES
    return read_basis(lm, atlas, fact_id, settings, neurons_too=not chooses)


def _success(outcomes: Sequence[EditOutcome]) -> float | None:
    ranks = [outcome.new_rank_after for outcome in outcomes]
    if not ranks or None in ranks:
        return None
    return sum(rank == 1 for rank in ranks) / len(ranks)
