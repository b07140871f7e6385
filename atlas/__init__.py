"""The knowledge-neuron atlas: which FFN neurons a language model's answers to facts rest on.

Names are loaded on first use, so that `import atlas` imports neither torch nor duckdb.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from atlas.threads import let_threads_sleep

if TYPE_CHECKING:
    from atlas.answers import Answer
    from atlas.atlas import Atlas, open_atlas
    from atlas.atlas import open_atlas as open
    from atlas.data_check import check_data
    from atlas.datasets import embedded_dataset, read_dataset
    from atlas.edits.applying import applied
    from atlas.edits.delta_files import read_delta, write_delta
    from atlas.edits.edit import Edit, EditOutcome
    from atlas.edits.making.make import (
        MadeEdit,
        make_erase,
        make_relation_erase,
        make_scale,
        make_update,
    )
    from atlas.edits.making.settings import EditSettings
    from atlas.edits.model_export import export_model
    from atlas.engine.answer_tokens import Attribution
    from atlas.engine.attribution import attribute
    from atlas.engine.interventions import scaled
    from atlas.engine.probe import Probed
    from atlas.errors import AtlasError
    from atlas.facts import Dataset, Fact, Relation, Template
    from atlas.indexing.settings import IndexSettings
    from atlas.jobs import IndexReport, index
    from atlas.merging.merge import Merged, merge
    from atlas.model_check import ModelCheck, check_model
    from atlas.models.language_model import LanguageModel
    from atlas.models.load import load_model
    from atlas.progress import Advance
    from atlas.prompts import Prompt
    from atlas.selection.thresholds import Thresholds

__all__ = [
    "Advance",
    "Answer",
    "Atlas",
    "AtlasError",
    "Attribution",
    "Dataset",
    "Edit",
    "EditOutcome",
    "EditSettings",
    "Fact",
    "IndexReport",
    "IndexSettings",
    "LanguageModel",
    "MadeEdit",
    "Merged",
    "ModelCheck",
    "Probed",
    "Prompt",
    "Relation",
    "Template",
    "Thresholds",
    "__version__",
    "applied",
    "attribute",
    "check_data",
    "check_model",
    "embedded_dataset",
    "export_model",
    "index",
    "load_model",
    "make_erase",
    "make_relation_erase",
    "make_scale",
    "make_update",
    "merge",
    "open",
    "open_atlas",
    "read_dataset",
    "read_delta",
    "scaled",
    "write_delta",
]

_HOME = {
    "Advance": "progress",
    "Answer": "answers",
    "Atlas": "atlas",
    "AtlasError": "errors",
    "Attribution": "engine.answer_tokens",
    "Dataset": "facts",
    "Edit": "edits.edit",
    "EditOutcome": "edits.edit",
    "EditSettings": "edits.making.settings",
    "Fact": "facts",
    "IndexReport": "jobs",
    "IndexSettings": "indexing.settings",
    "LanguageModel": "models.language_model",
    "MadeEdit": "edits.making.make",
    "Merged": "merging.merge",
    "ModelCheck": "model_check",
    "Probed": "engine.probe",
    "Prompt": "prompts",
    "Relation": "facts",
    "Template": "facts",
    "Thresholds": "selection.thresholds",
    "applied": "edits.applying",
    "attribute": "engine.attribution",
    "check_data": "data_check",
    "check_model": "model_check",
    "embedded_dataset": "datasets",
    "export_model": "edits.model_export",
    "index": "jobs",
    "load_model": "models.load",
    "make_erase": "edits.making.make",
    "make_relation_erase": "edits.making.make",
    "make_scale": "edits.making.make",
    "make_update": "edits.making.make",
    "merge": "merging.merge",
    "open": "atlas",
    "open_atlas": "atlas",
    "read_dataset": "datasets",
    "read_delta": "edits.delta_files",
    "scaled": "engine.interventions",
    "write_delta": "edits.delta_files",
}
let_threads_sleep()

_CALLED = {"open": "open_atlas"}  # what a public name is called where it is defined


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("knowledge-neuron-atlas")
    if name not in _HOME:
        raise AttributeError(f"module 'atlas' has no attribute '{name}'")
    return getattr(import_module(f"atlas.{_HOME[name]}"), _CALLED.get(name, name))


def __dir__() -> list[str]:
    return __all__
