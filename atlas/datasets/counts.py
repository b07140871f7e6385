"""How large a dataset is."""

from dataclasses import dataclass

from atlas.facts import Dataset
from atlas.prompts import ends_in_object


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
