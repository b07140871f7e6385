"""The knowledge-neuron atlas: which FFN neurons of a language model express which facts.

Names are loaded on first use, so that `import atlas` imports neither torch nor duckdb.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas.attribution import Attribution, attribute
    from atlas.datasets import embedded_dataset, read_dataset
    from atlas.edits.applying import applied
    from atlas.edits.basis import EditSettings
    from atlas.edits.delta_files import read_delta, write_delta
    from atlas.edits.edit import Edit, EditOutcome
    from atlas.edits.making import (
        MadeEdit,
        make_erase,
        make_relation_erase,
        make_scale,
        make_update,
    )
    from atlas.edits.model_export import export_model
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
    "EditSettings",
    "Fact",
    "IndexProgress",
    "IndexSettings",
    "LanguageModel",
    "MadeEdit",
    "Probed",
    "Prompt",
    "Relation",
    "Template",
    "Thresholds",
    "applied",
    "attribute",
    "embedded_dataset",
    "export_model",
    "index",
    "load_model",
    "make_erase",
    "make_relation_erase",
    "make_scale",
    "make_update",
    "open_atlas",
    "read_dataset",
    "read_delta",
    "scaled",
    "write_delta",
]

_HOME = {
    "Atlas": "store.atlas_file",
    "AtlasError": "errors",
    "Attribution": "attribution",
    "Dataset": "facts",
    "Edit": "edits.edit",
    "EditOutcome": "edits.edit",
    "EditSettings": "edits.basis",
    "Fact": "facts",
    "IndexProgress": "indexer",
    "IndexSettings": "indexer",
    "LanguageModel": "models.language_model",
    "MadeEdit": "edits.making",
    "Probed": "probe",
    "Prompt": "prompts",
    "Relation": "facts",
    "Template": "facts",
    "Thresholds": "thresholds",
    "applied": "edits.applying",
    "attribute": "attribution",
    "embedded_dataset": "datasets",
    "export_model": "edits.model_export",
    "index": "indexer",
    "load_model": "models.load",
    "make_erase": "edits.making",
    "make_relation_erase": "edits.making",
    "make_scale": "edits.making",
    "make_update": "edits.making",
    "open_atlas": "store.atlas_file",
    "read_dataset": "datasets",
    "read_delta": "edits.delta_files",
    "scaled": "interventions",
    "write_delta": "edits.delta_files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'atlas' has no attribute '{name}'")
    return getattr(import_module(f"atlas.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
