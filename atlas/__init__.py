"""The knowledge-neuron atlas: which FFN neurons of a language model express which facts.

Names are loaded on first use, so that `import atlas` imports neither torch nor duckdb.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas.datasets import embedded_dataset, read_dataset
    from atlas.edits.applying import applied
    from atlas.edits.delta_files import read_delta, write_delta
    from atlas.edits.edit import Edit, EditOutcome
    from atlas.edits.making.basis import EditSettings
    from atlas.edits.making.make import (
        MadeEdit,
        make_erase,
        make_relation_erase,
        make_scale,
        make_update,
    )
    from atlas.edits.model_export import export_model
    from atlas.engine.attribution import Attribution, attribute
    from atlas.engine.interventions import scaled
    from atlas.engine.probe import Probed
    from atlas.errors import AtlasError
    from atlas.facts import Dataset, Fact, Relation, Template
    from atlas.index.indexer import IndexProgress, IndexSettings, index
    from atlas.models.language_model import LanguageModel
    from atlas.models.load import load_model
    from atlas.prompts import Prompt
    from atlas.selection.thresholds import Thresholds
    from atlas.store.atlas_file import Atlas, open_atlas

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
    "Attribution": "engine.attribution",
    "Dataset": "facts",
    "Edit": "edits.edit",
    "EditOutcome": "edits.edit",
    "EditSettings": "edits.making.basis",
    "Fact": "facts",
    "IndexProgress": "index.indexer",
    "IndexSettings": "index.indexer",
    "LanguageModel": "models.language_model",
    "MadeEdit": "edits.making.make",
    "Probed": "engine.probe",
    "Prompt": "prompts",
    "Relation": "facts",
    "Template": "facts",
    "Thresholds": "selection.thresholds",
    "applied": "edits.applying",
    "attribute": "engine.attribution",
    "embedded_dataset": "datasets",
    "export_model": "edits.model_export",
    "index": "index.indexer",
    "load_model": "models.load",
    "make_erase": "edits.making.make",
    "make_relation_erase": "edits.making.make",
    "make_scale": "edits.making.make",
    "make_update": "edits.making.make",
    "open_atlas": "store.atlas_file",
    "read_dataset": "datasets",
    "read_delta": "edits.delta_files",
    "scaled": "engine.interventions",
    "write_delta": "edits.delta_files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'atlas' has no attribute '{name}'")
    return getattr(import_module(f"atlas.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
