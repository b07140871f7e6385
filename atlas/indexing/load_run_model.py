"""Loading the model that a run, a selection or an edit of the atlas is about."""

from pathlib import Path

from atlas.errors import ModelError, ModelNotFound
from atlas.indexing.run_model import RunModel
from atlas.models.language_model import LanguageModel
from atlas.models.load import EMBEDDED, load_model


def load_run_model(
    wanted: RunModel, name: str | None = None, device: str = "auto"
) -> LanguageModel:
    """The model in its run's dtype, found by the name in the atlas unless `name` says where it is.

    Raises ModelNotFound if the atlas's name leads nowhere, ModelError if the weights are others
    than those of the run, and whatever `load_model` raises.
    """
    if name is None and not _leads_somewhere(wanted.name):
        raise ModelNotFound(
            f"the atlas's model '{wanted.name}' is not in this directory: name its directory or "
            "its GGUF file",
            parameters=["model"],
        )
    return require_weights(load_model(name or wanted.name, wanted.dtype, device), wanted)


def require_weights(lm: LanguageModel, wanted: RunModel) -> LanguageModel:
    """The model, if its weights are the run's; else ModelError."""
    if lm.model_id != wanted.model_id:
        raise ModelError(
            f"'{lm.name}' has weights {lm.model_id}, the atlas's '{wanted.name}' has "
            f"{wanted.model_id}: name the model that was indexed",
            parameters=["model"],
        )
    return lm


def _leads_somewhere(name: str) -> bool:
    """Whether it is the embedded model, a hub id, or a path that is there."""
    return name == EMBEDDED or "/" in name or Path(name).exists()
