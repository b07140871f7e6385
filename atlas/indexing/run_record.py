"""What the atlas records of a run and its model, by what an index was told and what it loaded."""

import contextlib
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from atlas.facts import Dataset, Relation, Template
from atlas.indexing import records
from atlas.indexing.settings import IndexSettings
from atlas.models.language_model import LanguageModel
from atlas.prompts import UnusablePrompt, fill, read_anew


def run_record(lm: LanguageModel, dataset: Dataset, settings: IndexSettings) -> records.RunRecord:
    how, integrated = settings.integration, settings.method == "integrated-gradients"
    adaptive = how.rule == "adaptive"
    return records.RunRecord(
        model_id=lm.model_id,
        position=settings.position,
        method=settings.method,
        rule=how.rule if integrated else None,
        points=how.points if integrated and not adaptive else None,
        tolerance=how.tolerance if integrated else None,
        dtype=lm.dtype,
        device=lm.device,
        score_floor=settings.score_floor,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        atlas_version=version("knowledge-neuron-atlas"),
        environment={
            **{package: version(package) for package in ("torch", "transformers", "numpy")},
            "python": platform.python_version(),
            "machine": platform.machine(),
            "threads": str(torch.get_num_threads()),
        },
        settings={
            "attention": lm.attention,
            **({"max_evaluations": how.max_evaluations} if integrated and adaptive else {}),
            **_reading(lm, dataset),
            **_answering(lm, dataset),
        },
        model_identity=None if lm.identity is None else str(lm.identity),
    )


def _reading(lm: LanguageModel, dataset: Dataset) -> dict[str, str]:
    """What sets a run apart from one of the same templates that asked some of them otherwise."""
    templates = (template.text for relation in dataset.relations for template in relation.templates)
    anew = any(read_anew(text, lm.objective, lm.tokenizer) for text in templates)
    return {"text": "as written"} if anew else {}


def _answering(lm: LanguageModel, dataset: Dataset) -> dict[str, str]:
    """What sets a run apart from one whose answers of several tokens had the mean of their scores.

    Nothing for a dataset without such an answer.
    """
    several = any(_of_several_tokens(lm, relation) for relation in dataset.relations)
    return {"answer": "joint"} if several else {}


def _of_several_tokens(lm: LanguageModel, relation: Relation) -> bool:
    """Whether a relation's answer has several tokens.

    Looked at once for every object and every way in which the templates' text joins it.
    """
    joints = {_around(t): t for t in relation.templates}
    for fact in {fact.object: fact for fact in relation.facts}.values():
        for template in joints.values():
            with contextlib.suppress(UnusablePrompt):
                if len(lm.targets(fill(template, fact), fact.object)) > 1:
                    return True
    return False


def _around(template: Template) -> tuple[str, str]:
    """The characters before and after the object."""
    before, _, after = template.text.partition("[Y]")
    return before[-1:], after[:1]


def model_record(lm: LanguageModel, named: str | LanguageModel) -> records.ModelRecord:
    here = Path(named).expanduser() if isinstance(named, str) else None
    return records.ModelRecord(
        name=lm.name,
        revision=lm.revision,
        architecture=lm.architecture,
        objective=lm.objective,
        layers=lm.layers,
        neurons_per_layer=lm.neurons_per_layer,
        weights_sha256=lm.weights_sha256,
        path=str(here.resolve()) if here is not None and here.exists() else None,
    )
