"""The knowledge-neuron atlas: which FFN neurons of a language model express which facts.

Names are loaded on first use, so that `import atlas` imports neither torch nor duckdb.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas.attribution import Attribution, attribute
    from atlas.datasets import embedded_dataset, read_dataset
    from atlas.errors import AtlasError
    from atlas.facts import Dataset, Fact, Relation, Template
    from atlas.indexer import IndexProgress, IndexSettings, index
    from atlas.models.language_model import LanguageModel
    from atlas.models.load import load_model
    from atlas.prompts import Prompt
    from atlas.store.atlas_file import Atlas, open_atlas
    from atlas.thresholds import Thresholds

__all__ = [
    "Atlas",
    "AtlasError",
    "Attribution",
    "Dataset",
    "Fact",
    "IndexProgress",
    "IndexSettings",
    "LanguageModel",
    "Prompt",
    "Relation",
    "Template",
    "Thresholds",
    "attribute",
    "embedded_dataset",
    "index",
    "load_model",
    "open_atlas",
    "read_dataset",
]

_HOME = {
    "Atlas": "store.atlas_file",
    "AtlasError": "errors",
    "Attribution": "attribution",
    "Dataset": "facts",
    "Fact": "facts",
    "IndexProgress": "indexer",
    "IndexSettings": "indexer",
    "LanguageModel": "models.language_model",
    "Prompt": "prompts",
    "Relation": "facts",
    "Template": "facts",
    "Thresholds": "thresholds",
    "attribute": "attribution",
    "embedded_dataset": "datasets",
    "index": "indexer",
    "load_model": "models.load",
    "open_atlas": "store.atlas_file",
    "read_dataset": "datasets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'atlas' has no attribute '{name}'")
    return getattr(import_module(f"atlas.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
