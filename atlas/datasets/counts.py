"""How large a dataset is, or what is wrong with it."""

from dataclasses import dataclass
from pathlib import Path

from atlas.answers import Answer
from atlas.datasets import inspect_dataset
from atlas.datasets.askable import Askable, askable
from atlas.datasets.rows import Problem
from atlas.facts import Dataset
from atlas.progress import Loading, Progress, Working
from atlas.prompts import ends_in_object
from atlas.reporting import reporting


@dataclass(frozen=True)
class DatasetCounts:
    """Totals over the relations of a dataset.

    templates_ending_in_object: those that a causal model can be asked with.
    prompts: one for each fact and template of the same relation.
    """

    dataset: str
    relations: int
    facts: int
    templates: int
    templates_ending_in_object: int
    prompts: int


@dataclass(frozen=True)
class DatasetReport(Answer, rows="problems"):
    """What is in a dataset, or what is wrong with it.

    counts: None where there are problems.
    without_templates: relations of ParaRel that have facts but no template, and are left out.
    asked: what a model can be asked of it; None where none is named, or there are problems.
    """

    path: str
    counts: DatasetCounts | None
    asked: Askable | None
    without_templates: tuple[str, ...]
    problems: tuple[Problem, ...]


def dataset_report(
    path: Path, model: str | Path | None = None, *, progress: Progress = None
) -> DatasetReport:
    """Read the dataset at the path; DataError where it is missing or its layout is unknown.

    model: a name or a place; every prompt is encoded with its tokenizer, and nothing is measured.
    """
    found = inspect_dataset(path)
    counts = None if found.dataset is None else dataset_counts(found.dataset)
    asked = None
    if model is not None and found.dataset is not None:
        from atlas.models.load import load_model

        with reporting(progress) as report:
            report(Loading(str(model)))
            lm = load_model(str(model), device="cpu")
            report(Working(f"Reading {found.dataset.name}"))
            asked = askable(lm, found.dataset)
    return DatasetReport(str(path), counts, asked, found.without_templates, found.problems)


def dataset_counts(dataset: Dataset) -> DatasetCounts:
    """Count the dataset's parts."""
    templates = [t.text for relation in dataset.relations for t in relation.templates]
    return DatasetCounts(
        dataset.name,
        len(dataset.relations),
        sum(len(relation.facts) for relation in dataset.relations),
        len(templates),
        sum(map(ends_in_object, templates)),
        sum(len(relation.facts) * len(relation.templates) for relation in dataset.relations),
    )
