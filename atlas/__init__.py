"""The knowledge-neuron atlas: which FFN neurons of a language model express which facts.

Names are loaded on first use, so that `import atlas` imports neither torch nor duckdb.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas.attribution import Attribution, attribute
    from atlas.datasets import embedded_dataset, read_dataset
    from atlas.edits.applying import applied
    from atlas.edits.edit import Edit, EditOutcome
    from atlas.errors import AtlasError
    from atlas.facts import Dataset, Fact, Relation, Template
    from atlas.indexer import IndexProgress, IndexSettings, index
    from atlas.interventions import scaled
    from atlas.models.language_model import LanguageModel
    from atlas.models.load import load_model
    from atlas.probe import Probed
    from atlas.prompts import Prompt
    from atlas.store.atlas_file import Atlas, open_atlas
    from atlas.thresholds import Thresholds

__all__ = [
    "Atlas",
    "AtlasError",
    "Attribution",
    "Dataset",
    "Edit",
    "EditOutcome",
    "Fact",
    "IndexProgress",
    "IndexSettings",
    "LanguageModel",
    "Probed",
    "Prompt",
    "Relation",
    "Template",
    "Thresholds",
    "applied",
    "attribute",
    "embedded_dataset",
    "index",
    "load_model",
    "open_atlas",
    "read_dataset",
    "scaled",
]

_HOME = {
    "Atlas": "store.atlas_file",
    "AtlasError": "errors",
    "Attribution": "attribution",
    "Dataset": "facts",
    "Edit": "edits.edit",
    "EditOutcome": "edits.edit",
    "Fact": "facts",
    "IndexProgress": "indexer",
    "IndexSettings": "indexer",
    "LanguageModel": "models.language_model",
    "Probed": "probe",
    "Prompt": "prompts",
    "Relation": "facts",
    "Template": "facts",
    "Thresholds": "thresholds",
    "applied": "edits.applying",
    "attribute": "attribution",
    "embedded_dataset": "datasets",
    "index": "indexer",
    "load_model": "models.load",
    "open_atlas": "store.atlas_file",
    "read_dataset": "datasets",
    "scaled": "interventions",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'atlas' has no attribute '{name}'")
    return getattr(import_module(f"atlas.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
