"""Loading the model that a run, a selection or an edit of the atlas is about."""

import os
from pathlib import Path

from atlas.errors import ModelError, ModelNotFound
from atlas.indexing.run_model import RunModel
from atlas.models.language_model import LanguageModel
from atlas.models.load import EMBEDDED, load_model

ENVIRONMENT = "ATLAS_MODEL"  # names a model where no call does


def load_run_model(
    wanted: RunModel, name: str | None = None, device: str = "auto"
) -> LanguageModel:
    """The model in its run's dtype: as `name` says, or wherever it is found.

    Without `name`, the environment's ATLAS_MODEL says where; else the name that the atlas knows it
    by, if that leads somewhere; else the place where it was when it was indexed. Other weights than
    the run's are refused, so that a hint that has come to lead elsewhere does no harm.

    Raises ModelNotFound if nothing leads anywhere, ModelError for other weights, and whatever
    `load_model` raises.
    """
    named = name or os.environ.get(ENVIRONMENT) or _found(wanted)
    if named is None:
        tried = "" if wanted.path is None else f", nor where it was, {wanted.path}"
        raise ModelNotFound(
            f"the atlas's model '{wanted.name}' is not in this directory{tried}: name its "
            f"directory or its GGUF file, here or in {ENVIRONMENT}",
            parameters=["model"],
        )
    return require_weights(load_model(named, wanted.dtype, device), wanted)


def require_weights(lm: LanguageModel, wanted: RunModel) -> LanguageModel:
    """The model, if its weights are the run's; else ModelError."""
    if lm.model_id != wanted.model_id:
        raise ModelError(
            f"'{lm.name}' has weights {lm.model_id}, the atlas's '{wanted.name}' has "
            f"{wanted.model_id}: name the model that was indexed",
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
