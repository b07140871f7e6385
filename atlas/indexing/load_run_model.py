"""Loading the model that a run, a selection or an edit of the atlas is about."""

import os
from pathlib import Path

from atlas.errors import ModelError, ModelNotFound
from atlas.indexing.run_model import RunModel
from atlas.models.identity import identity_difference
from atlas.models.language_model import LanguageModel
from atlas.models.load import EMBEDDED, load_model

ENVIRONMENT = "ATLAS_MODEL"  # names a model where no call does


def load_run_model(
    wanted: RunModel, name: str | None = None, device: str = "auto"
) -> LanguageModel:
    """The model in its run's dtype and attention: as `name` says, or wherever it is found.

    Without `name`, the environment's ATLAS_MODEL says where; else the name that the atlas knows it
    by, if that leads somewhere; else the place where it was when it was indexed. Another model
    than the run's is refused, so that a hint that has come to lead elsewhere does no harm.

    Raises ModelNotFound if nothing leads anywhere, ModelError for another model, and whatever
    `load_model` raises. Warns UnknownIdentity where the run's is not known.
    """
    named = run_model_name(wanted, name)
    lm = load_model(named, wanted.dtype, device, attention=wanted.attention)
    return require_model(lm, wanted)


def run_model_name(wanted: RunModel, name: str | None = None) -> str:
    """The name by which `load_run_model` loads; ModelNotFound if nothing leads anywhere."""
    named = name or os.environ.get(ENVIRONMENT) or _found(wanted)
    if named is None:
        tried = "" if wanted.path is None else f", nor where it was, {wanted.path}"
        raise ModelNotFound(
            f"the atlas's model '{wanted.name}' is not in this directory{tried}: name its "
            f"directory or its GGUF file, here or in {ENVIRONMENT}",
            parameters=["model"],
        )
    return named


def require_model(lm: LanguageModel, wanted: RunModel) -> LanguageModel:
    """The model, if it is the run's in all that decides its probabilities; else ModelError.

    Warns UnknownIdentity where more than the weights cannot be compared.
    """
    if lm.model_id != wanted.model_id:
        raise ModelError(
            f"'{lm.name}' has weights {lm.model_id}, the atlas's '{wanted.name}' has "
            f"{wanted.model_id}: name the model that was indexed",
            parameters=["model"],
        )
    if differs := identity_difference(lm.identity, wanted.identity, lm.name):
        raise ModelError(
            f"'{lm.name}' has the weights of the atlas's '{wanted.name}' but another {differs}: "
            "name the model as it was indexed, or index this one",
            parameters=["model"],
        )
    if wanted.dtype != lm.dtype:
        raise ModelError(
            f"'{lm.name}' is loaded in {lm.dtype}, the run measured it in {wanted.dtype}: load it "
            "so",
            parameters=["model"],
        )
    if wanted.attention not in (None, lm.attention):
        raise ModelError(
            f"'{lm.name}' is loaded with {lm.attention} attention, the run measured it with "
            f"{wanted.attention}: load it so",
            parameters=["model"],
        )
    return lm


def _found(wanted: RunModel) -> str | None:
    """What leads to the model: its name (embedded, of the hub, a path), else the stored path."""
    name = wanted.name
    if name == EMBEDDED or Path(name).exists():
        return name
    if wanted.path is not None and Path(wanted.path).exists():
        return wanted.path
    return name if "/" in name else None
